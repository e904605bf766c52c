"""Engines: what evaluates the student's circuit, and its gradient, in training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from qiskit_aer.noise import NoiseModel
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.execution.aer import AerEstimator
from qkd_qiskit.execution.parameter_shift import BatchedParameterShift
from qkd_qiskit.quantum.circuit import StudentCircuit
from qkd_qiskit.quantum.student import QuantumLayer
from qkd_qiskit.suggestions import choose


def build_quantum_layer(
    engine: str,
    noise_model: NoiseModel | None,
    *,
    device: str = "cpu",
    drawn: Sequence[NoiseModel | None] = (),
    ansatz: StudentCircuit | None = None,
) -> QuantumLayer:
    """Return a function that joins a circuit to torch.

    Args:
        engine: one of `ENGINES`: `exact` (this package's own, exact values and adjoint gradients, noise included) or
            `aer` (Aer's simulators with the parameter-shift rule).
        noise_model: noise on the circuit's own qubits; ideal if `None`.
        device: torch device of the `exact` engine; Aer computes on the CPU.
        drawn: noise models one of which is drawn at each step of training (`exact` only); none to keep `noise_model`.
        ansatz: what follows an encoding of amplitudes, for a layer that takes these and leaves the encoding out
            (`exact` without noise only).

    Raises:
        ConfigurationError: the engine is unknown, or can't draw.
    """
    build = choose("engine", engine, ENGINES)
    if drawn and engine != "exact":
        raise ConfigurationError("training.noise_scales needs the exact engine; leave --engine out")
    if ansatz and (engine != "exact" or noise_model is not None or drawn):
        raise ConfigurationError("a layer that starts from amplitudes needs the exact engine, and no noise")
    if drawn or ansatz:
        return lambda circuit, weights: _exact(circuit, weights, noise_model, device, drawn, ansatz)
    return lambda circuit, weights: build(circuit, weights, noise_model, device)


def _exact(
    circuit: StudentCircuit,
    weights: np.ndarray,
    noise_model: NoiseModel | None,
    device: str,
    drawn: Sequence[NoiseModel | None] = (),
    ansatz: StudentCircuit | None = None,
) -> TorchConnector:
    import torch

    from qkd_qiskit.exact import ExactConnector, ExactEstimator, ExactEstimatorGradient

    qnn = EstimatorQNN(
        circuit=circuit.circuit,
        observables=list(circuit.observables),
        input_params=circuit.input_params,
        weight_params=circuit.weight_params,
        estimator=ExactEstimator(noise_model),
        gradient=ExactEstimatorGradient(noise_model),
        input_gradients=True,
        default_precision=0.0,
    )
    if drawn:
        from qkd_qiskit.execution.training_noise import DrawnNoiseConnector

        return DrawnNoiseConnector(
            qnn, weights, noise_model=noise_model, device=device, dtype=torch.float64, drawn=drawn
        )
    if ansatz:
        from qkd_qiskit.execution.amplitudes import AmplitudeConnector

        return AmplitudeConnector(qnn, weights, device=device, dtype=torch.float64, ansatz=ansatz)
    return ExactConnector(qnn, weights, noise_model=noise_model, device=device, dtype=torch.float64)


def _aer(circuit: StudentCircuit, weights: np.ndarray, noise_model: NoiseModel | None, device: str) -> TorchConnector:
    estimator = AerEstimator(noise_model)
    qnn = EstimatorQNN(
        circuit=circuit.circuit,
        observables=list(circuit.observables),
        input_params=circuit.input_params,
        weight_params=circuit.weight_params,
        estimator=estimator,
        gradient=BatchedParameterShift(estimator),
        input_gradients=True,  # without it, TorchConnector gives the layer in front no gradient, silently
        default_precision=0.0,
    )
    return TorchConnector(qnn, weights)


ENGINES: dict[str, Callable[[StudentCircuit, np.ndarray, NoiseModel | None, str], TorchConnector]] = {
    "exact": _exact,
    "aer": _aer,
}
