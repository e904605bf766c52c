"""Pauli transfer matrices: the real arithmetic in which noise is exact.

A state of k qubits is the real vector `r[j] = Tr(P_j rho)` of length 4^k, a channel a real matrix on it. Digits of
the index are I, X, Y, Z = 0..3; the most significant digit belongs to the last qubit, as in Qiskit.
"""

from functools import lru_cache

import numpy as np
from qiskit.quantum_info import PTM, SuperOp

Array = np.ndarray

PAULIS = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], dtype=complex)
RESET_PTM = np.array([[1.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1.0, 0, 0, 0]])


@lru_cache(maxsize=8)
def pauli_matrices(num_qubits: int) -> Array:
    """Return all Pauli strings of `num_qubits` qubits, shape (4^k, 2^k, 2^k)."""
    strings = PAULIS
    for _ in range(num_qubits - 1):
        strings = np.einsum("aij,bkl->abikjl", strings, PAULIS).reshape(
            4 * len(strings), 2 * strings.shape[1], 2 * strings.shape[1]
        )
    return strings


def unitary_ptm(unitary: Array) -> Array:
    """Return the Pauli transfer matrix (4^k, 4^k) of a unitary (2^k, 2^k)."""
    dim = len(unitary)
    strings = pauli_matrices(dim.bit_length() - 1)
    moved = unitary @ strings @ unitary.conj().T
    flat = strings.conj().reshape(len(strings), -1)
    return np.ascontiguousarray((flat @ moved.reshape(len(strings), -1).T).real / dim)


def channel_ptm(channel: object) -> Array:
    """Return the Pauli transfer matrix (4^k, 4^k) of anything that `SuperOp` accepts."""
    return np.ascontiguousarray(PTM(SuperOp(channel)).data.real)
