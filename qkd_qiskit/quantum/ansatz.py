"""The trainable part of the circuit: layers, each with weights of its own, and what closes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import efficient_su2, real_amplitudes

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.suggestions import choose

Layers = Iterable[QuantumCircuit]
"""Circuits to be put one behind the other; each one's parameters are its own, whatever they are called."""


@dataclass(frozen=True)
class Ansatz:
    """Circuits that follow each other, apart so that an encoding can be repeated in between.

    Attributes:
        layers: the layers, in the order they are applied.
        closing: what follows the last one; may be empty.
        parameters: the `P` weights `w[...]`, in the order of the layers.
    """

    layers: tuple[QuantumCircuit, ...]
    closing: QuantumCircuit
    parameters: tuple[Parameter, ...]


def build_ansatz(name: str, num_qubits: int, layers: int) -> Ansatz:
    """Build an ansatz by name.

    Args:
        name: one of `ANSAETZE`.
        num_qubits: `Q`.
        layers: how many layers; what closes them is there even without any.

    Raises:
        ConfigurationError: the name is unknown, or the number of layers is negative.
    """
    build = choose("ansatz", name, ANSAETZE)
    if layers < 0:
        raise ConfigurationError(f"an ansatz has 0 or more layers, not {layers}; give --layers 2, say")
    parts = [*build(num_qubits, layers)]
    weights = ParameterVector("w", sum(part.num_parameters for part in parts))
    named, used = [], 0
    for part in parts:
        fresh = weights[used : used + part.num_parameters]
        named.append(part.assign_parameters(dict(zip(part.parameters, fresh))))
        used += part.num_parameters
    return Ansatz(tuple(named[:-1]), named[-1], tuple(weights))


def _hardware_efficient(num_qubits: int, layers: int) -> Layers:
    """Per layer RY and RZ on each qubit and a chain of CX, then a last RY: `P = Q (2 layers + 1)`.

    A chain needs no routing on a line of qubits, a ring would. It does not end in CX: they would only permute the
    Z-strings that are measured. Source: Kandala et al., arXiv 1704.05018.
    """
    for _ in range(layers):
        circuit = _rotate(num_qubits, ("ry", "rz"))
        for qubit in range(num_qubits - 1):
            circuit.cx(qubit, qubit + 1)
        yield circuit
    yield _rotate(num_qubits, ("ry",))


def _real_amplitudes(num_qubits: int, layers: int) -> Layers:
    """RY and a chain of CX, then a last RY, as Qiskit's `real_amplitudes` has it: `P = Q (layers + 1)`.

    States that start real stay real, so the RZ angles of `qubit` encoding are the only phases there are.
    """
    for _ in range(layers):
        yield real_amplitudes(num_qubits, reps=1, skip_final_rotation_layer=True)
    yield real_amplitudes(num_qubits, reps=0)


def _efficient_su2(num_qubits: int, layers: int) -> Layers:
    """RY, RZ and a chain of CX, then a last RY and RZ, as Qiskit's `efficient_su2` has it: `P = 2 Q (layers + 1)`.

    The last RZ are phases in front of a measurement of Z: `Q` of the weights change nothing.
    """
    for _ in range(layers):
        yield efficient_su2(num_qubits, reps=1, skip_final_rotation_layer=True)
    yield efficient_su2(num_qubits, reps=0)


def _strongly_entangling(num_qubits: int, layers: int) -> Layers:
    """Per layer any rotation, RZ RY RZ, of each qubit, and a ring of CX: `P = 3 Q layers`. Nothing closes it.

    The ring of layer `l`, counted from 0, joins qubits `1 + l mod (Q - 1)` apart. Source: Schuld et al.,
    arXiv 1804.00633, figure 4, with CX for the controlled gate, which that paper leaves open.
    """
    for layer in range(layers):
        circuit = _rotate(num_qubits, ("rz", "ry", "rz"))
        if num_qubits > 1:
            reach = 1 + layer % (num_qubits - 1)
            for qubit in range(num_qubits):
                circuit.cx(qubit, (qubit + reach) % num_qubits)
        yield circuit
    yield QuantumCircuit(num_qubits)


def _paper_v2(num_qubits: int, layers: int) -> Layers:
    """Per layer RX RY RZ RX, then RX RY RZ, on each qubit: `P = 7 Q layers`. The circuit drawn in arXiv 2311.13810v2.

    No two-qubit gate is drawn, so entanglement comes from the encoding alone and a second layer adds nothing to the
    first. What the drawing does not tell: it names both RX of the first group alike, and the second group's angles
    alike on all qubits. They may be shared; here every gate has a weight of its own, which can do all that shared ones
    can. How often it is repeated is not told either: `layers=1` is the drawing.
    """
    for _ in range(layers):
        yield _rotate(num_qubits, ("rx", "ry", "rz", "rx", "rx", "ry", "rz"))
    yield QuantumCircuit(num_qubits)


def _none(num_qubits: int, layers: int) -> Layers:
    """No weights, whatever the number of layers: the encoding is measured as it is."""
    return [QuantumCircuit(num_qubits)]


def _rotate(num_qubits: int, gates: tuple[str, ...]) -> QuantumCircuit:
    """Apply these rotations to each qubit, each by a weight of its own."""
    weights = iter(ParameterVector("w", num_qubits * len(gates)))
    circuit = QuantumCircuit(num_qubits)
    for qubit in range(num_qubits):
        for gate in gates:
            getattr(circuit, gate)(next(weights), qubit)
    return circuit


ANSAETZE: dict[str, Callable[[int, int], Layers]] = {
    "hardware_efficient": _hardware_efficient,
    "real_amplitudes": _real_amplitudes,
    "efficient_su2": _efficient_su2,
    "strongly_entangling": _strongly_entangling,
    "paper_v2": _paper_v2,
    "none": _none,
}
