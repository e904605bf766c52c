"""The few array operations that a plan consists of, each with its hand-written adjoint.

A slot holds vectors of shape (D^n, R): R is 1 as long as all samples share them, N afterwards. Gradients of complex
vectors are d/dRe + i d/dIm. Arrays are NumPy on the CPU and torch elsewhere; only what both spell alike is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Array = Any


@dataclass
class Tape:
    """One forward pass: what the steps read and what they leave for the way back.

    Args:
        cos: cosines of the angles, shape (A, N) or (A, 1).
        sin: sines of the angles, like cos.
        matrices: matrices that the weights make, (d, d) each.
        slots: the vectors.
    """

    cos: Array
    sin: Array
    matrices: Sequence[Array]
    slots: dict[int, Array]
    saved: list = field(default_factory=list)
    slopes: Array = None
    matrix_slopes: list = field(default_factory=list)

    def rewound(self, slopes: Array, matrix_slopes: list) -> "Tape":
        """Return a tape for the way back, so that this one can be used again."""
        return Tape(self.cos, self.sin, self.matrices, {}, list(self.saved), slopes, matrix_slopes)


def multiply_rows(matrix: Array, vectors: Array, left: int) -> Array:
    """Apply a matrix to one axis of vectors (left * d * right, R)."""
    shape = vectors.shape
    if left == 1:
        return (matrix @ vectors.reshape(matrix.shape[1], -1)).reshape(shape)
    return (matrix @ vectors.reshape(left, matrix.shape[1], -1)).reshape(shape)


@dataclass
class ApplyConstant:
    """A constant matrix (d, d) on the axis after `left`."""

    slot: int
    left: int
    matrix: Array
    adjoint: Array

    def forward(self, tape: Tape) -> None:
        """Multiply."""
        tape.slots[self.slot] = multiply_rows(self.matrix, tape.slots[self.slot], self.left)

    def backward(self, tape: Tape) -> None:
        """Multiply by the adjoint."""
        tape.slots[self.slot] = multiply_rows(self.adjoint, tape.slots[self.slot], self.left)


@dataclass
class ApplyShared:
    """Matrix number `member` of those that the weights make, on the axis after `left`."""

    slot: int
    left: int
    member: int

    def forward(self, tape: Tape) -> None:
        """Multiply and keep the input."""
        vectors = tape.slots[self.slot]
        tape.saved.append(vectors)
        tape.slots[self.slot] = multiply_rows(tape.matrices[self.member], vectors, self.left)

    def backward(self, tape: Tape) -> None:
        """Multiply by the adjoint; the matrix's gradient is an outer product over everything else."""
        matrix = tape.matrices[self.member]
        vectors, slope = tape.saved.pop(), tape.slots[self.slot]
        size = matrix.shape[0]
        outer = slope.reshape(self.left, size, -1) @ vectors.reshape(self.left, size, -1).swapaxes(1, 2).conj()
        tape.matrix_slopes[self.member] = outer.sum(axis=0) if self.left > 1 else outer[0]
        tape.slots[self.slot] = multiply_rows(matrix.conj().T, slope, self.left)


@dataclass
class ApplyGather:
    """A signed, scaled permutation of all rows."""

    slot: int
    source: Array
    scale: Array
    target: Array
    scale_back: Array

    def forward(self, tape: Tape) -> None:
        """Gather rows and scale them."""
        tape.slots[self.slot] = tape.slots[self.slot][self.source] * self.scale

    def backward(self, tape: Tape) -> None:
        """Gather rows by the inverse and scale them."""
        tape.slots[self.slot] = tape.slots[self.slot][self.target] * self.scale_back


@dataclass
class Permute:
    """Another order of the slot's qubits."""

    slot: int
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    inverse: tuple[int, ...]

    def forward(self, tape: Tape) -> None:
        """Transpose."""
        tape.slots[self.slot] = _transpose(tape.slots[self.slot], self.shape, self.axes)

    def backward(self, tape: Tape) -> None:
        """Transpose back."""
        tape.slots[self.slot] = _transpose(tape.slots[self.slot], self.shape, self.inverse)


def _transpose(vectors: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    tensor = vectors.reshape(*shape, -1)
    order = (*axes, len(axes))
    moved = tensor.permute(order) if hasattr(tensor, "permute") else tensor.transpose(order)
    return moved.reshape(vectors.shape)


@dataclass
class Join:
    """The product state of two slots; the first slot's axes come first."""

    slot: int
    other: int

    def forward(self, tape: Tape) -> None:
        """Multiply out, shapes (a, R) and (b, R) to (a b, R)."""
        first, second = tape.slots[self.slot], tape.slots.pop(self.other)
        tape.saved.append((first, second))
        product = first[:, None, :] * second[None, :, :]
        tape.slots[self.slot] = product.reshape(-1, product.shape[-1])

    def backward(self, tape: Tape) -> None:
        """Contract with the other factor."""
        first, second = tape.saved.pop()
        slope = tape.slots[self.slot].reshape(first.shape[0], second.shape[0], -1)
        tape.slots[self.slot] = _narrow((slope * second.conj()[None]).sum(axis=1), first)
        tape.slots[self.other] = _narrow((slope * first.conj()[:, None]).sum(axis=0), second)


def _narrow(slope: Array, like: Array) -> Array:
    """Sum a gradient over the samples that shared one vector."""
    return slope.sum(axis=1)[:, None] if like.shape[1] == 1 and slope.shape[1] > 1 else slope


@dataclass
class Rotate:
    """RZ rotations of distinct qubits of one slot, as (left, angle, sign) each; `base` is 2 or 4."""

    slot: int
    base: int
    turns: Sequence[tuple[int, int, float]]
    sampled: Sequence[bool]

    def forward(self, tape: Tape) -> None:
        """Turn in place; a vector that all samples share is copied first, once per sample if the angle differs."""
        vectors = tape.slots[self.slot]
        before = vectors.shape[1]
        if before == 1:
            samples = tape.cos.shape[1] if any(self.sampled) else 1
            vectors = vectors.repeat(1, samples) if hasattr(vectors, "clone") else vectors.repeat(samples, axis=1)
        for turn, sampled in zip(self.turns, self.sampled):
            self._turn(vectors, tape, turn, sampled, 1.0)
        tape.saved.append((vectors, before))
        tape.slots[self.slot] = vectors

    def _turn(self, vectors: Array, tape: Tape, turn: tuple[int, int, float], sampled: bool, way: float) -> None:
        left, angle, sign = turn
        columns = slice(None) if sampled else slice(0, 1)
        cos, sin = tape.cos[angle, columns], tape.sin[angle, columns] * (sign * way)
        tensor = vectors.reshape(left, self.base, -1, vectors.shape[1])
        if self.base == 2:
            tensor[:, 1] *= cos + 1j * sin
            return
        x, y = tensor[:, 1], tensor[:, 2]
        turned = cos * x - sin * y
        y *= cos
        y += sin * x
        x[...] = turned

    def backward(self, tape: Tape) -> None:
        """Angle gradients from the turned vectors (the turns commute), then turn the gradient back."""
        vectors, before = tape.saved.pop()
        slope = tape.slots[self.slot]
        if vectors.shape[1] < slope.shape[1]:
            slope = slope.sum(axis=1)[:, None]
        for (left, angle, sign), sampled in zip(self.turns, self.sampled):
            value = self._angle_slope(vectors, slope, left) * sign
            if sampled:
                tape.slopes[angle] += value
            else:
                tape.slopes[angle, 0] += value.sum()
        for turn, sampled in zip(self.turns, self.sampled):
            self._turn(slope, tape, turn, sampled, -1.0)
        tape.slots[self.slot] = slope.sum(axis=1)[:, None] if before == 1 and slope.shape[1] > 1 else slope

    def _angle_slope(self, vectors: Array, slope: Array, left: int) -> Array:
        shape = (left, self.base, -1, vectors.shape[1])
        vectors, slope = vectors.reshape(shape), slope.reshape(shape)
        if self.base == 2:
            ones, slopes = vectors[:, 1], slope[:, 1]
            return (slopes.imag * ones.real - slopes.real * ones.imag).sum(axis=(0, 1))
        return (slope[:, 2] * vectors[:, 1] - slope[:, 1] * vectors[:, 2]).sum(axis=(0, 1))


Step = ApplyConstant | ApplyShared | ApplyGather | Permute | Join | Rotate


def run_forward(steps: Sequence[Step], tape: Tape) -> None:
    """Run all steps in order."""
    for step in steps:
        step.forward(tape)


def run_backward(steps: Sequence[Step], tape: Tape) -> None:
    """Run all adjoints in reverse order; the slots hold gradients."""
    for step in reversed(steps):
        step.backward(tape)
