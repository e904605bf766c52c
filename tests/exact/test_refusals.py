"""What can't be represented is refused by name; wrong arguments are told apart."""

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Instruction, Parameter
from qiskit.quantum_info import SparsePauliOp

from qkd_qiskit.exact import ExactExpectation
from qkd_qiskit.exceptions import ConfigurationError
from tests.exact.reference import depolarizing_model, student, z_observables


def measured():
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    return circuit


def conditional():
    circuit = QuantumCircuit(1, 1)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(0)
    return circuit


def measured_halfway():
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.h(0)
    return circuit


def repeated():
    circuit = QuantumCircuit(1, 1)
    with circuit.for_loop(range(2)):
        circuit.x(0)
    return circuit


def repeated_while():
    circuit = QuantumCircuit(1, 1)
    with circuit.while_loop((circuit.clbits[0], 1)):
        circuit.x(0)
    return circuit


def switched():
    circuit = QuantumCircuit(1, 1)
    with circuit.switch(circuit.clbits[0]) as case, case(0):
        circuit.x(0)
    return circuit


def hidden_measurement():
    circuit = QuantumCircuit(1, 1)
    circuit.append(measured_halfway().to_instruction(), [0], [0])
    return circuit


def opaque():
    circuit = QuantumCircuit(1)
    circuit.append(Instruction("mystery", 1, 0, []), [0])
    return circuit


@pytest.mark.parametrize(
    ("circuit", "name"),
    [
        (measured(), "measure"),
        (measured_halfway(), "measure"),
        (hidden_measurement(), "circuit-.*"),
        (conditional(), "if_else"),
        (repeated(), "for_loop"),
        (repeated_while(), "while_loop"),
        (switched(), "switch_case"),
        (opaque(), "mystery"),
    ],
)
@pytest.mark.parametrize("noisy", [False, True])
def test_instructions_are_refused_by_name(circuit, name, noisy):
    with pytest.raises(ConfigurationError, match=f"'{name}'.*Aer's EstimatorV2.*--engine aer"):
        ExactExpectation(circuit, [SparsePauliOp("Z")], [], [], noise_model=depolarizing_model() if noisy else None)


def test_too_many_qubits():
    circuit = QuantumCircuit(24)
    circuit.h(range(24))
    with pytest.raises(ConfigurationError, match="uses 24 qubits"):
        ExactExpectation(circuit, z_observables(24), [], [])


def test_observables():
    circuit, inputs, weights = student(2, 1)
    with pytest.raises(ConfigurationError, match="Observable 1 has 3 qubits, the circuit has 2"):
        ExactExpectation(circuit, [SparsePauliOp("ZZ"), SparsePauliOp("ZZZ")], inputs, weights)
    with pytest.raises(ConfigurationError, match="No observables"):
        ExactExpectation(circuit, [], inputs, weights)
    with pytest.raises(ConfigurationError, match="Observable 0 has complex coefficients"):
        ExactExpectation(circuit, [SparsePauliOp("ZZ", 1j)], inputs, weights)


def test_parameters():
    circuit, inputs, weights = student(2, 1)
    with pytest.raises(ConfigurationError, match=r"parameter 'w\[3\]'.*in neither"):
        ExactExpectation(circuit, z_observables(2), inputs, weights[:-1])
    with pytest.raises(ConfigurationError, match="'other' is not in the circuit"):
        ExactExpectation(circuit, z_observables(2), inputs, [*weights, Parameter("other")])
    with pytest.raises(ConfigurationError, match=r"'w\[0\]' is given twice"):
        ExactExpectation(circuit, z_observables(2), inputs, [*weights, weights[0]])


def test_shapes_and_numbers_of_a_call():
    circuit, inputs, weights = student(2, 1)
    exact = ExactExpectation(circuit, z_observables(2), inputs, weights)
    with pytest.raises(ConfigurationError, match=r"inputs has shape \(3, 5\), wanted \(N, 2\)"):
        exact(torch.zeros(3, 5), torch.zeros(4))
    with pytest.raises(ConfigurationError, match=r"weights has shape \(5,\), wanted \(4,\)"):
        exact(torch.zeros(3, 2), torch.zeros(5))
    with pytest.raises(ConfigurationError, match="inputs holds NaN or infinity, first in row 2"):
        exact(torch.tensor([[0.0, 0], [0, 0], [0, np.nan]]), torch.zeros(4))
    with pytest.raises(ConfigurationError, match="inputs holds NaN or infinity, first in row 0"):
        exact(torch.tensor([[0.0, torch.inf], [0, 1]]), torch.zeros(4))
    with pytest.raises(ConfigurationError, match="weights holds NaN"):
        exact(torch.zeros(1, 2), torch.full((4,), torch.inf))


@pytest.mark.parametrize("shape", [(5, 3), (4, 2), (5,), (5, 2, 1)])
def test_cotangents_of_another_shape(shape):
    circuit, inputs, weights = student(2, 1)
    exact = ExactExpectation(circuit, z_observables(2), inputs, weights)
    with pytest.raises(ConfigurationError, match=r"cotangents has shape .*, wanted \(5, 2\)"):
        exact.values_and_vjp(np.zeros((5, 2)), np.zeros(4), np.zeros(shape))


@pytest.mark.parametrize("changed", ["inputs", "weights"])
def test_numbers_changed_between_values_and_gradient(changed):
    circuit, inputs, weights = student(2, 1)
    exact = ExactExpectation(circuit, z_observables(2), inputs, weights)
    given = {
        "inputs": torch.ones(3, 2, dtype=torch.float64, requires_grad=True),
        "weights": torch.ones(4, dtype=torch.float64, requires_grad=True),
    }
    values = exact(given["inputs"], given["weights"])
    with torch.no_grad():
        given[changed].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        values.sum().backward()


def test_numbers_that_were_copied_may_be_changed():
    circuit, inputs, weights = student(2, 1)
    exact = ExactExpectation(circuit, z_observables(2), inputs, weights)
    slopes = []
    for step in (0.0, 1.0):
        w = torch.full((4,), 0.5, requires_grad=True)
        values = exact(torch.ones(3, 2), w)
        with torch.no_grad():
            w.add_(step)
        values.sum().backward()
        slopes.append(w.grad)
    assert torch.equal(*slopes)


def test_an_empty_batch_has_empty_values():
    circuit, inputs, weights = student(2, 1)
    exact = ExactExpectation(circuit, z_observables(2), inputs, weights)
    w = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    values = exact(torch.zeros(0, 2), w)
    values.sum().backward()
    assert values.shape == (0, 2)
    assert not w.grad.any()
