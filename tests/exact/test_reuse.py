"""Plans are shared by circuits of the same form, and by no others."""

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit.library import CXGate, UnitaryGate
from qiskit.quantum_info import SparsePauliOp

from qkd_qiskit.exact import ExactExpectation
from qkd_qiskit.exact.reuse import describe

Z = [SparsePauliOp("IZ"), SparsePauliOp("ZI")]


def build(angle: float = 0.3, name: str = "x") -> tuple[QuantumCircuit, list[Parameter], list[Parameter]]:
    inputs, weights = [Parameter(f"{name}{place}") for place in range(2)], [*ParameterVector(f"{name}w", 2)]
    circuit = QuantumCircuit(2)
    circuit.ry(inputs[0], 0)
    circuit.ry(inputs[1], 1)
    circuit.cx(0, 1)
    circuit.rz(angle, 1)
    circuit.ry(weights[0], 0)
    circuit.rx(weights[1], 1)
    return circuit, inputs, weights


def key(circuit: QuantumCircuit, inputs: list[Parameter], weights: list[Parameter]) -> object:
    return describe(circuit, Z, inputs, weights)


def test_a_circuit_built_anew_with_other_names_has_the_same_plan() -> None:
    first, again = build(), build(name="other")
    one = ExactExpectation(first[0], Z, first[1], first[2])
    two = ExactExpectation(again[0], Z, again[1], again[2])
    assert one._evaluation is two._evaluation
    x, w = np.array([[0.1, 0.2], [0.3, -0.4]]), np.array([0.5, 0.6])
    np.testing.assert_array_equal(one.values(x, w), two.values(x, w))


def test_whatever_changes_the_values_has_a_plan_of_its_own() -> None:
    circuit, inputs, weights = build()
    keys = [
        key(circuit, inputs, weights),
        key(build(0.3 + 1e-12)[0], *build(0.3)[1:]),
        key(circuit, inputs[::-1], weights),
        key(circuit, weights, inputs),
        key(circuit, [], [*inputs, *weights]),
        describe(circuit, Z[:1], inputs, weights),
        describe(circuit, [2 * Z[0], Z[1]], inputs, weights),
    ]
    other = build()
    other[0].cz(0, 1)
    keys += [key(*other), key(circuit.reverse_bits(), inputs, weights)]
    told = [item for item in keys if item is not None]
    assert len(set(told)) == len(told) >= 7


@pytest.mark.parametrize("kind", ["unitary", "expression", "open control", "composite"])
def test_what_names_and_angles_do_not_say_is_planned_each_time(kind: str) -> None:
    circuit, inputs, weights = build()
    if kind == "unitary":
        circuit.append(UnitaryGate(np.diag([1, 1j])), [0])
    elif kind == "expression":
        circuit.rz(2 * weights[0], 0)
    elif kind == "open control":
        circuit.append(CXGate(ctrl_state=0), [0, 1])
    else:
        inner = QuantumCircuit(1, name="ry")
        inner.h(0)
        circuit.append(inner.to_gate(), [0])
    assert key(circuit, inputs, weights) is None


def test_a_circuit_changed_in_place_is_analysed_anew() -> None:
    circuit, inputs, weights = build()
    before = ExactExpectation(circuit, Z, inputs, weights).values(np.zeros((1, 2)), np.zeros(2))
    circuit.x(0)
    after = ExactExpectation(circuit, Z, inputs, weights).values(np.zeros((1, 2)), np.zeros(2))
    np.testing.assert_allclose(after, before * [[-1, 1]], atol=1e-14)


def test_the_same_gates_from_amplitudes_are_another_plan() -> None:
    weights = [*ParameterVector("w", 2)]
    ansatz = QuantumCircuit(2)
    ansatz.ry(weights[0], 0)
    ansatz.ry(weights[1], 1)
    ground = ExactExpectation(ansatz, Z, [], weights)
    state = ExactExpectation(ansatz, Z, [], weights, amplitude_inputs=True)
    w = np.array([0.3, 0.4])
    np.testing.assert_allclose(ground.values(np.zeros((1, 0)), w), np.cos([w]), atol=1e-14)
    flipped = np.array([[0.0, 0.0, 0.0, 1.0]])
    np.testing.assert_allclose(state.values(flipped, w), -np.cos([w]), atol=1e-14)


def test_two_users_of_one_plan_do_not_disturb_each_other() -> None:
    import torch

    users = []
    for name in ("a", "b"):
        circuit, inputs, weights = build(name=name)
        users.append(ExactExpectation(circuit, Z, inputs, weights))
    rng = np.random.default_rng(0)
    tables = [torch.tensor(rng.normal(size=(4, 2)), requires_grad=True) for _ in users]
    weights_ = [torch.tensor(rng.normal(size=2), requires_grad=True) for _ in users]
    values = [user(x, w) for user, x, w in zip(users, tables, weights_)]
    for found in values:
        found.square().sum().backward()
    for x, w in zip(tables, weights_):
        alone = [x.detach().clone().requires_grad_(), w.detach().clone().requires_grad_()]
        users[0](*alone).square().sum().backward()
        torch.testing.assert_close(x.grad, alone[0].grad)
        torch.testing.assert_close(w.grad, alone[1].grad)
