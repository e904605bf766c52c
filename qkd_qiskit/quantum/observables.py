"""What is measured. Every choice is a set of Z-strings: they all commute, so one measurement basis gives them all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qiskit.quantum_info import PauliList, SparsePauliOp

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.suggestions import choose


def build_observables(name: str, num_qubits: int) -> tuple[SparsePauliOp, ...]:
    """Build the `O` observables by name.

    Args:
        name: one of `OBSERVABLES`: `z` (`Z` on each qubit, `O = Q`), `parities` (every Z-string but the identity,
            `O = 2^Q - 1`; string number `m`, counted from 1, has `Z` on the qubits set in the bits of `m`) or
            `projectors` (the probability of each bit string, `O = 2^Q`, in the order of Qiskit's integers).
        num_qubits: `Q`.

    Raises:
        ConfigurationError: the name is unknown, or there are too many projectors to be written down.
    """
    return choose("observables", name, OBSERVABLES)(num_qubits)


def _z_each(num_qubits: int) -> tuple[SparsePauliOp, ...]:
    return tuple(z_string(1 << qubit, num_qubits) for qubit in range(num_qubits))


def _parities(num_qubits: int) -> tuple[SparsePauliOp, ...]:
    return tuple(z_string(mask, num_qubits) for mask in range(1, 2**num_qubits))


MOST_PROJECTOR_QUBITS = 8


def _projectors(num_qubits: int) -> tuple[SparsePauliOp, ...]:
    """`|b><b| = 2^-Q sum_m (-1)^(m . b) Z_m`: all the Z-strings, so the basis is still one."""
    if num_qubits > MOST_PROJECTOR_QUBITS:
        raise ConfigurationError(
            f"projectors on {num_qubits} qubits are {2**num_qubits} sums of as many Z-strings; give at most "
            f"--qubits {MOST_PROJECTOR_QUBITS}, or --observables parities, from which an affine head gets the same"
        )
    masks = np.arange(2**num_qubits)
    bits = (masks[:, None] >> np.arange(num_qubits) & 1).astype(bool)
    strings = PauliList.from_symplectic(bits, np.zeros_like(bits))
    signs = 1.0 - 2.0 * (np.bitwise_count(masks[:, None] & masks) % 2)
    return tuple(SparsePauliOp(strings, row / 2**num_qubits) for row in signs)


OBSERVABLES: dict[str, Callable[[int], tuple[SparsePauliOp, ...]]] = {
    "z": _z_each,
    "parities": _parities,
    "projectors": _projectors,
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
    for masks, coefficients in zip(*(np.array_split(part, -(-len(part) // 256)) for part in _strings(observable))):
        values += coefficients @ (1.0 - 2.0 * (np.bitwise_count(outcomes & masks[:, None]) % 2))
    return values


def _strings(observable: SparsePauliOp) -> tuple[np.ndarray, np.ndarray]:
    """Return for each Z-string the qubits it is on as an integer, and its coefficient."""
    return observable.paulis.z @ (1 << np.arange(observable.num_qubits, dtype=np.int64)), observable.coeffs.real
