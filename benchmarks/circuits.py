"""The circuits of the benchmark, as Qiskit users write them."""

from typing import Any

import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter, ParameterVector
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer.noise import NoiseModel, depolarizing_error

Case = tuple[QuantumCircuit, list[SparsePauliOp], list[Parameter], list[Parameter]]


def z_observables(num_qubits: int) -> list[SparsePauliOp]:
    return [SparsePauliOp.from_sparse_list([("Z", [qubit], 1.0)], num_qubits) for qubit in range(num_qubits)]


def append_ansatz(circuit: QuantumCircuit, weights: ParameterVector) -> None:
    remaining = list(weights)
    while remaining:
        for qubit in range(circuit.num_qubits):
            circuit.ry(remaining.pop(0), qubit)
            circuit.rz(remaining.pop(0), qubit)
        for qubit in range(circuit.num_qubits):
            circuit.cx(qubit, (qubit + 1) % circuit.num_qubits)


def angle_circuit(num_qubits: int, layers: int = 3) -> Case:
    """a4, a8, n4, n8: RY(x) on each qubit, then layers of RY(w), RZ(w) and a ring of CX."""
    inputs, weights = ParameterVector("x", num_qubits), ParameterVector("w", 2 * num_qubits * layers)
    circuit = QuantumCircuit(num_qubits)
    for qubit in range(num_qubits):
        circuit.ry(inputs[qubit], qubit)
    append_ansatz(circuit, weights)
    return circuit, z_observables(num_qubits), list(inputs), list(weights)


def ansatz_circuit(num_qubits: int, layers: int = 3) -> Case:
    """m4, m8: the ansatz alone; the amplitudes are the state that it starts from."""
    weights = ParameterVector("w", 2 * num_qubits * layers)
    circuit = QuantumCircuit(num_qubits)
    append_ansatz(circuit, weights)
    return circuit, z_observables(num_qubits), [], list(weights)


def depolarizing_model() -> NoiseModel:
    """n4, n8: 0.001 after each one-qubit gate, 0.01 after each CX."""
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.001, 1), ["ry", "rz"])
    model.add_all_qubit_quantum_error(depolarizing_error(0.01, 2), ["cx"])
    return model


def device_circuit(num_qubits: int = 4, layers: int = 3) -> tuple[Case, NoiseModel]:
    """Amplitude encoding by a tree of multiplexed RY, compiled for FakeBrisbane and cropped to the qubits in use."""
    from qiskit_ibm_runtime.fake_provider import FakeBrisbane

    inputs, weights = ParameterVector("x", 2**num_qubits - 1), ParameterVector("w", 2 * num_qubits * layers)
    circuit = QuantumCircuit(num_qubits)
    angles = list(inputs)
    for target in range(num_qubits):
        for position in range(2**target):
            circuit.ry(angles.pop(0), target)
            if target:
                step = (position + 1) & -(position + 1)
                circuit.cx(min(step.bit_length() - 1, target - 1), target)
    append_ansatz(circuit, weights)
    backend = FakeBrisbane()
    isa = transpile(circuit, backend, optimization_level=3, seed_transpiler=0)
    observables = [item.apply_layout(isa.layout) for item in z_observables(num_qubits)]
    cropped, observables, model = _crop(isa, observables, NoiseModel.from_backend(backend))
    return (cropped, observables, list(inputs), list(weights)), model


def _crop(circuit: QuantumCircuit, observables: list[SparsePauliOp], model: NoiseModel) -> tuple[Any, ...]:
    """Re-index circuit, observables and noise model onto the qubits in use."""
    used = sorted({circuit.find_bit(bit).index for item in circuit.data for bit in item.qubits})
    new = {old: position for position, old in enumerate(used)}
    cropped = QuantumCircuit(len(used))
    for item in circuit.data:
        cropped.append(item.operation, [new[circuit.find_bit(bit).index] for bit in item.qubits])
    moved = [
        SparsePauliOp.from_sparse_list(
            [
                ("Z" * int(pauli.z.sum()), [new[int(qubit)] for qubit in np.flatnonzero(pauli.z)], 1.0)
                for pauli in item.paulis
            ],
            len(used),
        )
        for item in observables
    ]
    noise = NoiseModel(basis_gates=model.basis_gates)
    for name, errors in model._local_quantum_errors.items():
        for qubits, error in errors.items():
            if set(qubits) <= set(new):
                noise.add_quantum_error(error, [name], [new[qubit] for qubit in qubits], warnings=False)
    for qubits, error in model._local_readout_errors.items():
        if set(qubits) <= set(new):
            noise.add_readout_error(error, [new[qubit] for qubit in qubits])
    return cropped, moved, noise
