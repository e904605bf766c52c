"""Lower a circuit to two kinds of operations: constant matrices, and RZ rotations with a parameter in the angle.

Every gate exp(-i theta G) is W RZ..RZ W^-1 with constant W (its eigenbasis) and RZ on Z strings, and a Z string is
one RZ between CX gates. Noise is constant too. What is left with a parameter is one phase on one qubit.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Gate, Instruction, ParameterExpression
from qiskit.circuit.library import XGate, get_standard_gate_name_mapping
from qiskit.quantum_info import Operator

from qkd_qiskit.exact.angles import AngleTable
from qkd_qiskit.exact.noise import NoiseTable
from qkd_qiskit.exact.pauli import RESET_PTM, channel_ptm, unitary_ptm
from qkd_qiskit.exceptions import ConfigurationError

Array = np.ndarray
_SILENT = ("barrier", "delay", "id", "global_phase")
_CHANNELS = ("kraus", "superop", "quantum_channel", "reset")
_WHOLE = {
    "unitary", "diagonal", "multiplexer", "initialize", "pauli", "mcx", "mcx_gray", "mcy", "mcz", "mcp", "mcphase",
    "mcr", "mcrx", "mcry", "mcrz", "mcsx", "mcu", "mcu1", "mcu2", "mcu3", "mcswap",
}  # fmt: skip
"""Instructions that Aer runs in one piece, besides Qiskit's standard gates: noise acts on them by their own name."""
_CX = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], dtype=complex)
_PROBES = (0.0, 0.37, 1.91, -2.73)


@dataclass(frozen=True)
class Constant:
    """A constant linear map; `qubits` are the axes of the matrix, the most significant first."""

    qubits: tuple[int, ...]
    matrix: Array


@dataclass(frozen=True)
class Phase:
    """An RZ rotation of one qubit by the angle of that number, times `sign`.

    `sampled` says which numbering `angle` belongs to: that of the samples' own angles or that of the shared ones.
    """

    qubit: int
    angle: int
    sign: float = 1.0
    sampled: bool = False


Operation = Constant | Phase


@cache
def _standard_gates() -> frozenset[str]:
    return frozenset(get_standard_gate_name_mapping())


def needs_density_matrix(circuit: QuantumCircuit, noise: NoiseTable) -> bool:
    """Return whether the circuit leaves the pure states: noise, channels or resets."""
    return not noise.is_noiseless or _holds_channels(circuit)


def _holds_channels(circuit: QuantumCircuit) -> bool:
    operations = [item.operation for item in circuit.data]
    if any(operation.name in _CHANNELS for operation in operations):
        return True
    composite = [operation for operation in operations if not isinstance(operation, Gate)]
    inner = [getattr(operation, "definition", None) for operation in composite]
    return any(_holds_channels(definition) for definition in inner if definition is not None)


def lower_circuit(circuit: QuantumCircuit, angles: AngleTable, noise: NoiseTable, mixed: bool) -> list[Operation]:
    """Return the circuit's operations in time order.

    Args:
        circuit: Q qubits, no measurements.
        angles: collects the rotation angles.
        noise: the errors that follow each instruction.
        mixed: True for Pauli transfer matrices (4^k, 4^k), False for unitaries (2^k, 2^k).

    Raises:
        ConfigurationError: for a measurement, control flow or an instruction with no matrix, by name.
    """
    circuit = noise.insert_custom_noise(circuit)
    lowering = _Lowering(angles, noise, mixed)
    index = {bit: position for position, bit in enumerate(circuit.qubits)}
    operations: list[Operation] = []
    for item in circuit.data:
        qubits = tuple(index[bit] for bit in item.qubits)
        operations.extend(lowering.noisy_instruction(item.operation, qubits, len(item.clbits)))
    return operations


class _Lowering:
    """The lowering of one circuit."""

    def __init__(self, angles: AngleTable, noise: NoiseTable, mixed: bool):
        self._angles = angles
        self._noise = noise
        self._mixed = mixed

    def noisy_instruction(self, gate: Instruction, qubits: tuple[int, ...], num_clbits: int) -> Iterator[Operation]:
        """Yield the instruction, then its error (looked up by label if it has one, as Aer does)."""
        _refuse_classical(gate, num_clbits)
        open_controls = _open_controls(gate, qubits)
        if open_controls:
            flips = [(XGate(label=gate.label), (qubit,)) for qubit in open_controls]
            closed = gate.to_mutable()
            closed.ctrl_state = None
            for part, where in (*flips, (closed, qubits), *flips):
                yield from self.noisy_instruction(part, where, 0)
            return
        if not self._noise.is_noiseless and self._is_composite(gate):
            yield from self._definition(gate, qubits, None, self.noisy_instruction)
            return
        yield from self._ideal(gate, qubits)
        error = self._noise.error_ptm(getattr(gate, "label", None) or gate.name, qubits)
        if error is not None:
            yield Constant(qubits[::-1], error)

    def _is_composite(self, gate: Instruction) -> bool:
        """Whether noise acts on the gates that it is made of: Aer has no such gate, and the model no error for it."""
        if gate.name in _WHOLE or gate.name in _standard_gates() or gate.name in _CHANNELS:
            return False
        known = self._noise.names_error_of(gate.name) or self._noise.names_error_of(getattr(gate, "label", None))
        return not known and getattr(gate, "definition", None) is not None

    def _ideal(self, gate: Instruction, qubits: tuple[int, ...]) -> Iterator[Operation]:
        if gate.name in _SILENT:
            return
        if gate.name in _CHANNELS:
            yield Constant(qubits[::-1], _channel_matrix(gate))
        elif not any(isinstance(value, ParameterExpression) and value.parameters for value in gate.params):
            yield from self._constant(gate, qubits)
        else:
            yield from self._parametrised(gate, qubits)

    def _constant(self, gate: Instruction, qubits: tuple[int, ...]) -> Iterator[Operation]:
        """Yield a gate of numbers only as one matrix, or by its definition if that holds channels."""
        try:
            yield self._unitary(Operator(gate).data, qubits)
        except Exception as error:
            yield from self._definition(gate, qubits, error)

    def _parametrised(self, gate: Instruction, qubits: tuple[int, ...]) -> Iterator[Operation]:
        frame = _eigenframe(gate) if len(gate.params) == 1 and len(qubits) <= 3 else None
        if frame is None:
            yield from self._definition(gate, qubits, None)
            return
        before, rates, after = frame
        yield from self._unitary_unless_identity(before, qubits)
        for support, rate in rates:
            chosen = [qubit for position, qubit in enumerate(qubits) if support >> position & 1]
            yield from self._string_rotation(chosen, *self._angles.add(gate.params[0], rate))
        yield from self._unitary_unless_identity(after, qubits)

    def _string_rotation(self, qubits: Sequence[int], angle: int, sampled: bool) -> Iterator[Operation]:
        """Yield exp(-i angle/2 Z..Z): the parity is folded onto the last qubit and back."""
        ladder = [self._unitary(_CX, (target, control)) for control, target in pairwise(qubits)]
        yield from ladder
        yield Phase(qubits[-1], angle, sampled=sampled)
        yield from reversed(ladder)

    def _definition(
        self,
        gate: Instruction,
        qubits: tuple[int, ...],
        cause: Exception | None,
        lower: Callable[..., Iterator[Operation]] | None = None,
    ) -> Iterator[Operation]:
        """Yield what a gate is defined by, each part ideal unless `lower` says otherwise."""
        definition = _u_definition(*gate.params) if gate.name in ("u", "u3") else getattr(gate, "definition", None)
        if definition is None:
            raise ConfigurationError(
                f"Instruction {gate.name!r} has neither a matrix nor a definition that the exact engine can use. "
                "Transpile the circuit to standard gates, or use Aer's EstimatorV2 (in training: --engine aer)."
            ) from cause
        index = {bit: position for position, bit in enumerate(definition.qubits)}
        for item in definition.data:
            inner = tuple(qubits[index[bit]] for bit in item.qubits)
            _refuse_classical(item.operation, len(item.clbits))
            yield from lower(item.operation, inner, 0) if lower else self._ideal(item.operation, inner)

    def _unitary(self, unitary: Array, qubits: Sequence[int]) -> Constant:
        return Constant(tuple(qubits)[::-1], unitary_ptm(unitary) if self._mixed else unitary)

    def _unitary_unless_identity(self, unitary: Array, qubits: Sequence[int]) -> Iterator[Operation]:
        if not np.allclose(unitary, np.eye(len(unitary)), atol=1e-14):
            yield self._unitary(unitary, qubits)


def _open_controls(gate: Instruction, qubits: tuple[int, ...]) -> list[int]:
    """Return the control qubits that act on 0; Aer runs X gates around those, with the noise of X gates."""
    state = getattr(gate, "ctrl_state", None)
    if state is None or gate.name.partition("_o")[1] == "":
        return []
    return [qubit for position, qubit in enumerate(qubits[: gate.num_ctrl_qubits]) if not state >> position & 1]


def _u_definition(theta: Any, phi: Any, lam: Any) -> QuantumCircuit:
    """Return U(theta, phi, lambda), which has no definition of its own, up to its global phase."""
    circuit = QuantumCircuit(1)
    circuit.rz(lam, 0)
    circuit.ry(theta, 0)
    circuit.rz(phi, 0)
    return circuit


def _refuse_classical(gate: Instruction, num_clbits: int) -> None:
    """Refuse what depends on, or makes, classical values."""
    if num_clbits or gate.name in ("measure", "store") or getattr(gate, "blocks", None) is not None:
        raise ConfigurationError(
            f"The circuit contains {gate.name!r}: measurements and control flow can't be represented exactly. "
            "Remove final measurements with circuit.remove_final_measurements(), or use Aer's EstimatorV2 "
            "(in training: --engine aer)."
        )


def _channel_matrix(gate: Instruction) -> Array:
    if gate.name == "reset":
        return RESET_PTM
    return channel_ptm(getattr(gate, "_quantum_error", gate))


def _eigenframe(gate: Instruction) -> tuple[Array, list[tuple[int, float]], Array] | None:
    """Write a one-parameter gate as `after . prod exp(-i rate theta/2 Z_S) . before`, or return None.

    Returns:
        before (2^k, 2^k), the (support, rate) pairs with the support's bit i for the gate's qubit i, and after.
    """
    try:
        unitaries = [_bound_unitary(gate, value) for value in (*_PROBES, 1e-3, -1e-3)]
    except Exception:
        return None
    start = unitaries[0]
    generator = 1j * (unitaries[-2] - unitaries[-1]) / 2e-3 @ start.conj().T
    basis = np.eye(len(start), dtype=complex)
    if not np.allclose(generator, np.diag(np.diag(generator)), atol=1e-9):
        basis = np.linalg.eigh(generator + generator.conj().T)[1]
    levels = np.rint(8 * np.diag(basis.conj().T @ generator @ basis).real) / 8
    after, before = basis, basis.conj().T @ start
    for value, unitary in zip(_PROBES, unitaries):
        if not np.allclose(after * np.exp(-1j * levels * value) @ before, unitary, atol=1e-12):
            return None
    rates = [(support, rate) for support, rate in enumerate(_walsh(levels)) if support and abs(rate) > 1e-12]
    return before, rates, after


def _bound_unitary(gate: Any, value: float) -> Array:
    bound = gate.to_mutable()
    bound.params = [value]
    return Operator(bound).data


def _walsh(levels: Array) -> Array:
    """Return the rates c_S with levels(z) = sum_S c_S/2 (-1)^(S.z), shape (2^k,)."""
    size = len(levels)
    signs = np.array([[(-1) ** bin(s & z).count("1") for z in range(size)] for s in range(size)])
    return 2 * signs @ levels / size
