"""From features to circuit angles: fixed circuits whose inputs are parameters, never a circuit per sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

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
        loaded: maps features `(N, F)` to what the circuit takes of them, `(N, F)`: amplitudes of norm 1, or bounded
            angles, dtype kept. A classical control gets these in place of the circuit, as does a layer that starts
            from a state.
        largest: largest norm of a row of `loaded`.
        bounded: whether the angles saturate for large features.
        repeated: whether the circuit stands before every layer of the ansatz, not only the first.
    """

    name: str
    num_features: int
    circuit: QuantumCircuit
    parameters: tuple
    angles: Callable[[torch.Tensor], torch.Tensor]
    loaded: Callable[[torch.Tensor], torch.Tensor]
    largest: float
    bounded: bool = False
    repeated: bool = False


def build_encoding(name: str, num_qubits: int, *, angle_range: float = math.pi / 2) -> Encoding:
    """Build an encoding by name.

    Args:
        name: one of `ENCODINGS`.
        num_qubits: `Q`.
        angle_range: largest rotation in radians of the bounded encodings, all but those in `AMPLITUDES`.

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
        _append_multiplexed(circuit.ry, circuit, level, parameters[first : first + 2**level])
    angles = _AmplitudeAngles(num_qubits)
    return Encoding("amplitude", 2**num_qubits, circuit, tuple(parameters), angles, _normalise, 1.0)


def _complex_amplitude(num_qubits: int, angle_range: float) -> Encoding:
    """Prepare `sum_n (a_n + i b_n) |n>`: twice the features of `amplitude`, `F = 2 2^Q`, first all `a`, then all `b`.

    The tree of `amplitude` makes the moduli, a tree of multiplexed RZ rotations the phases (but for the global one):
    `2 (2^Q - 1)` parameters. Source: Mottonen, Vartiainen, Bergholm, Salomaa, arXiv quant-ph/0407010, section 4.
    """
    count = 2**num_qubits - 1
    parameters = ParameterVector("x", 2 * count)
    circuit = QuantumCircuit(num_qubits)
    for offset, rotation in ((0, circuit.ry), (count, circuit.rz)):
        for level in range(num_qubits):
            first = offset + 2**level - 1
            _append_multiplexed(rotation, circuit, level, parameters[first : first + 2**level])
    angles = _ComplexAngles(_AmplitudeAngles(num_qubits))
    return Encoding("complex_amplitude", 2 ** (num_qubits + 1), circuit, tuple(parameters), angles, _normalise, 1.0)


def _normalise(features: torch.Tensor) -> torch.Tensor:
    """Return amplitudes of norm 1; an all-zero row becomes `|0...0>`, as the tree has it, with gradient zero.

    NaN stays NaN: what computes with it refuses it.
    """
    norms = features.norm(dim=1, keepdim=True)
    nothing = norms == 0
    ground = torch.zeros_like(features[:1])
    ground[:, 0] = 1
    return torch.where(nothing, ground, features / norms.masked_fill(nothing, 1.0))


def _append_multiplexed(rotation: Callable[..., Any], circuit: QuantumCircuit, level: int, angles: list) -> None:
    """Rotate qubit `Q-1-level` by an angle chosen by the `level` qubits above it (`2^level` rotations and CX).

    Args:
        rotation: the circuit's `ry` or `rz`: conjugation with X turns either round.
        circuit: gets the gates.
        level: see above.
        angles: `2^level` parameters in the order of the Gray code.
    """
    target = circuit.num_qubits - 1 - level
    for step, angle in enumerate(angles):
        rotation(angle, target)
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
    def mixers(self) -> list[torch.Tensor]:
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
            levels.insert(0, multiplexed @ self.mixers[level].to(multiplexed))
            amplitudes = _safe_norm(left, right)
        return torch.cat(levels, dim=1)


@dataclass(frozen=True)
class _ComplexAngles:
    """Features `(N, 2 2^Q)` to circuit angles `(N, 2 (2^Q - 1))`: the moduli's tree, then the phases'."""

    moduli: _AmplitudeAngles

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Return the circuit's angles. An amplitude that is exactly zero gets the gradient zero.

        (The true one is lost with its phase. A layer with a bias in front never gives such a zero, and features that
        are fixed need no gradient.)
        """
        real, imaginary = features.chunk(2, dim=1)
        nothing = (real == 0) & (imaginary == 0)
        phases = torch.atan2(imaginary.masked_fill(nothing, 0.0), torch.where(nothing, torch.ones_like(real), real))
        levels: list[torch.Tensor] = []
        for mixer in reversed(self.moduli.mixers):
            left, right = phases[:, 0::2], phases[:, 1::2]
            levels.insert(0, (right - left) @ mixer.to(phases))
            phases = (left + right) / 2  # what is left at last is the global phase
        return torch.cat([self.moduli(_safe_norm(real, imaginary)), *levels], dim=1)


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
    return _bounded("angle", circuit, parameters, angle_range)


def _hadamard_angle(num_qubits: int, angle_range: float) -> Encoding:
    """H, then RY(`angle_range * tanh(f_q)`) on each qubit: the paper's v1 circuit, P(1) = (1 + sin theta) / 2.

    Beyond +-pi/2 the sine folds back; that is why the default range is pi/2 where the paper has pi. A range alone does
    not keep features out of saturation: see `StudentBlueprint.normalise`.
    """
    encoding = _angle(num_qubits, angle_range)
    circuit = QuantumCircuit(num_qubits)
    circuit.h(range(num_qubits))
    circuit.compose(encoding.circuit, inplace=True)
    return replace(encoding, name="hadamard_angle", circuit=circuit)


def _qubit(num_qubits: int, angle_range: float) -> Encoding:
    """Two features a qubit: RY by one, then RZ by the other. The dense angle encoding of arXiv 2003.01695, section II.

    The second is a phase: on `|0>` it shows only after a gate that mixes, so it needs an ansatz.
    """
    parameters = ParameterVector("x", 2 * num_qubits)
    circuit = QuantumCircuit(num_qubits)
    for qubit in range(num_qubits):
        circuit.ry(parameters[2 * qubit], qubit)
        circuit.rz(parameters[2 * qubit + 1], qubit)
    return _bounded("qubit", circuit, parameters, angle_range)


def _reuploading(num_qubits: int, angle_range: float) -> Encoding:
    """`qubit`, repeated before every layer of the ansatz with the same angles. arXiv 1907.02085, section II.

    There the data's angles have weights of their own in each layer; here the reduction in front has them, for all.
    """
    return replace(_qubit(num_qubits, angle_range), name="reuploading", repeated=True)


def _zz(num_qubits: int, angle_range: float) -> Encoding:
    """Twice: H, a phase of `2 x_q` on each qubit, one of `2 (pi - x_i)(pi - x_j)` on the parity of each pair.

    The feature map of arXiv 1804.11326 as Qiskit's `zz_feature_map` has it (all pairs). The products are computed
    here, not in the circuit, so that each angle of the circuit is a parameter: `A = Q + Q (Q - 1) / 2`.
    """
    pairs = list(combinations(range(num_qubits), 2))
    parameters = ParameterVector("x", num_qubits + len(pairs))
    circuit = QuantumCircuit(num_qubits)
    for _ in range(2):
        circuit.h(range(num_qubits))
        for qubit in range(num_qubits):
            circuit.p(parameters[qubit], qubit)
        for angle, (first, second) in zip(parameters[num_qubits:], pairs):
            circuit.cx(first, second)
            circuit.p(angle, second)
            circuit.cx(first, second)
    encoding = _bounded("zz", circuit, parameters, angle_range, num_qubits)
    return replace(encoding, angles=_PairAngles(angle_range, tuple(pairs)))


def _bounded(
    name: str, circuit: QuantumCircuit, parameters: ParameterVector, angle_range: float, num_features: int | None = None
) -> Encoding:
    features = num_features or len(parameters)
    bound = _BoundedAngles(angle_range)
    largest = angle_range * math.sqrt(features)
    return Encoding(name, features, circuit, tuple(parameters), bound, bound, largest, bounded=True)


@dataclass(frozen=True)
class _BoundedAngles:
    angle_range: float

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        return self.angle_range * torch.tanh(features)


@dataclass(frozen=True)
class _PairAngles:
    """Features `(N, Q)` to `2 x_q` and, for each pair, `2 (pi - x_i)(pi - x_j)`."""

    angle_range: float
    pairs: tuple[tuple[int, int], ...]

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        bounded = self.angle_range * torch.tanh(features)
        rest = math.pi - bounded
        first, second = ([pair[end] for pair in self.pairs] for end in (0, 1))
        return 2 * torch.cat([bounded, rest[:, first] * rest[:, second]], dim=1)


ENCODINGS: dict[str, Callable[[int, float], Encoding]] = {
    "amplitude": _amplitude,
    "complex_amplitude": _complex_amplitude,
    "angle": _angle,
    "hadamard_angle": _hadamard_angle,
    "qubit": _qubit,
    "zz": _zz,
    "reuploading": _reuploading,
}
AMPLITUDES = ("amplitude", "complex_amplitude")
"""Encodings that divide the features by their norm; all others bound and, with `normalise`, standardise them."""
