"""Finite shots: counts drawn from the exact joint distribution of all outcomes in the one Z basis."""

import numpy as np
from qiskit.quantum_info import SparsePauliOp

from qkd_qiskit.exact.expectation import ExactExpectation
from qkd_qiskit.exact.observables import is_z_type, pauli_terms, support
from qkd_qiskit.exceptions import ConfigurationError

Array = np.ndarray


def outcome_probabilities(expectation: ExactExpectation, inputs: Array, weights: Array) -> tuple[Array, list[int]]:
    """Return the exact probabilities of reading each bit string of the measured qubits, readout error included.

    Args:
        expectation: its observables hold Z and I only; the qubits they act on are measured.
        inputs: shape (N, F).
        weights: shape (P,).

    Returns:
        Probabilities (N, 2^m), and the m qubits; bit i of a column's number is qubit i of that list.

    Raises:
        ConfigurationError: if an observable has X or Y in it.
    """
    terms = [pauli_terms(observable) for observable in expectation.observables]
    for index, item in enumerate(terms):
        if not is_z_type(item):
            raise ConfigurationError(
                f"Observable {index} holds X or Y, so counts of the Z basis don't give it. Rotate its basis in the "
                "circuit, or ask for exact values."
            )
    qubits = sorted(set().union(*(support(item) for item in terms)))
    strings = ExactExpectation(
        expectation.circuit,
        _all_z_strings(qubits, expectation.circuit.num_qubits),
        expectation.input_params,
        expectation.weight_params,
        noise_model=expectation.noise_model,
        device=expectation.device,
        readout=expectation.readout,
    )
    values = strings.values(inputs, weights)
    probabilities = np.clip(values @ _signs(len(qubits)) / 2 ** len(qubits), 0.0, None)
    return probabilities / probabilities.sum(axis=1, keepdims=True), qubits


def sample_expectation_values(
    expectation: ExactExpectation,
    inputs: Array,
    weights: Array,
    shots: int,
    *,
    seed: int | np.random.Generator | None = None,
) -> Array:
    """Return expectation values estimated from `shots` simulated measurements of each sample.

    All observables of a sample come from the same counts, so their errors are correlated as on a device.

    Args:
        expectation: what is measured; its observables hold Z and I only.
        inputs: shape (N, F).
        weights: shape (P,).
        shots: number of measurements of each sample.
        seed: of the random numbers.

    Returns:
        Estimates (N, O).

    Raises:
        ConfigurationError: for a number of shots below one, or an observable with X or Y in it.
    """
    if shots < 1:
        raise ConfigurationError(f"shots is {shots}; give at least 1, or leave shots out for exact values.")
    probabilities, qubits = outcome_probabilities(expectation, inputs, weights)
    counts = np.random.default_rng(seed).multinomial(shots, probabilities)
    return counts @ _eigenvalues(expectation.observables, qubits) / shots


def _all_z_strings(qubits: list[int], num_qubits: int) -> list[SparsePauliOp]:
    strings = []
    for mask in range(2 ** len(qubits)):
        chosen = [qubit for position, qubit in enumerate(qubits) if mask >> position & 1]
        strings.append(SparsePauliOp.from_sparse_list([("Z" * len(chosen), chosen, 1.0)], num_qubits))
    return strings


def _signs(num_qubits: int) -> Array:
    """Return (-1)^(S.z), shape (2^m, 2^m)."""
    signs: Array = np.ones((1, 1))
    for _ in range(num_qubits):
        signs = np.kron(signs, [[1.0, 1.0], [1.0, -1.0]])
    return signs


def _eigenvalues(observables: list[SparsePauliOp], qubits: list[int]) -> Array:
    """Return the observables' values for each bit string of the measured qubits, shape (2^m, O)."""
    signs = _signs(len(qubits))
    values = np.zeros((len(signs), len(observables)))
    for column, observable in enumerate(observables):
        for (_, z_mask), coefficient in pauli_terms(observable).items():
            row = sum(1 << position for position, qubit in enumerate(qubits) if z_mask >> qubit & 1)
            values[:, column] += coefficient * signs[row]
    return values
