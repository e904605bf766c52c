"""The compiled kernel and NumPy give the same values and gradients; one without the other is an option, too."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp

from qkd_qiskit.exact import ExactExpectation, compiled
from qkd_qiskit.exact.compiled import SWITCH, has_kernel
from tests.exact.reference import (
    amplitude_student,
    append_ansatz,
    circuits,
    depolarizing_model,
    device,
    device_circuit,
    mixed_model,
    random_observables,
    student,
    z_observables,
)

needs_kernel = pytest.mark.skipif(not has_kernel(), reason="the C extension isn't built (or is switched off)")


def both_roads(*parts, **options):
    """The same expectation with the kernel and without it."""
    compiled = ExactExpectation(*parts, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "1")
        plain = ExactExpectation(*parts, **options)
    assert plain._evaluation._compiled is None
    return compiled, plain


def compare(roads, x, w, rng):
    cotangents = rng.normal(size=(len(x), roads[0].num_observables))
    for ours, wanted in zip(*(road.values_and_vjp(x, w, cotangents) for road in roads)):
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-12 * max(1, len(x)))


@needs_kernel
@settings(max_examples=60, deadline=None)
@given(circuits(in_aer=True), st.booleans(), st.booleans(), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_both_roads_agree_on_any_circuit(drawn, noisy, diagonal, rows, seed):
    circuit, inputs, weights = drawn
    rng = np.random.default_rng(seed)
    observables = z_observables(circuit.num_qubits) if diagonal else random_observables(circuit.num_qubits, rng)
    roads = both_roads(circuit, observables, inputs, weights, noise_model=mixed_model() if noisy else None)
    if noisy or diagonal:
        assert roads[0]._evaluation._compiled is not None
    compare(roads, rng.normal(size=(rows, len(inputs))), rng.normal(size=len(weights)), rng)


@needs_kernel
@pytest.mark.parametrize("rows", [1, 16, 17, 500])
@pytest.mark.parametrize(
    ("num_qubits", "noisy"), [(1, False), (2, True), (4, True), (4, False), (6, False), (8, False)]
)
def test_both_roads_agree_on_layered_students(num_qubits, noisy, rows):
    circuit, inputs, weights = student(num_qubits, 2) if num_qubits > 1 else one_qubit()
    model = depolarizing_model() if noisy else None
    roads = both_roads(circuit, z_observables(num_qubits), inputs, weights, noise_model=model)
    assert roads[0]._evaluation._compiled is not None
    rng = np.random.default_rng(rows)
    compare(roads, rng.normal(size=(rows, len(inputs))), rng.normal(size=len(weights)), rng)


@needs_kernel
@pytest.mark.parametrize("scale", [3e2, 9e4, 3e5, 1e9])
@pytest.mark.parametrize("noisy", [True, False])
def test_both_roads_agree_on_angles_of_many_turns(scale, noisy):
    circuit, inputs, weights = student(3, 1)
    roads = both_roads(circuit, z_observables(3), inputs, weights, noise_model=depolarizing_model() if noisy else None)
    rng = np.random.default_rng(3)
    compare(roads, scale * rng.normal(size=(40, 3)), scale * rng.normal(size=len(weights)), rng)


@needs_kernel
def test_quarter_turns_are_exact():
    circuit, inputs, weights = one_qubit()
    exact = ExactExpectation(circuit, [SparsePauliOp("Z")], inputs, weights)
    quarters = np.arange(-4000, 4001)
    values = exact.values(quarters[:, None] * np.pi / 2, np.zeros(1))[:, 0]
    np.testing.assert_allclose(values, np.array([1.0, 0, -1, 0])[quarters % 4], rtol=0, atol=1e-11)


@needs_kernel
def test_rows_that_stay_zero_have_no_place_in_the_kernel():
    circuit, inputs, weights = student(4, 1)
    compiled, _ = both_roads(circuit, z_observables(4), inputs, weights, noise_model=depolarizing_model())
    rows = compiled._evaluation._compiled._plan[3]
    assert len(rows) == 3**4  # I, X and Z of each qubit: RY makes no Y


@needs_kernel
def test_arrays_of_any_strides_and_types():
    circuit, inputs, weights = student(3, 1)
    roads = both_roads(circuit, z_observables(3), inputs, weights, noise_model=depolarizing_model())
    rng = np.random.default_rng(4)
    x, w = rng.normal(size=(6, 20)), rng.normal(size=2 * len(weights))
    for rows, shared in ((x[::2].T, w[::2]), (x[:3].T[::-1], w[: len(weights)][::-1]), (x[:3].T.astype("f"), w[::2])):
        found = [
            road.values(np.array(rows) if road is roads[1] else rows.copy(order="K"), shared.copy()) for road in roads
        ]
        np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-12)
        tensor = torch.tensor(x).T[:, :3]
        assert not tensor.is_contiguous()
        wanted = roads[1](tensor.contiguous(), torch.tensor(shared.copy()))
        torch.testing.assert_close(roads[0](tensor, torch.tensor(shared.copy())), wanted, rtol=0, atol=1e-12)


def one_qubit():
    x, w = Parameter("x"), Parameter("w")
    circuit = QuantumCircuit(1)
    circuit.ry(x, 0)
    circuit.rx(w, 0)
    return circuit, [x], [w]


@needs_kernel
@pytest.mark.parametrize("num_qubits", [2, 4, 7])
def test_both_roads_agree_on_amplitudes(num_qubits):
    from qiskit.circuit import ParameterVector

    weights = ParameterVector("w", 4 * num_qubits)
    circuit = QuantumCircuit(num_qubits)
    append_ansatz(circuit, weights)
    roads = both_roads(circuit, z_observables(num_qubits), [], list(weights), amplitude_inputs=True)
    rng = np.random.default_rng(num_qubits)
    x = rng.normal(size=(21, 2**num_qubits))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    compare(roads, x, rng.normal(size=len(weights)), rng)


@needs_kernel
def test_both_roads_agree_on_a_fake_device():
    circuit, inputs, weights = device_circuit("FakeManilaV2")
    observables = [item.apply_layout(circuit.layout) for item in [*z_observables(3), SparsePauliOp("XYZ")]]
    roads = both_roads(circuit, observables, inputs, weights, noise_model=device("FakeManilaV2")[1])
    rng = np.random.default_rng(5)
    compare(roads, rng.normal(size=(70, len(inputs))), rng.normal(size=len(weights)), rng)


@needs_kernel
def test_gradients_can_be_taken_twice_and_in_threads():
    circuit, inputs, weights = amplitude_student(4, 2)
    roads = both_roads(circuit, z_observables(4), inputs, weights, noise_model=depolarizing_model())
    rng = np.random.default_rng(6)
    found = []
    x, w = rng.normal(size=(300, len(inputs))), rng.normal(size=len(weights))
    for road in roads:
        rows, shared = torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)
        loss = road(rows, shared).square().sum()
        first = torch.autograd.grad(loss, (rows, shared), retain_graph=True)
        again = torch.autograd.grad(loss, (rows, shared))
        assert all(torch.equal(one, two) for one, two in zip(first, again))
        found.append(again)
    for ours, wanted in zip(*found):
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-10)


def test_a_second_derivative_is_refused():
    circuit, inputs, weights = student(2, 1)
    exact = ExactExpectation(circuit, z_observables(2), inputs, weights)
    rows = torch.zeros((3, 2), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(exact(rows, torch.ones(len(weights))).square().sum(), rows, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_the_switch_turns_the_kernel_off(monkeypatch):
    monkeypatch.setenv(SWITCH, "1")
    assert not has_kernel()


@needs_kernel
def test_a_kernel_of_another_version_is_left_out_aloud(monkeypatch):
    monkeypatch.setattr(compiled, "_FORMAT", 10_000)
    with pytest.warns(UserWarning, match="another version.*build it again"):
        assert not has_kernel()


@needs_kernel
@pytest.mark.parametrize("num_qubits", [1, 3, 6])
@pytest.mark.parametrize("amplitudes", [True, False])
def test_both_roads_agree_without_any_gate_that_turns(num_qubits, amplitudes):
    circuit = QuantumCircuit(num_qubits)
    if not amplitudes:
        circuit.x(0)
    roads = both_roads(circuit, z_observables(num_qubits), [], [], amplitude_inputs=amplitudes)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5, 2**num_qubits if amplitudes else 0))
    compare(roads, x, np.zeros(0), rng)


def test_an_expectation_can_be_copied():
    circuit, inputs, weights = student(3, 1)
    exact = ExactExpectation(circuit, z_observables(3), inputs, weights)
    x, w = np.ones((2, 3)), np.ones(len(weights))
    np.testing.assert_array_equal(copy.deepcopy(exact).values(x, w), exact.values(x, w))
