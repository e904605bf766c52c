"""Gradients against finite differences of Aer, parameter shift, and torch's own numerical check."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from qkd_qiskit.exact import ExactExpectation
from tests.exact.reference import (
    FAKE_DEVICES,
    aer_values,
    circuits,
    depolarizing_model,
    device,
    device_circuit,
    mixed_model,
    random_observables,
    student,
    z_observables,
)


def exact_jacobian(exact, x, w):
    """Return the derivatives (O, F + P) at one sample."""
    rows = []
    for cotangent in np.eye(exact.num_observables):
        _, dx, dw = exact.values_and_vjp(x, w, cotangent[None])
        rows.append(np.concatenate([dx[0], dw]))
    return np.array(rows)


def shifted(evaluate, values, step, factor):
    """Return derivatives (O, parameters) by symmetric differences of `evaluate`, rows (N, O)."""
    shifts = step * np.eye(len(values))
    upper, lower = evaluate(values + shifts), evaluate(values - shifts)
    return ((upper - lower) * factor).T


@settings(max_examples=25, deadline=None)
@given(circuits(in_aer=False, max_qubits=3), st.booleans(), st.integers(0, 2**32 - 1))
def test_any_circuit_against_torch_gradcheck(drawn, noisy, seed):
    rng = np.random.default_rng(seed)
    circuit, inputs, weights = drawn
    exact = ExactExpectation(
        circuit,
        random_observables(circuit.num_qubits, rng, 2),
        inputs,
        weights,
        noise_model=mixed_model() if noisy else None,
    )
    x = torch.tensor(rng.normal(size=(2, 3)), requires_grad=True)
    w = torch.tensor(rng.normal(size=3), requires_grad=True)
    assert torch.autograd.gradcheck(exact, (x, w), eps=1e-6, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(circuits(in_aer=True, max_qubits=3), st.integers(0, 2**32 - 1))
def test_finite_differences_of_aer(drawn, seed):
    rng = np.random.default_rng(seed)
    circuit, inputs, weights = drawn
    model, observables = mixed_model(), random_observables(circuit.num_qubits, rng, 2)
    exact = ExactExpectation(circuit, observables, inputs, weights, noise_model=model)
    values = rng.normal(size=6)

    def evaluate(rows):
        return aer_values(circuit, observables, inputs + weights, rows, model)

    wanted = shifted(evaluate, values, 1e-4, 1 / 2e-4)
    np.testing.assert_allclose(exact_jacobian(exact, values[None, :3], values[3:]), wanted, atol=1e-6)


@pytest.mark.parametrize("noisy", [False, True])
def test_parameter_shift(noisy):
    circuit, inputs, weights = student(3, 2)
    model = depolarizing_model() if noisy else None
    exact = ExactExpectation(circuit, z_observables(3), inputs, weights, noise_model=model)
    values = np.random.default_rng(0).normal(size=15)

    def evaluate(rows):
        return np.vstack([exact.values(row[None, :3], row[3:]) for row in rows])

    wanted = shifted(evaluate, values, np.pi / 2, 0.5)
    np.testing.assert_allclose(exact_jacobian(exact, values[None, :3], values[3:]), wanted, atol=1e-9)


@pytest.mark.parametrize("name", FAKE_DEVICES[:5])
def test_parameter_shift_on_a_device_circuit_with_readout(name):
    circuit, inputs, weights = device_circuit(name)
    observables = [item.apply_layout(circuit.layout) for item in z_observables(3)]
    exact = ExactExpectation(circuit, observables, inputs, weights, noise_model=device(name)[1])
    values = np.random.default_rng(0).normal(size=len(inputs + weights))
    split = len(inputs)
    shifting = ExactExpectation(circuit, observables, inputs + weights, [], noise_model=device(name)[1])
    wanted = shifted(lambda rows: shifting.values(rows, np.zeros(0)), values, np.pi / 2, 0.5)
    np.testing.assert_allclose(exact_jacobian(exact, values[None, :split], values[split:]), wanted, atol=1e-9)


@pytest.mark.parametrize("noisy", [False, True])
def test_data_reuploading(noisy):
    x, w = ParameterVector("x", 2), ParameterVector("w", 12)
    circuit = QuantumCircuit(3)
    for layer in range(2):
        for qubit in range(3):
            circuit.ry(x[qubit % 2] * w[6 * layer + qubit], qubit)
            circuit.rz(w[6 * layer + 3 + qubit] + x[0], qubit)
        circuit.cx(0, 1)
        circuit.cx(1, 2)
    exact = ExactExpectation(
        circuit, z_observables(3), list(x), list(w), noise_model=depolarizing_model() if noisy else None
    )
    rng = np.random.default_rng(5)
    inputs = torch.tensor(rng.normal(size=(3, 2)), requires_grad=True)
    weights = torch.tensor(rng.normal(size=12), requires_grad=True)
    assert torch.autograd.gradcheck(exact, (inputs, weights))


def test_only_what_is_wanted_gets_a_gradient_and_backward_can_run_twice():
    circuit, inputs, weights = student(2, 1)
    for model in (None, depolarizing_model()):
        exact = ExactExpectation(circuit, z_observables(2), inputs, weights, noise_model=model)
        x, w = torch.zeros(3, 2, dtype=torch.float64), torch.full((4,), 0.3, dtype=torch.float64, requires_grad=True)
        loss = exact(x, w).sum()
        loss.backward(retain_graph=True)
        first = w.grad.clone()
        loss.backward()
        torch.testing.assert_close(w.grad, 2 * first)
        assert x.grad is None


def test_a_circuit_without_inputs_serves_every_row():
    circuit, inputs, weights = student(2, 1)
    exact = ExactExpectation(circuit, z_observables(2), [], inputs + weights, noise_model=depolarizing_model())
    w = torch.linspace(0, 1, 6, dtype=torch.float64, requires_grad=True)
    values = exact(torch.zeros(3, 0), w)
    assert values.shape == (3, 2)
    assert torch.autograd.gradcheck(lambda weights: exact(torch.zeros(3, 0), weights), (w,))


def test_float32_inputs_get_float32_gradients():
    circuit, inputs, weights = student(2, 1)
    exact = ExactExpectation(circuit, z_observables(2), inputs, weights)
    x, w = torch.rand(3, 2, requires_grad=True), torch.rand(4, requires_grad=True)
    exact(x, w).sum().backward()
    assert (x.grad.dtype, w.grad.dtype) == (torch.float32, torch.float32)
