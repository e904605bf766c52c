"""Readout errors and shots against Aer's counts, and what is refused of a noise model."""

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library import CXGate
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

from qkd_qiskit.exact import ExactExpectation, outcome_probabilities, sample_expectation_values
from qkd_qiskit.exceptions import ConfigurationError
from tests.exact.reference import bind, device, device_circuit, student, z_observables

SHOTS = 1_000_000
CONFUSION = [[0.9, 0.1], [0.25, 0.75]]


def counted_values(circuit, observables, noise_model, shots=SHOTS):
    """Return means and standard errors (O,) from Aer's counts of a measurement of all qubits."""
    measured = circuit.copy()
    measured.measure_all()
    simulator = AerSimulator(method="density_matrix", noise_model=noise_model, seed_simulator=11)
    counts = simulator.run(measured, shots=shots).result().get_counts()
    bits = np.array([[int(bit) for bit in reversed(key)] for key in counts])
    weights = np.array(list(counts.values())) / shots
    means, errors = [], []
    for item in observables:
        values = sum(
            coefficient.real * np.prod(1 - 2 * bits[:, pauli.z], axis=1)
            for pauli, coefficient in zip(item.paulis, item.coeffs)
        )
        means.append(weights @ values)
        errors.append(np.sqrt(max(weights @ values**2 - means[-1] ** 2, 1e-12) / shots))
    return np.array(means), np.array(errors)


def model_with_readout():
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.02, 2), ["cx"])
    model.add_all_qubit_readout_error(ReadoutError([[0.97, 0.03], [0.08, 0.92]]))
    model.add_readout_error(ReadoutError(CONFUSION), [1])
    model.add_all_qubit_quantum_error(depolarizing_error(0.05, 1), ["measure"])
    return model


def test_readout_and_measurement_errors_against_counts():
    circuit, inputs, weights = student(3, 1)
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(1, 3)), rng.normal(size=6)
    observables = [*z_observables(3), SparsePauliOp(["ZZI", "ZZZ", "III"], [0.5, -1.5, 0.2])]
    exact = ExactExpectation(circuit, observables, inputs, weights, noise_model=model_with_readout())
    bound = bind(circuit, inputs + weights, [*x[0], *w])
    means, errors = counted_values(bound, observables, model_with_readout())
    assert (np.abs(exact.values(x, w)[0] - means) < 5 * errors).all()


@pytest.mark.parametrize("name", ["FakeManilaV2", "FakeBelemV2"])
def test_device_readout_against_counts(name):
    circuit, inputs, weights = device_circuit(name)
    model = device(name)[1]
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(1, len(inputs))), rng.normal(size=len(weights))
    observables = [item.apply_layout(circuit.layout) for item in z_observables(3)]
    exact = ExactExpectation(circuit, observables, inputs, weights, noise_model=model)
    means, errors = counted_values(bind(circuit, inputs + weights, [*x[0], *w]), observables, model)
    assert (np.abs(exact.values(x, w)[0] - means) < 5 * errors).all()


def test_the_local_readout_error_overrides_the_default_in_closed_form():
    circuit = QuantumCircuit(2)
    circuit.x(1)
    exact = ExactExpectation(circuit, z_observables(2), [], [], noise_model=model_with_readout())
    measured = 0.95  # what the depolarizing error before a measurement leaves of Z
    confused = [0.97 - 0.03, (0.75 - 0.25)]
    low, high = (1 + measured) / 2, (1 - measured) / 2
    wanted = [low * confused[0] - high * (0.92 - 0.08), high * 0.8 - low * confused[1]]
    np.testing.assert_allclose(exact.values(np.zeros((1, 0)), np.zeros(0))[0], wanted, atol=1e-12)


def test_readout_can_be_left_out_and_does_not_touch_other_bases():
    circuit = QuantumCircuit(1)
    circuit.h(0)
    model = NoiseModel()
    model.add_all_qubit_readout_error(ReadoutError(CONFUSION))
    observables, nothing = [SparsePauliOp("X"), SparsePauliOp("Z")], (np.zeros((1, 0)), np.zeros(0))
    with_readout = ExactExpectation(circuit, observables, [], [], noise_model=model).values(*nothing)
    without = ExactExpectation(circuit, observables, [], [], noise_model=model, readout=False).values(*nothing)
    np.testing.assert_allclose(with_readout, [[1.0, 0.15]], atol=1e-12)
    np.testing.assert_allclose(without, [[1.0, 0.0]], atol=1e-12)


def test_shots_are_multinomial_counts_of_one_basis():
    circuit, inputs, weights = student(2, 1)
    observables = [*z_observables(2), SparsePauliOp("ZZ")]
    exact = ExactExpectation(circuit, observables, inputs, weights, noise_model=model_with_readout())
    x, w = np.tile([[0.4, 1.2]], (4000, 1)), np.linspace(0, 1, 4)
    estimates = sample_expectation_values(exact, x, w, 100, seed=5)
    probabilities, qubits = outcome_probabilities(exact, x[:1], w)
    assert qubits == [0, 1]
    values = np.array([[1, 1, 1], [-1, 1, -1], [1, -1, -1], [-1, -1, 1]])
    mean = probabilities[0] @ values
    covariance = (probabilities[0] * values.T) @ values - np.outer(mean, mean)
    np.testing.assert_allclose(mean, exact.values(x[:1], w)[0], atol=1e-12)
    np.testing.assert_allclose(estimates.mean(axis=0), mean, atol=5 / np.sqrt(4000 * 100))
    np.testing.assert_allclose(np.cov(estimates.T) * 100, covariance, atol=0.12)
    np.testing.assert_array_equal(exact.sample(x, w, 100, seed=5), estimates)


def test_shots_converge_to_the_exact_values():
    circuit, inputs, weights = student(3, 1)
    exact = ExactExpectation(circuit, z_observables(3), inputs, weights, noise_model=model_with_readout())
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(5, 3)), rng.normal(size=6)
    assert np.abs(exact.sample(x, w, SHOTS, seed=2) - exact.values(x, w)).max() < 5e-3


def test_refused_noise_models():
    circuit, inputs, weights = student(2, 1)

    def build(model):
        return ExactExpectation(circuit, z_observables(2), inputs, weights, noise_model=model)

    with pytest.raises(ConfigurationError, match="not an Aer NoiseModel"):
        build("depolarizing")
    with pytest.raises(ConfigurationError, match="qubit 2, the circuit has qubits 0 to 1"):
        build(device("FakeManilaV2")[1])
    joint = NoiseModel()
    joint.add_readout_error(ReadoutError(np.eye(4)[::-1]), [0, 1])
    with pytest.raises(ConfigurationError, match="joint readout error"):
        build(joint)
    narrow = NoiseModel()
    narrow.add_all_qubit_quantum_error(depolarizing_error(0.1, 1), ["special"])
    circuit.append(CXGate(label="special"), [0, 1])
    with pytest.raises(ConfigurationError, match="error on 1 qubits for 'special'"):
        build(narrow)


def test_refused_shots():
    circuit, inputs, weights = student(2, 1)
    exact = ExactExpectation(circuit, [SparsePauliOp("ZX")], inputs, weights)
    with pytest.raises(ConfigurationError, match="Observable 0 holds X or Y"):
        exact.sample(np.zeros((1, 2)), np.zeros(4), 10)
    with pytest.raises(ConfigurationError, match="shots is 0"):
        exact.sample(np.zeros((1, 2)), np.zeros(4), 0)
