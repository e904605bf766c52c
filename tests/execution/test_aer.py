"""Aer evaluation against state vectors, closed forms and its own counts; the gradient against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer.noise import NoiseModel, ReadoutError
from qiskit_ibm_runtime.fake_provider import FakeManilaV2
from qiskit_machine_learning.gradients import ParamShiftEstimatorGradient
from qiskit_machine_learning.neural_networks import EstimatorQNN

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.execution.aer import AerEstimator, evaluate_on_aer, readout_confusion
from qkd_qiskit.execution.compilation import compile_circuit
from qkd_qiskit.execution.noise import device_noise
from qkd_qiskit.execution.parameter_shift import BatchedParameterShift, SplitAngles
from qkd_qiskit.quantum.circuit import StudentCircuit
from qkd_qiskit.quantum.student import StudentBlueprint


def random_rows(circuit: StudentCircuit, rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-3, 3, (rows, len(circuit.parameters)))


@pytest.fixture(scope="module")
def noisy() -> tuple[StudentCircuit, NoiseModel]:
    target = FakeManilaV2().target
    logical = StudentBlueprint(image_shape=(1, 28, 28), num_classes=4, num_qubits=3).build_circuit()
    compiled = compile_circuit(logical, target, layouts=1)
    model = device_noise(target, compiled.physical_qubits)
    assert model is not None
    return compiled.cropped, model


def test_ideal_values_are_those_of_the_state_vector() -> None:
    circuit = StudentBlueprint(image_shape=(1, 28, 28), num_classes=4, num_qubits=3).build_circuit()
    rows = random_rows(circuit, 3)
    values, errors = evaluate_on_aer(circuit, rows)
    pub = (circuit.circuit, [[item] for item in circuit.observables], rows[:, circuit.columns_of(circuit.circuit)])
    np.testing.assert_allclose(values, StatevectorEstimator().run([pub]).result()[0].data.evs.T, atol=1e-12)
    assert not errors.any()


def test_counts_agree_with_exact_noisy_values(noisy: tuple[StudentCircuit, NoiseModel]) -> None:
    circuit, model = noisy
    rows = random_rows(circuit, 4)
    exact, _ = evaluate_on_aer(circuit, rows, noise_model=model)
    counted, errors = evaluate_on_aer(circuit, rows, noise_model=model, shots=50_000, seed=1)
    assert (np.abs(counted - exact) < 5 * errors).all()
    again, _ = evaluate_on_aer(circuit, rows, noise_model=model, shots=50_000, seed=1)
    np.testing.assert_array_equal(counted, again)


def test_noise_is_seen(noisy: tuple[StudentCircuit, NoiseModel]) -> None:
    circuit, model = noisy
    rows = random_rows(circuit, 2)
    ideal, _ = evaluate_on_aer(circuit, rows)
    exact, _ = evaluate_on_aer(circuit, rows, noise_model=model)
    assert np.abs(exact - ideal).max() > 0.01


def test_bound_in_bulk_is_bound_one_by_one(noisy: tuple[StudentCircuit, NoiseModel]) -> None:
    circuit, model = noisy
    rows = random_rows(circuit, 2)
    together, _ = evaluate_on_aer(circuit, rows, noise_model=model)
    for row, wanted in zip(rows, together):
        bound = circuit.circuit.assign_parameters(dict(zip(circuit.parameters, row)))
        alone = StudentCircuit(bound, (), (), circuit.observables)
        values, _ = evaluate_on_aer(alone, np.zeros((1, 0)), noise_model=model)
        np.testing.assert_allclose(values[0], wanted, atol=1e-12)


def test_progress_is_reported_to_the_end() -> None:
    circuit = StudentBlueprint(image_shape=(1, 28, 28), num_classes=4, num_qubits=1).build_circuit()
    heard: list[tuple[int, int]] = []
    evaluate_on_aer(circuit, random_rows(circuit, 200), report=lambda done, total: heard.append((done, total)))
    assert heard == [(128, 200), (200, 200)]


def test_correlated_readout_is_refused() -> None:
    model = NoiseModel()
    model.add_readout_error(ReadoutError(np.full((4, 4), 0.25)), [0, 1])
    with pytest.raises(ConfigurationError, match="one per qubit"):
        readout_confusion(model, 2)


def test_the_estimator_broadcasts_as_qiskit_defines() -> None:
    theta = Parameter("t")
    circuit = QuantumCircuit(2)
    circuit.ry(theta, 0)
    circuit.cx(0, 1)
    observables = [[SparsePauliOp("ZI")], [SparsePauliOp(["ZZ", "II"], [2.0, 0.5])]]
    angles = np.linspace(0, 3, 5)[:, None]
    pub = (circuit, observables, angles)
    wanted = StatevectorEstimator().run([pub]).result()[0].data.evs
    result = AerEstimator().run([pub]).result()[0]
    np.testing.assert_allclose(result.data.evs, wanted, atol=1e-12)
    counted = AerEstimator().run([pub], precision=0.01).result()[0]
    assert counted.metadata["shots"] == 10_000
    assert (np.abs(counted.data.evs - wanted) <= 5 * counted.data.stds + 1e-12).all()


def make_qnn(circuit: StudentCircuit, estimator: AerEstimator, batched: bool = True) -> EstimatorQNN:
    return EstimatorQNN(
        circuit=circuit.circuit,
        observables=list(circuit.observables),
        input_params=circuit.input_params,
        weight_params=circuit.weight_params,
        estimator=estimator,
        gradient=BatchedParameterShift(estimator) if batched else ParamShiftEstimatorGradient(estimator),
        input_gradients=True,
        default_precision=0.0,
    )


def test_the_gradient_is_that_of_finite_differences(noisy: tuple[StudentCircuit, NoiseModel]) -> None:
    circuit, model = noisy
    qnn = make_qnn(circuit, AerEstimator(model))
    generator = np.random.default_rng(2)
    inputs, weights = generator.normal(size=(2, qnn.num_inputs)), generator.normal(size=qnn.num_weights)
    by_inputs, by_weights = qnn.backward(inputs, weights)
    step = 1e-5
    for column in range(qnn.num_weights):
        shift = step * np.eye(qnn.num_weights)[column]
        slope = (qnn.forward(inputs, weights + shift) - qnn.forward(inputs, weights - shift)) / (2 * step)
        np.testing.assert_allclose(by_weights[:, :, column], slope, atol=1e-6)
    for column in range(qnn.num_inputs):
        shift = step * np.eye(qnn.num_inputs)[column]
        slope = (qnn.forward(inputs + shift, weights) - qnn.forward(inputs - shift, weights)) / (2 * step)
        np.testing.assert_allclose(by_inputs[:, :, column], slope, atol=1e-6)


def test_the_gradient_is_that_of_qiskit_and_one_pub() -> None:
    x, w, v = Parameter("x"), Parameter("w"), Parameter("v")
    circuit = QuantumCircuit(2)
    circuit.ry(2 * x, 0)
    circuit.rx(x * w, 1)
    circuit.cx(0, 1)
    circuit.rz(w + v, 1)
    circuit.rzz(v, 0, 1)
    circuit.ry(v - 0.3, 1)
    student = StudentCircuit(circuit, (x,), (w, v), (SparsePauliOp("ZI"), SparsePauliOp("ZZ")))
    pubs = 0

    class Counting(AerEstimator):
        def run(self, given, *, precision=None):  # type: ignore[no-untyped-def]
            nonlocal pubs
            given = list(given)
            pubs += len(given)
            return super().run(given, precision=precision)

    inputs, weights = np.array([[0.4], [-1.2], [2.0]]), np.array([0.7, -0.5])
    found = make_qnn(student, Counting()).backward(inputs, weights)
    assert pubs == 1
    wanted = make_qnn(student, AerEstimator(), batched=False).backward(inputs, weights)
    for ours, qiskits in zip(found, wanted):
        np.testing.assert_allclose(ours, qiskits, atol=1e-10)


def test_split_angles_keep_the_circuit() -> None:
    circuit = StudentBlueprint(image_shape=(1, 28, 28), num_classes=4, num_qubits=2).build_circuit().circuit
    split = SplitAngles(circuit)
    assert split.circuit.num_parameters == len(split.expressions) == sum("r" in item.name for item in circuit.data)
