"""Observables as vectors: Pauli coefficients under noise, sums of signed permutations without it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit.quantum_info import SparsePauliOp

from qkd_qiskit.exact.noise import NoiseTable
from qkd_qiskit.exceptions import ConfigurationError

Array = Any
Terms = dict[tuple[int, int], float]


def check_observables(observables: Sequence[SparsePauliOp], num_qubits: int) -> list[SparsePauliOp]:
    """Return the observables as SparsePauliOp, refusing those that don't fit the circuit's Q qubits.

    Raises:
        ConfigurationError: for none at all, a wrong number of qubits, or complex coefficients.
    """
    found = [item if isinstance(item, SparsePauliOp) else SparsePauliOp(item) for item in observables]
    if not found:
        raise ConfigurationError("No observables were given; pass at least one SparsePauliOp.")
    for index, observable in enumerate(found):
        if observable.num_qubits != num_qubits:
            raise ConfigurationError(
                f"Observable {index} has {observable.num_qubits} qubits, the circuit has {num_qubits}. "
                "For a transpiled circuit map it with observable.apply_layout(circuit.layout)."
            )
        if np.abs(np.imag(observable.coeffs.astype(complex))).max(initial=0) > 1e-12:
            raise ConfigurationError(
                f"Observable {index} has complex coefficients, so it is not Hermitian. Give its real part instead."
            )
    return found


def pauli_terms(observable: SparsePauliOp) -> Terms:
    """Return {(x mask, z mask): coefficient}; bit i of a mask is qubit i, equal terms are added."""
    terms: Terms = {}
    weights = 1 << np.arange(observable.num_qubits, dtype=object)
    for x_bits, z_bits, value in zip(observable.paulis.x, observable.paulis.z, observable.coeffs):
        key = (int((weights * x_bits).sum()), int((weights * z_bits).sum()))
        terms[key] = terms.get(key, 0.0) + float(np.real(value))
    return terms


def is_z_type(terms: Terms) -> bool:
    """Return whether an observable holds Z and I only, so that counts of one basis measure it."""
    return all(x_mask == 0 for x_mask, _ in terms)


def apply_readout(terms: Terms, noise: NoiseTable, num_qubits: int) -> Terms:
    """Return what counts with readout errors measure in place of a Z-type observable; others stay as they are."""
    if not is_z_type(terms):
        return terms
    for qubits, confusion in noise.readout_matrices(num_qubits):
        terms = _confuse(terms, qubits, confusion)
    return terms


def _confuse(terms: Terms, qubits: Sequence[int], confusion: np.ndarray) -> Terms:
    """Push the Z strings on `qubits` back through a confusion matrix [given, read] (2^k, 2^k)."""
    size = len(confusion)
    signs = np.array([[(-1) ** bin(s & z).count("1") for z in range(size)] for s in range(size)])
    mixed = signs @ confusion @ signs.T / size
    inside = sum(1 << qubit for qubit in qubits)
    result: Terms = {}
    for (_, z_mask), value in terms.items():
        string = sum(1 << position for position, qubit in enumerate(qubits) if z_mask >> qubit & 1)
        for other in range(size):
            if mixed[other, string]:
                bits = sum(1 << qubit for position, qubit in enumerate(qubits) if other >> position & 1)
                key = (0, z_mask & ~inside | bits)
                result[key] = result.get(key, 0.0) + value * float(mixed[other, string])
    return result


def support(terms: Terms) -> set[int]:
    """Return the qubits on which an observable is not the identity."""
    mask = 0
    for x_mask, z_mask in terms:
        mask |= x_mask | z_mask
    return {qubit for qubit in range(mask.bit_length()) if mask >> qubit & 1}


def pauli_vectors(observables: Sequence[Terms], order: Sequence[int]) -> np.ndarray:
    """Return the Pauli coefficients (4^n, O) with the qubits' axes in `order`."""
    vectors = np.zeros((4 ** len(order), len(observables)))
    for column, terms in enumerate(observables):
        for (x_mask, z_mask), value in terms.items():
            row = 0
            for qubit in order:
                x_bit, z_bit = x_mask >> qubit & 1, z_mask >> qubit & 1
                row = 4 * row + (3 * z_bit if not x_bit else 1 + z_bit)
            vectors[row, column] += value
    return vectors


class StateFunctional:
    """Expectation values of O observables in state vectors.

    An observable is a sum over bit flips x of `diagonal_x * psi[flipped by x]`.

    Args:
        observables: Pauli terms, O of them.
        order: the qubits of the state's axes.
    """

    def __init__(self, observables: Sequence[Terms], order: Sequence[int]):
        size = 2 ** len(order)
        rows = np.arange(size)
        self.flips: list[tuple[Array, Array]] = []
        masks = sorted({x_mask for terms in observables for x_mask, _ in terms})
        for x_mask in masks:
            diagonal: Array = np.zeros((len(observables), size), dtype=complex)
            for column, terms in enumerate(observables):
                for (other, z_mask), value in terms.items():
                    if other == x_mask:
                        diagonal[column] += value * _diagonal(x_mask, z_mask, order)
            source = rows ^ _index_mask(x_mask, order)
            self.flips.append((source, diagonal))
        self.is_diagonal = masks == [0]
        if self.is_diagonal:
            self.flips = [(rows, np.ascontiguousarray(self.flips[0][1].real))]
            self._doubled: Array = np.hstack([self.flips[0][1]] * 2)

    def to_torch(self, device: Any) -> None:
        """Move the constants to a torch device."""
        import torch

        self.flips = [
            (torch.as_tensor(source, device=device), torch.as_tensor(diagonal, device=device))
            for source, diagonal in self.flips
        ]
        if self.is_diagonal:
            self._doubled = torch.as_tensor(self._doubled, device=device)

    def values(self, states: Array) -> Array:
        """Return the expectation values (O, N) in states (2^n, N)."""
        if self.is_diagonal:
            return self.flips[0][1] @ (states.real * states.real + states.imag * states.imag)
        return sum((diagonal @ (states.conj() * states[source])).real for source, diagonal in self.flips)

    def slopes(self, states: Array, cotangents: Array) -> Array:
        """Return the gradient for the states (2^n, N) from that of the values (O, N)."""
        if self.is_diagonal:
            return states * (self.flips[0][1].T @ (2.0 * cotangents))
        doubled = 2.0 * cotangents + 0j
        return sum((diagonal.T @ doubled) * states[source] for source, diagonal in self.flips)

    def squares(self, parts: Array) -> Array:
        """Return diagonal observables' values (O, N) from real above imaginary parts of states, (2 * 2^n, N)."""
        return self._doubled @ (parts * parts)

    def squares_slopes(self, parts: Array, cotangents: Array) -> Array:
        """Return the gradient for the parts (2 * 2^n, N) from that of the values (O, N)."""
        return parts * (self._doubled.T @ (2.0 * cotangents))


def _index_mask(mask: int, order: Sequence[int]) -> int:
    index = 0
    for qubit in order:
        index = 2 * index + (mask >> qubit & 1)
    return index


def _diagonal(x_mask: int, z_mask: int, order: Sequence[int]) -> np.ndarray:
    """Return d with (P psi)[row] = d[row] psi[row ^ x]; P has i^(number of Y) X^x Z^z."""
    source = np.arange(2 ** len(order)) ^ _index_mask(x_mask, order)
    overlap = source & _index_mask(z_mask, order)
    return (1j ** (bin(x_mask & z_mask).count("1") % 4)) * (1 - 2 * (np.bitwise_count(overlap) % 2).astype(np.int64))
