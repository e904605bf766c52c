"""Sample a circuit on a device, as cheaply as the qubits that are entangled allow.

The client-side primitives measure every qubit of the device. The qubits fall into groups that no gate joins; a
group of one is followed exactly as a Bloch vector, a larger one goes to Aer with the noise of its qubits only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from qiskit.circuit import CircuitInstruction, Instruction, ParameterExpression, QuantumCircuit
from qiskit.quantum_info import Operator
from qiskit_aer import AerSimulator

from .devices import Device, pauli_matrix

MAX_DENSITY_QUBITS = 9
LONE_ROTATIONS = {"rz": (1, 2), "rx": (2, 3), "ry": (3, 1)}  # the Bloch components that the rotation mixes


@dataclass(frozen=True)
class Group:
    """Qubits joined by gates, with the instructions on them in order."""

    qubits: tuple[int, ...]
    instructions: list[CircuitInstruction]


def sample(circuit: QuantumCircuit, values: np.ndarray, shots: int, device: Device, seed: int) -> dict[str, np.ndarray]:
    """Run ``circuit`` at each row of ``values`` (N, P) and return the bits by register.

    Returns:
        For each classical register an array of bools (N, shots, size), bit 0 first.
    """
    rng = np.random.default_rng(seed)
    bits = np.zeros((len(values), shots, circuit.num_clbits), dtype=bool)
    for group in split_into_groups(circuit):
        clbits = [circuit.find_bit(c).index for inst in group.instructions for c in inst.clbits]
        if not clbits:
            continue
        if is_lone(group):
            ones = lone_probability(circuit, group, values, device)
            bits[:, :, clbits[0]] = rng.random((len(values), shots), dtype=np.float32) < ones[:, None]
        else:
            measured = list(dict.fromkeys(clbits))
            bits[:, :, measured] = sample_with_aer(circuit, group, measured, values, shots, device, rng)
    return {reg.name: bits[:, :, [circuit.find_bit(bit).index for bit in reg]] for reg in circuit.cregs}


def split_into_groups(circuit: QuantumCircuit) -> list[Group]:
    """Split a circuit into sets of qubits that no instruction joins; barriers join nothing."""
    parent = list(range(circuit.num_qubits))

    def root(qubit: int) -> int:
        while parent[qubit] != qubit:
            qubit = parent[qubit]
        return qubit

    instructions = [inst for inst in circuit.data if inst.operation.name != "barrier"]
    for inst in instructions:
        first, *others = (circuit.find_bit(q).index for q in inst.qubits)
        for other in others:
            parent[root(other)] = root(first)
    members: dict[int, list[int]] = {}
    for qubit in range(circuit.num_qubits):
        members.setdefault(root(qubit), []).append(qubit)
    work: dict[int, list[CircuitInstruction]] = {key: [] for key in members}
    for inst in instructions:
        work[root(circuit.find_bit(inst.qubits[0]).index)].append(inst)
    return [Group(tuple(members[key]), work[key]) for key in members if work[key]]


def is_lone(group: Group) -> bool:
    """Tell whether a group is one qubit with gates, delays and a final measurement, and nothing else."""
    if len(group.qubits) > 1:
        return False
    *before, last = (inst.operation for inst in group.instructions)
    allowed = all(
        op.name in LONE_ROTATIONS or op.name in ("delay", "reset") or (hasattr(op, "to_matrix") and not op.params)
        for op in before
    )
    return allowed and last.name == "measure"


def lone_probability(circuit: QuantumCircuit, group: Group, values: np.ndarray, device: Device) -> np.ndarray:
    """Return P(1) of one qubit's measurement at each row of ``values``, gate and readout errors included."""
    qubit = group.qubits[0]
    noise = device.lone_noise(qubit)
    state = np.tile([1.0, 0.0, 0.0, 1.0], (len(values), 1))  # 1, x, y, z
    for inst in group.instructions[:-1]:
        state = apply_to_bloch(inst.operation, state, circuit, values, device, qubit)
        if inst.operation.name in noise:
            state = state @ noise[inst.operation.name].T
    ones = np.clip((1 - state[:, 3]) / 2, 0, 1)
    error = device.fake.target["measure"][(qubit,)].error or 0.0
    return ones * (1 - error) + (1 - ones) * error


def apply_to_bloch(
    operation: Instruction, state: np.ndarray, circuit: QuantumCircuit, values: np.ndarray, device: Device, qubit: int
) -> np.ndarray:
    """Apply one noiseless operation to the Bloch vectors (N, 4)."""
    if operation.name == "reset":
        return np.tile([1.0, 0.0, 0.0, 1.0], (len(state), 1))
    if operation.name == "delay":
        return relax(state, operation, device, qubit)
    if operation.name not in LONE_ROTATIONS:
        return state @ pauli_matrix(Operator(operation)).T
    a, b = LONE_ROTATIONS[operation.name]
    angle = evaluate(operation.params[0], circuit, values)
    new = state.copy()
    new[:, a] = np.cos(angle) * state[:, a] - np.sin(angle) * state[:, b]
    new[:, b] = np.sin(angle) * state[:, a] + np.cos(angle) * state[:, b]
    return new


def relax(state: np.ndarray, delay: Instruction, device: Device, qubit: int) -> np.ndarray:
    """Let the Bloch vectors relax during a delay."""
    seconds = delay.duration * (
        device.fake.target.dt if delay.unit == "dt" else {"s": 1, "us": 1e-6, "ns": 1e-9}[delay.unit]
    )
    known = device.fake.target.qubit_properties[qubit]
    keep1, keep2 = np.exp(-seconds / known.t1), np.exp(-seconds / min(known.t2, 2 * known.t1))
    return np.column_stack([state[:, 0], keep2 * state[:, 1], keep2 * state[:, 2], 1 - keep1 * (1 - state[:, 3])])


def evaluate(angle: float | ParameterExpression, circuit: QuantumCircuit, values: np.ndarray) -> np.ndarray | float:
    """Return an angle at each row of ``values``."""
    if not isinstance(angle, ParameterExpression):
        return float(angle)
    columns = {parameter: index for index, parameter in enumerate(circuit.parameters)}
    if angle in columns:
        return values[:, columns[angle]]
    return np.array([float(angle.bind({p: row[columns[p]] for p in angle.parameters})) for row in values])


def sample_with_aer(
    circuit: QuantumCircuit,
    group: Group,
    measured: Sequence[int],
    values: np.ndarray,
    shots: int,
    device: Device,
    rng: np.random.Generator,
) -> np.ndarray:
    """Run a group of entangled qubits on Aer; bools (N, shots, len(measured)), the shots in random order."""
    cropped = crop_circuit(circuit, group, measured)
    method = "density_matrix" if len(group.qubits) <= MAX_DENSITY_QUBITS else "automatic"
    simulator = AerSimulator(
        method=method, noise_model=device.noise(group.qubits), seed_simulator=int(rng.integers(2**31))
    )
    column = {parameter: index for index, parameter in enumerate(circuit.parameters)}
    binds = {parameter: values[:, column[parameter]].tolist() for parameter in cropped.parameters}
    if binds:
        result = simulator.run(cropped, parameter_binds=[binds], shots=shots).result()
    else:  # without a parameter the rows differ by chance only
        result = simulator.run([cropped] * len(values), shots=shots).result()
    return np.stack([spread(result.get_counts(row), len(measured), rng) for row in range(len(values))])


def crop_circuit(circuit: QuantumCircuit, group: Group, measured: Sequence[int]) -> QuantumCircuit:
    """Return the circuit of one group on its own qubits and classical bits."""
    qubit_of = {circuit.qubits[q]: index for index, q in enumerate(group.qubits)}
    clbit_of = {circuit.clbits[c]: index for index, c in enumerate(measured)}
    cropped = QuantumCircuit(len(group.qubits), len(measured))
    for inst in group.instructions:
        cropped.append(inst.operation, [qubit_of[q] for q in inst.qubits], [clbit_of[c] for c in inst.clbits])
    return cropped


def spread(counts: dict[str, int], size: int, rng: np.random.Generator) -> np.ndarray:
    """Turn counts into one row of bits per shot, in random order."""
    keys = np.array([[bit == "1" for bit in reversed(key)] for key in counts], dtype=bool).reshape(len(counts), size)
    return rng.permutation(np.repeat(keys, list(counts.values()), axis=0))
