"""Ansaetze against Qiskit's own circuits and against matrices multiplied out with numpy."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.library import efficient_su2, real_amplitudes
from qiskit.quantum_info import Operator

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.quantum.ansatz import ANSAETZE, build_ansatz
from qkd_qiskit.quantum.circuit import build_circuit
from qkd_qiskit.quantum.encoding import build_encoding
from qkd_qiskit.quantum.observables import build_observables

SIZES = [(1, 0), (1, 2), (2, 1), (3, 0), (3, 3), (4, 2)]
PAULIS = {
    "x": np.array([[0, 1], [1, 0]]),
    "y": np.array([[0, -1j], [1j, 0]]),
    "z": np.array([[1, 0], [0, -1]]),
}


def assemble(name: str, num_qubits: int, layers: int, weights: np.ndarray) -> np.ndarray:
    """The unitary of an ansatz whose parts are put behind each other, weights in the order of `parameters`."""
    ansatz = build_ansatz(name, num_qubits, layers)
    circuit = QuantumCircuit(num_qubits)
    for part in (*ansatz.layers, ansatz.closing):
        circuit.compose(part, inplace=True)
    assert len(weights) == len(ansatz.parameters)
    return Operator(circuit.assign_parameters(dict(zip(ansatz.parameters, weights)))).data


def rotation(axis: str, angle: float) -> np.ndarray:
    return np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * PAULIS[axis]


def rotate(num_qubits: int, axes: str, weights: np.ndarray) -> np.ndarray:
    """Turn each qubit about these axes, one after the other."""
    whole = np.eye(1)
    for angles in weights.reshape(num_qubits, len(axes)):
        turned = np.eye(2)
        for axis, angle in zip(axes, angles):
            turned = rotation(axis, angle) @ turned
        whole = np.kron(turned, whole)
    return whole


def cx(num_qubits: int, control: int, target: int) -> np.ndarray:
    matrix = np.zeros((2**num_qubits, 2**num_qubits))
    for state in range(2**num_qubits):
        matrix[state ^ ((state >> control & 1) << target), state] = 1
    return matrix


def draw(count: int) -> np.ndarray:
    return np.random.default_rng(count).uniform(-3, 3, count)


@pytest.mark.parametrize(("num_qubits", "layers"), SIZES)
@pytest.mark.parametrize(("name", "qiskit"), [("real_amplitudes", real_amplitudes), ("efficient_su2", efficient_su2)])
def test_qiskits_ansaetze_are_qiskits(name: str, qiskit: object, num_qubits: int, layers: int) -> None:
    theirs = qiskit(num_qubits, reps=layers)  # type: ignore[operator]
    weights = draw(theirs.num_parameters)
    wanted = Operator(theirs.assign_parameters(dict(zip(theirs.parameters, weights)))).data
    np.testing.assert_allclose(assemble(name, num_qubits, layers, weights), wanted, atol=1e-12)


@pytest.mark.parametrize(("num_qubits", "layers"), SIZES)
def test_hardware_efficient_is_rotations_and_a_chain(num_qubits: int, layers: int) -> None:
    weights = draw(num_qubits * (2 * layers + 1))
    wanted, used = np.eye(2**num_qubits), 0
    for _ in range(layers):
        wanted = rotate(num_qubits, "yz", weights[used : used + 2 * num_qubits]) @ wanted
        used += 2 * num_qubits
        for qubit in range(num_qubits - 1):
            wanted = cx(num_qubits, qubit, qubit + 1) @ wanted
    wanted = rotate(num_qubits, "y", weights[used:]) @ wanted
    np.testing.assert_allclose(assemble("hardware_efficient", num_qubits, layers, weights), wanted, atol=1e-12)


@pytest.mark.parametrize(("num_qubits", "layers"), SIZES)
def test_strongly_entangling_has_rings_that_reach_further(num_qubits: int, layers: int) -> None:
    weights = draw(3 * num_qubits * layers)
    wanted = np.eye(2**num_qubits)
    for layer in range(layers):
        wanted = rotate(num_qubits, "zyz", weights[3 * num_qubits * layer : 3 * num_qubits * (layer + 1)]) @ wanted
        for qubit in range(num_qubits if num_qubits > 1 else 0):
            wanted = cx(num_qubits, qubit, (qubit + layer % (num_qubits - 1) + 1) % num_qubits) @ wanted
    np.testing.assert_allclose(assemble("strongly_entangling", num_qubits, layers, weights), wanted, atol=1e-12)


@pytest.mark.parametrize("num_qubits", [1, 3])
def test_paper_v2_is_the_drawing(num_qubits: int) -> None:
    weights = draw(7 * num_qubits)
    wanted = rotate(num_qubits, "xyzxxyz", weights)
    np.testing.assert_allclose(assemble("paper_v2", num_qubits, 1, weights), wanted, atol=1e-12)


def test_none_has_no_weights() -> None:
    np.testing.assert_allclose(assemble("none", 3, 2, np.zeros(0)), np.eye(8))


@pytest.mark.parametrize("name", [name for name in ANSAETZE if name != "none"])
def test_reuploading_stands_before_every_layer(name: str) -> None:
    encoding, ansatz = build_encoding("reuploading", 2), build_ansatz(name, 2, 3)
    built = build_circuit(encoding, ansatz, build_observables("z", 2))
    inputs, weights = draw(4), draw(len(built.weight_params))
    bound = built.circuit.assign_parameters(dict(zip(built.parameters, np.concatenate([inputs, weights]))))
    loaded = rotate(2, "yz", inputs)
    wanted = np.eye(4)
    for part in (*ansatz.layers, ansatz.closing):
        values = dict(zip(ansatz.parameters, weights))
        own = Operator(part.assign_parameters({item: values[item] for item in part.parameters})).data
        wanted = own @ (loaded if part is not ansatz.closing else np.eye(4)) @ wanted
    np.testing.assert_allclose(Operator(bound).data, wanted, atol=1e-12)


def test_unknown_names_and_negative_depths_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'real_amplitudes'"):
        build_ansatz("real_amplitude", 2, 1)
    with pytest.raises(ConfigurationError, match="0 or more layers, not -1"):
        build_ansatz("none", 2, -1)
