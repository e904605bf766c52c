"""Evaluation by the exact engine, with Aer as a probe: the same numbers as Aer's, hundreds of times faster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit

from qkd_qiskit.exact.expectation import ExactExpectation
from qkd_qiskit.exact.sampling import outcome_probabilities
from qkd_qiskit.exceptions import BackendError, ConfigurationError
from qkd_qiskit.execution.aer import evaluate_on_aer
from qkd_qiskit.execution.compilation import CompiledCircuit
from qkd_qiskit.execution.devices import Place
from qkd_qiskit.execution.simulated_mitigation import evaluate_mitigated, is_mitigated
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.placing import LARGEST_DIFFERENCE
from qkd_qiskit.pipeline.simulating import measure_on_simulator
from qkd_qiskit.quantum.circuit import StudentCircuit
from qkd_qiskit.quantum.observables import build_observables

PROBE = 4
"""Samples that are evaluated on Aer as well."""


def measure_fast(place: Place, compiled: CompiledCircuit, parameter_values: np.ndarray, seed: int) -> np.ndarray:
    """Measure on a simulator: exactly, or with shots drawn from the exact distribution of outcomes.

    Shots are as many draws from the very distribution that Aer draws from, with other random numbers. A circuit that is
    too large for the exact engine goes to Aer.

    Args:
        place: a simulator or fake device.
        compiled: the circuit for it.
        parameter_values: `(N, A + P)`.
        seed: decides the counts.

    Returns:
        Expectation values `(N, O)`.

    Raises:
        BackendError: engine and Aer disagree on the probe.
    """
    noise, shots = place.noise(compiled.physical_qubits), place.settings.shots
    try:
        expectation = _expect(compiled.cropped, noise)
    except ConfigurationError:
        return measure_on_simulator(place, compiled, parameter_values, seed, Listener()).values
    inputs, weights = _split(compiled.cropped, parameter_values)
    reference, _ = evaluate_on_aer(compiled.cropped, parameter_values[:PROBE], noise_model=noise)
    difference = float(np.abs(expectation.values(inputs[:PROBE], weights) - reference).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise BackendError(
            f"the exact engine differs from Aer by {difference:.1e} on {place.settings.name}, more than "
            f"{LARGEST_DIFFERENCE:.0e}; please report this with the job file"
        )
    if is_mitigated(place.settings):
        return evaluate_mitigated(
            compiled.cropped,
            parameter_values,
            place.settings.mitigation,
            noise_model=noise,
            shots=shots or None,
            seed=seed,
            distribute=exact_distributions,
        ).values
    return expectation.sample(inputs, weights, shots, seed) if shots else expectation.values(inputs, weights)


def exact_distributions(
    circuit: QuantumCircuit,
    parameter_values: np.ndarray,
    *,
    noise_model: Any | None = None,
    shots: int | None = None,
    seed: int = 0,
) -> Iterator[np.ndarray]:
    """Yield what `outcome_distributions` yields, in one piece, computed by the exact engine; counts are drawn from it.

    Args:
        circuit: `Q` qubits, no measurements.
        parameter_values: `(N, P)` in the order of `circuit.parameters`.
        noise_model: gate and readout errors.
        shots: if given, relative frequencies of that many draws.
        seed: decides the draws.
    """
    same = (parameter_values == parameter_values[0]).all(0)
    own = [parameter for parameter, is_same in zip(circuit.parameters, same) if not is_same]
    shared = [parameter for parameter, is_same in zip(circuit.parameters, same) if is_same]
    observables = build_observables("z", circuit.num_qubits)  # every qubit is measured
    expectation = ExactExpectation(circuit, observables, own, shared, noise_model=noise_model)
    probabilities, _ = outcome_probabilities(expectation, parameter_values[:, ~same], parameter_values[0, same])
    yield probabilities if shots is None else np.random.default_rng(seed).multinomial(shots, probabilities) / shots


def noiseless_values(circuit: StudentCircuit, parameter_values: np.ndarray) -> np.ndarray:
    """Return the exact values `(N, O)` of a logical circuit without noise."""
    return _expect(circuit, None).values(*_split(circuit, parameter_values))


def _expect(circuit: StudentCircuit, noise: object) -> ExactExpectation:
    return ExactExpectation(
        circuit.circuit,
        list(circuit.observables),
        list(circuit.input_params),
        list(circuit.weight_params),
        noise_model=noise,
        readout=True,
    )


def _split(circuit: StudentCircuit, parameter_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take a table `(N, A + P)` apart into inputs `(N, A)` and the weights `(P,)` that all samples share."""
    count = len(circuit.input_params)
    return parameter_values[:, :count], parameter_values[0, count:]
