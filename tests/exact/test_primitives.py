"""The estimator, the gradient and the connector in Qiskit's own places."""

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import BackendEstimatorV2, StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.gradients import ParamShiftEstimatorGradient
from qiskit_machine_learning.neural_networks import EstimatorQNN

from qkd_qiskit.exact import ExactConnector, ExactEstimator, ExactEstimatorGradient
from qkd_qiskit.exceptions import ConfigurationError
from tests.exact.reference import depolarizing_model, student, z_observables

RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(4, 3)), RNG.normal(size=6)


def network(estimator, gradient, **options):
    circuit, inputs, weights = student(3, 1)
    return EstimatorQNN(
        circuit=circuit,
        observables=z_observables(3),
        input_params=inputs,
        weight_params=weights,
        estimator=estimator,
        gradient=gradient,
        default_precision=0.0,
        **options,
    )


def exact_network(noise_model=None, **options):
    return network(ExactEstimator(noise_model), ExactEstimatorGradient(noise_model), **options)


def noisy_readout_model():
    model = depolarizing_model()
    model.add_readout_error(ReadoutError([[0.9, 0.1], [0.2, 0.8]]), [0])
    return model


@pytest.mark.parametrize("observables", ["ZZZ", ["ZZZ", "XYZ"], [[SparsePauliOp(["XII", "ZZI"], [0.5, 2])], ["XIY"]]])
@pytest.mark.parametrize("shape", [(), (2,), (2, 1)])
def test_pubs_broadcast_as_qiskit_defines(observables, shape):
    circuit, _, _ = student(3, 1)
    values = np.random.default_rng(1).normal(size=(*shape, 9))
    pubs = [(circuit, observables, values), (circuit, ["IIZ"] * 2, values[..., :1, :] if len(shape) == 2 else values)]
    ours, theirs = ExactEstimator().run(pubs).result(), StatevectorEstimator().run(pubs).result()
    for mine, other in zip(ours, theirs):
        assert mine.data.evs.shape == other.data.evs.shape
        np.testing.assert_allclose(mine.data.evs, other.data.evs, atol=1e-12)
        assert not mine.data.stds.any()


def test_a_circuit_without_parameters_has_values_too():
    circuit = QuantumCircuit(2)
    circuit.ry(0.4, 0)
    found = ExactEstimator().run([(circuit, ["ZZ", "IX"])]).result()[0].data.evs
    np.testing.assert_allclose(found, [np.cos(0.4), np.sin(0.4)], atol=1e-14)


def test_the_estimator_under_noise_is_aers_without_readout():
    circuit, _, _ = student(3, 1)
    model = noisy_readout_model()
    aer = AerEstimator(options={"backend_options": {"noise_model": model, "method": "density_matrix"}})
    pub = (circuit, [["ZZI"], ["XYZ"]], RNG.normal(size=(3, 9)))
    wanted = aer.run([pub], precision=0).result()[0].data.evs
    found = ExactEstimator(model, readout=False).run([pub]).result()[0].data.evs
    np.testing.assert_allclose(found, wanted, atol=1e-10)


def test_a_precision_gives_samples_with_honest_errors():
    circuit, _, _ = student(3, 1)
    values = np.tile(RNG.normal(size=9), (400, 1))
    pub = (circuit, [["ZZI"], [SparsePauliOp(["XYZ", "IIX"], [1, 0.5])]], values)
    exact = ExactEstimator(noisy_readout_model()).run([pub]).result()[0].data.evs
    sampled = ExactEstimator(noisy_readout_model(), seed=1).run([pub], precision=0.05).result()[0]
    assert sampled.metadata["shots"] == 400
    scores = (sampled.data.evs - exact) / sampled.data.stds
    np.testing.assert_allclose(scores.std(axis=1), 1.0, atol=0.15)
    again = ExactEstimator(noisy_readout_model(), seed=1).run([pub], precision=0.05).result()[0]
    np.testing.assert_array_equal(again.data.evs, sampled.data.evs)


def test_a_circuit_changed_in_place_is_analysed_anew():
    circuit, _, _ = student(2, 1)
    estimator = ExactEstimator()
    values = RNG.normal(size=(3, 6))
    before = estimator.run([(circuit, "ZZ", values)]).result()[0].data.evs
    circuit.x(0)
    after = estimator.run([(circuit, "ZZ", values)]).result()[0].data.evs
    np.testing.assert_allclose(after, -before, atol=1e-12)


@pytest.mark.parametrize("input_gradients", [False, True])
def test_an_estimator_qnn_with_exact_parts_equals_qiskits_own(input_gradients):
    reference = StatevectorEstimator()
    theirs = network(reference, ParamShiftEstimatorGradient(reference), input_gradients=input_gradients)
    ours = exact_network(input_gradients=input_gradients)
    np.testing.assert_allclose(ours.forward(X, W), theirs.forward(X, W), atol=1e-12)
    for mine, other in zip(ours.backward(X, W), theirs.backward(X, W)):
        assert (mine is None) == (other is None)
        if mine is not None:
            np.testing.assert_allclose(mine, other, atol=1e-9)


def test_the_connector_equals_torch_connector():
    qnn = exact_network(noisy_readout_model(), input_gradients=True)
    ours, theirs = ExactConnector(qnn, W), TorchConnector(qnn, W)
    results = []
    for connector in (ours, theirs):
        x = torch.tensor(X, dtype=torch.float32, requires_grad=True)
        values = connector(x)
        (values * torch.arange(12.0).reshape(4, 3)).sum().backward()
        results.append((values.detach(), x.grad, connector.weight.grad))
    for mine, other in zip(*results):
        assert mine.dtype == other.dtype == torch.float32
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)
    assert ours(torch.tensor(X[0])).shape == (3,)
    theirs.load_state_dict(ours.state_dict())


def test_the_connector_keeps_float64_and_takes_over_the_noise():
    qnn = exact_network(noisy_readout_model())
    connector = ExactConnector(qnn, W, dtype=torch.float64)
    values = connector(torch.tensor(X))
    assert values.dtype == connector.weight.dtype == torch.float64
    np.testing.assert_allclose(values.detach().numpy(), qnn.forward(X, W), atol=1e-13)
    calm = ExactConnector(exact_network(), W, dtype=torch.float64)(torch.tensor(X))
    assert (calm - values).abs().max() > 1e-2


def test_the_connector_trains_a_layer_before_it():
    layer = torch.nn.Linear(2, 3)
    model = torch.nn.Sequential(layer, ExactConnector(exact_network()))
    model(torch.rand(5, 2)).sum().backward()
    assert layer.weight.grad.abs().max() > 0


def test_the_connector_refuses_other_networks_and_wrong_weights():
    with pytest.raises(ConfigurationError, match="given a Linear"):
        ExactConnector(torch.nn.Linear(2, 2))
    with pytest.raises(ConfigurationError, match=r"initial_weights has shape \(3,\), wanted \(6,\)"):
        ExactConnector(exact_network(), np.zeros(3))


def aer_network(**options):
    estimator = AerEstimator(options={"backend_options": {"method": "density_matrix", **options}})
    return network(estimator, ParamShiftEstimatorGradient(estimator))


def test_the_connector_does_not_drop_the_noise_of_another_estimator():
    model = depolarizing_model()
    noisy = aer_network(noise_model=model)
    with pytest.raises(ConfigurationError, match=r"qiskit_aer EstimatorV2, has a noise model.*noise_model=\.\.\."):
        ExactConnector(noisy)
    given = ExactConnector(noisy, W, noise_model=model, dtype=torch.float64)(torch.tensor(X)).detach().numpy()
    np.testing.assert_allclose(given, noisy.forward(X, W), atol=1e-10)
    ideal = aer_network()
    for connector in (ExactConnector(noisy, W, noise_model=NoiseModel()), ExactConnector(ideal, W)):
        np.testing.assert_allclose(connector(torch.tensor(X)).detach().numpy(), ideal.forward(X, W), atol=1e-6)


def test_the_connector_does_not_drop_the_noise_of_a_backend():
    simulator = AerSimulator(noise_model=depolarizing_model(), method="density_matrix")
    for estimator in (AerEstimator.from_backend(simulator), BackendEstimatorV2(backend=simulator)):
        with pytest.raises(ConfigurationError, match=r"noise.* does not take over"):
            ExactConnector(network(estimator, ParamShiftEstimatorGradient(estimator)))


@pytest.mark.parametrize("ours", [ExactEstimator(), None, ExactEstimator(depolarizing_model(), readout=False)])
def test_an_estimator_and_a_gradient_of_different_noise_are_refused(ours):
    qnn = network(ours, ExactEstimatorGradient(noisy_readout_model()))
    with pytest.raises(ConfigurationError, match=r"different noise.*Give both the same"):
        ExactConnector(qnn)
    ExactConnector(qnn, noise_model=depolarizing_model())
    ExactConnector(network(ExactEstimator(depolarizing_model()), ExactEstimatorGradient(depolarizing_model())))
    ExactConnector(network(None, ExactEstimatorGradient(NoiseModel(), readout=False)))


def test_a_noise_model_or_an_observable_changed_in_place_is_read_anew():
    theta = Parameter("theta")
    circuit = QuantumCircuit(1)
    circuit.ry(theta, 0)
    model, observable = NoiseModel(), SparsePauliOp("Z")
    estimator, gradient = ExactEstimator(model), ExactEstimatorGradient(model)

    def found():
        values = estimator.run([(circuit, observable, [0.3])]).result()[0].data.evs
        return [float(values), gradient.run([circuit], [observable], [[0.3]]).result().gradients[0][0]]

    ideal = np.array([np.cos(0.3), -np.sin(0.3)])
    np.testing.assert_allclose(found(), ideal, atol=1e-14)
    for kept in (0.9, 0.72):
        model.add_all_qubit_quantum_error(depolarizing_error(0.1 if kept == 0.9 else 0.2, 1), ["ry"], warnings=False)
        np.testing.assert_allclose(found(), kept * ideal, atol=1e-14)
    observable.coeffs[0] = 2
    np.testing.assert_allclose(found(), 1.44 * ideal, atol=1e-14)


def test_no_parameter_values_give_no_values():
    theta = Parameter("theta")
    circuit = QuantumCircuit(1)
    circuit.ry(theta, 0)
    for precision in (0.0, 0.1):
        result = ExactEstimator().run([(circuit, SparsePauliOp("Z"), np.zeros((0, 1)))], precision=precision).result()
        assert result[0].data.evs.shape == (0,)
