"""From features to circuit angles: fixed circuits whose inputs are parameters, never a circuit per sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from qiskit.circuit import ParameterVector, QuantumCircuit

from qkd_qiskit.suggestions import choose


@dataclass(frozen=True)
class Encoding:
    """A circuit that loads features, and the differentiable function from features to its angles.

    Attributes:
        name: the key in `ENCODINGS`.
        num_features: `F`, how many features a sample must have.
        circuit: `Q` qubits, one parameter per angle.
        parameters: the circuit's `A` input parameters, in the order of the columns of `angles`.
        angles: maps features `(N, F)` to angles `(N, A)` in radians, differentiable, dtype kept.
        bounded: whether the angles saturate for large features.
    """

    name: str
    num_features: int
    circuit: QuantumCircuit
    parameters: tuple
    angles: Callable[[torch.Tensor], torch.Tensor]
    bounded: bool = False


def build_encoding(name: str, num_qubits: int, *, angle_range: float = math.pi / 2) -> Encoding:
    """Build an encoding by name.

    Args:
        name: one of `ENCODINGS`.
        num_qubits: `Q`.
        angle_range: largest rotation in radians of the bounded encodings (`angle`, `hadamard_angle`).

    Raises:
        ConfigurationError: the name is unknown.
    """
    return choose("encoding", name, ENCODINGS)(num_qubits, angle_range)


def _amplitude(num_qubits: int, angle_range: float) -> Encoding:
    """Prepare `sum_n a_n |n>` for real `a` of length `2^Q` by a tree of multiplexed RY rotations.

    The rotations are the `2^Q - 1` parameters; features of any length are normalised first. Source of the tree and of
    the Gray-code decomposition: Mottonen, Vartiainen, Bergholm, Salomaa, arXiv quant-ph/0407010, sections 3 and 4.
    """
    parameters = ParameterVector("x", 2**num_qubits - 1)
    circuit = QuantumCircuit(num_qubits)
    for level in range(num_qubits):
        first = 2**level - 1
        _append_multiplexed_ry(circuit, level, parameters[first : first + 2**level])
    return Encoding("amplitude", 2**num_qubits, circuit, tuple(parameters), _AmplitudeAngles(num_qubits))


def _append_multiplexed_ry(circuit: QuantumCircuit, level: int, angles: list) -> None:
    """Rotate qubit `Q-1-level` by an angle chosen by the `level` qubits above it (`2^level` RY and CX)."""
    target = circuit.num_qubits - 1 - level
    for step, angle in enumerate(angles):
        circuit.ry(angle, target)
        if level:
            flipped = _gray(step) ^ _gray((step + 1) % len(angles))
            circuit.cx(target + flipped.bit_length(), target)


def _gray(number: int) -> int:
    return number ^ (number >> 1)


@dataclass(frozen=True)
class _AmplitudeAngles:
    """Features `(N, 2^Q)` to the tree's circuit angles `(N, 2^Q - 1)`."""

    num_qubits: int

    @cached_property
    def _mixers(self) -> list[torch.Tensor]:
        """For each level `k` the `(2^k, 2^k)` matrix from multiplexed angles to angles of the Gray-code circuit."""
        mixers = []
        for level in range(self.num_qubits):
            size = 2**level
            signs = [[(-1.0) ** (j & _gray(i)).bit_count() / size for i in range(size)] for j in range(size)]
            mixers.append(torch.tensor(signs, dtype=torch.float64))
        return mixers

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Return the circuit's angles; an all-zero row prepares `|0...0>` and has gradient zero."""
        levels: list[torch.Tensor] = []
        amplitudes = features
        for level in reversed(range(self.num_qubits)):
            left, right = amplitudes[:, 0::2], amplitudes[:, 1::2]
            nothing = (left == 0) & (right == 0)
            multiplexed = 2 * torch.atan2(right, torch.where(nothing, torch.ones_like(left), left))
            levels.insert(0, multiplexed @ self._mixers[level].to(multiplexed))
            amplitudes = _safe_norm(left, right)
        return torch.cat(levels, dim=1)


def _safe_norm(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """`sqrt(left^2 + right^2)` with gradient zero, not NaN, where both are zero."""
    square = left.square() + right.square()
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, torch.ones_like(square)).sqrt(), square)


def _angle(num_qubits: int, angle_range: float) -> Encoding:
    """RY(`angle_range * tanh(f_q)`) on each qubit of `|0>`: a product state."""
    parameters = ParameterVector("x", num_qubits)
    circuit = QuantumCircuit(num_qubits)
    for qubit, parameter in enumerate(parameters):
        circuit.ry(parameter, qubit)
    return Encoding("angle", num_qubits, circuit, tuple(parameters), _BoundedAngles(angle_range), bounded=True)


def _hadamard_angle(num_qubits: int, angle_range: float) -> Encoding:
    """H, then RY(`angle_range * tanh(f_q)`) on each qubit: the paper's v1 circuit, P(1) = (1 + sin theta) / 2.

    Beyond +-pi/2 the sine folds back; that is why the default range is pi/2 where the paper has pi. A range alone does
    not keep features out of saturation: see `StudentBlueprint.normalise`.
    """
    encoding = _angle(num_qubits, angle_range)
    circuit = QuantumCircuit(num_qubits)
    circuit.h(range(num_qubits))
    circuit.compose(encoding.circuit, inplace=True)
    return Encoding("hadamard_angle", num_qubits, circuit, encoding.parameters, encoding.angles, bounded=True)


@dataclass(frozen=True)
class _BoundedAngles:
    angle_range: float

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        return self.angle_range * torch.tanh(features)


ENCODINGS: dict[str, Callable[[int, float], Encoding]] = {
    "amplitude": _amplitude,
    "angle": _angle,
    "hadamard_angle": _hadamard_angle,
}
