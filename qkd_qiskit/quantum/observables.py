"""What is measured. Every choice is a set of Z-strings: they all commute, so one measurement basis gives them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from qiskit.quantum_info import SparsePauliOp

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.suggestions import choose


def build_observables(name: str, num_qubits: int) -> tuple[SparsePauliOp, ...]:
    """Build the `O` observables by name.

    Args:
        name: one of `OBSERVABLES`: `z` (`Z` on each qubit, `O = Q`) or `parities` (every Z-string but the identity,
            `O = 2^Q - 1`; string number `m`, counted from 1, has `Z` on the qubits set in the bits of `m`).
        num_qubits: `Q`.

    Raises:
        ConfigurationError: the name is unknown.
    """
    masks = choose("observables", name, OBSERVABLES)(num_qubits)
    return tuple(z_string(mask, num_qubits) for mask in masks)


OBSERVABLES: dict[str, Callable[[int], Sequence[int]]] = {
    "z": lambda num_qubits: [1 << qubit for qubit in range(num_qubits)],
    "parities": lambda num_qubits: range(1, 2**num_qubits),
}


def z_string(mask: int, num_qubits: int) -> SparsePauliOp:
    """Return the product of `Z` over the qubits set in `mask`, identity elsewhere."""
    return SparsePauliOp("".join("Z" if mask >> qubit & 1 else "I" for qubit in reversed(range(num_qubits))))


def diagonal(observable: SparsePauliOp) -> np.ndarray:
    """Return the diagonal, `(2^Q,)` float64, of a sum of Z-strings with real coefficients.

    Raises:
        ConfigurationError: the observable has an X or Y, or a complex coefficient.
    """
    if observable.paulis.x.any() or np.abs(observable.coeffs.imag).max(initial=0) > 1e-12:
        raise ConfigurationError(
            f"observable {observable.to_list()} is not a real sum of Z-strings; only those share one measurement basis"
        )
    outcomes = np.arange(2**observable.num_qubits, dtype=np.int64)
    values = np.zeros(len(outcomes))
    for mask, coefficient in zip(_masks(observable), observable.coeffs.real):
        values += coefficient * (1 - 2 * (np.bitwise_count(outcomes & mask) % 2).astype(np.float64))
    return values


def _masks(observable: SparsePauliOp) -> np.ndarray:
    return observable.paulis.z @ (1 << np.arange(observable.num_qubits, dtype=np.int64))
