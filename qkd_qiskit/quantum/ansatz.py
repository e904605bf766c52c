"""The trainable part of the circuit."""

from __future__ import annotations

from qiskit.circuit import ParameterVector, QuantumCircuit


def build_ansatz(num_qubits: int, layers: int) -> QuantumCircuit:
    """Build a hardware-efficient ansatz: per layer RY and RZ on each qubit and a chain of CX, then a last RY.

    A chain needs no routing on a line of qubits, a ring would. It does not end in CX: they would only permute the
    Z-strings that are measured. Source: Kandala et al., arXiv 1704.05018.

    Args:
        num_qubits: `Q`.
        layers: number of entangling layers; 0 leaves the last RY alone.

    Returns:
        A circuit with `P = Q (2 layers + 1)` parameters `w[...]`, in the order they are applied.
    """
    weights = ParameterVector("w", num_qubits * (2 * layers + 1))
    fresh = iter(weights)
    circuit = QuantumCircuit(num_qubits)
    for _ in range(layers):
        for qubit in range(num_qubits):
            circuit.ry(next(fresh), qubit)
            circuit.rz(next(fresh), qubit)
        for qubit in range(num_qubits - 1):
            circuit.cx(qubit, qubit + 1)
    for qubit in range(num_qubits):
        circuit.ry(next(fresh), qubit)
    return circuit
