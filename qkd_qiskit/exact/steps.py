"""The few array operations that a plan consists of, each with its hand-written adjoint.

A slot holds vectors of shape (D^n, R): R is 1 as long as all samples share them, N afterwards. Gradients of complex
vectors are d/dRe + i d/dIm. Arrays are NumPy on the CPU and torch elsewhere; only what both spell alike is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = Any


@dataclass
class Trig:
    """Cosines and sines of all angles: the samples' own (A, N), the shared ones (B,); and of half of each."""

    shared: tuple[Array, Array]
    shared_half: tuple[Array, Array]
    own: tuple[Array, Array] = (None, None)
    own_half: tuple[Array, Array] = (None, None)


@dataclass
class Slopes:
    """Gradients that a way back collects: of own angles (A, N), shared angles (B,) and the weights' matrices."""

    own: Array
    shared: Array
    matrices: list[Any]


@dataclass
class Tape:
    """One forward pass: what the steps read and what they leave for the way back.

    Args:
        trig: cosines and sines of the angles.
        matrices: matrices that the weights make, (d, d) each.
        slots: the vectors.
    """

    trig: Trig
    matrices: Sequence[Array]
    slots: dict[int, Array]
    saved: list = field(default_factory=list)
    slopes: Slopes | None = None

    def rewound(self, slopes: Slopes, slots: dict[int, Array]) -> "Tape":
        """Return a tape for the way back with gradients in its slots, so that this one can be used again."""
        return Tape(self.trig, self.matrices, slots, list(self.saved), slopes)


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
        _slopes(tape).matrices[self.member] = outer.sum(axis=0) if self.left > 1 else outer[0]
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
    """RZ rotations of qubits of one slot, as (left, angle, sign, sampled) each; `base` is 2 or 4."""

    slot: int
    base: int
    turns: Sequence[tuple[int, int, float, bool]]

    def forward(self, tape: Tape) -> None:
        """Turn in place; a vector that all samples share is copied first, once per sample if the angle differs."""
        vectors = tape.slots[self.slot]
        before = vectors.shape[1]
        if before == 1:
            samples = tape.trig.own[0].shape[1] if any(sampled for *_, sampled in self.turns) else 1
            vectors = vectors.repeat(1, samples) if hasattr(vectors, "clone") else vectors.repeat(samples, axis=1)
        for turn in self.turns:
            self._turn(vectors, tape.trig, turn, 1.0)
        tape.saved.append((vectors, before))
        tape.slots[self.slot] = vectors

    def _turn(self, vectors: Array, trig: Trig, turn: tuple[int, int, float, bool], way: float) -> None:
        left, angle, sign, sampled = turn
        cosines, sines = trig.own if sampled else trig.shared
        cos, sin = cosines[angle], sines[angle] * (sign * way)
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
        slopes = _slopes(tape)
        for left, angle, sign, sampled in self.turns:
            value = self._angle_slope(vectors, slope, left) * sign
            if sampled:
                slopes.own[angle] += value
            else:
                slopes.shared[angle] += value.sum()
        for turn in self.turns:
            self._turn(slope, tape.trig, turn, -1.0)
        tape.slots[self.slot] = slope.sum(axis=1)[:, None] if before == 1 and slope.shape[1] > 1 else slope

    def _angle_slope(self, vectors: Array, slope: Array, left: int) -> Array:
        shape = (left, self.base, -1, vectors.shape[1])
        vectors, slope = vectors.reshape(shape), slope.reshape(shape)
        if self.base == 2:
            ones, slopes = vectors[:, 1], slope[:, 1]
            return (slopes.imag * ones.real - slopes.real * ones.imag).sum(axis=(0, 1))
        x, y = vectors[:, 1], vectors[:, 2]
        return inner(slope[:, 2], x) - inner(slope[:, 1], y)


def _slopes(tape: Tape) -> Slopes:
    assert tape.slopes is not None
    return tape.slopes


def inner(first: Array, second: Array) -> Array:
    """Return the sum over all but the last axis of the product of two arrays (a, b, N)."""
    if hasattr(first, "clone"):
        return (first * second).sum(axis=(0, 1))
    return np.einsum("abn,abn->n", first, second)


Step = ApplyConstant | ApplyShared | ApplyGather | Permute | Join | Rotate


def run_forward(steps: Sequence[Step], tape: Tape) -> None:
    """Run all steps in order."""
    for step in steps:
        step.forward(tape)


def run_backward(steps: Sequence[Step], tape: Tape) -> None:
    """Run all adjoints in reverse order; the slots hold gradients."""
    for step in reversed(steps):
        step.backward(tape)
