"""What all samples share, done once a call: observables pushed back under noise, one operator without it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from qkd_qiskit.exact.fronts import Front, ProductFront, contract, join_factors, move_steps, split_slope
from qkd_qiskit.exact.lowering import Operation
from qkd_qiskit.exact.observables import StateFunctional, Terms
from qkd_qiskit.exact.planning import Chain, Layout, plan_tail, transpose_operations
from qkd_qiskit.exact.steps import ApplyConstant, Slopes, Step, Tape, Trig, run_backward, run_forward

Array = Any
_SLOT = -1
_LARGEST_OPERATOR = 32


class PushedBackTail:
    """Under noise: the observables' Pauli vectors (4^n, O) go back through the tail, then meet each sample's vector.

    Args:
        operations: the tail.
        vectors: Pauli coefficients of the observables (4^n, O), axes in the front's order.
        front: where the samples' vectors come from.
    """

    def __init__(self, operations: Sequence[Operation], vectors: np.ndarray, front: Front):
        layout = Layout(4, vectors.shape[1], {_SLOT: list(front.order)})
        self.groups: list[list[Chain]] = []
        plan_tail(layout, _SLOT, transpose_operations(operations), self.groups)
        layout.restore(_SLOT, front.order)
        self.steps = layout.steps
        self._vectors: Array = vectors
        self.is_small = vectors.size <= 1024 and _largest_constant(layout.steps) <= 16
        self._half = len(front.order) // 2
        self._rows: Array = _rows_of_factors(front) if isinstance(front, ProductFront) else None
        self.rows_a_sample = len(vectors) if self._rows is None else self._rows.shape[1] * (vectors.shape[1] + 2)

    def to_torch(self, device: Any) -> None:
        """Move the constants to a torch device."""
        import torch

        move_steps(self.steps, device)
        self._vectors = torch.as_tensor(self._vectors, device=device)
        if self._rows is not None:
            self._rows = torch.as_tensor(self._rows, device=device)

    def start(self, trig: Trig, matrices: Sequence[Array], num_samples: int) -> tuple[Array, Any]:
        """Return what the samples' vectors are contracted with, and what `finish` needs."""
        tape = Tape(trig, matrices, {_SLOT: self._vectors})
        run_forward(self.steps, tape)
        vectors = tape.slots[_SLOT]
        if self._rows is None:
            return vectors, tape
        left, right = self._rows.shape
        chosen = vectors[self._rows.reshape(-1)].reshape(left, right, -1)
        return chosen.swapaxes(0, 1).swapaxes(1, 2).reshape(-1, left), tape

    def values(self, operator: Array, state: Any) -> tuple[Array, Any]:
        """Return the expectation values (O, N), and what `slopes` needs."""
        if self._rows is None:
            return operator.T @ state, state
        left, right = join_factors(state[: self._half]), join_factors(state[self._half :])
        partial = (operator @ left).reshape(right.shape[0], -1, left.shape[1])
        return contract(partial, right, "ron,rn->on"), (state, left, right, partial)

    def slopes(self, operator: Array, kept: Any, cotangents: Array, need_state: bool) -> tuple[Any, Any]:
        """Return the gradients of the samples' vectors (None if not needed) and of the operator."""
        if self._rows is None:
            return operator @ cotangents if need_state else None, kept @ cotangents.T
        state, left, right, partial = kept
        spread = (right[:, None] * cotangents[None]).reshape(operator.shape[0], -1)
        operator_slope = spread @ left.T
        if not need_state:
            return None, operator_slope
        from_left = split_slope(operator.T @ spread, state[: self._half])
        from_right = split_slope(contract(partial, cotangents, "ron,on->rn"), state[self._half :])
        return [*from_left, *from_right], operator_slope

    def finish(self, operator_slope: Array, tape: Tape, slopes: Slopes) -> None:
        """Collect the gradients of the weights' matrices."""
        if self._rows is not None:
            left, right = self._rows.shape
            full = self._vectors * 0
            turned = operator_slope.reshape(right, -1, left).swapaxes(1, 2).swapaxes(0, 1)
            full[self._rows.reshape(-1)] = turned.reshape(left * right, -1)
            operator_slope = full
        run_backward(self.steps, tape.rewound(slopes, {_SLOT: operator_slope}))


def _rows_of_factors(front: ProductFront) -> np.ndarray:
    """Return which rows of the Pauli vectors the factors' kept rows meet, shape (left rows, right rows)."""
    rows = np.zeros(1, dtype=int)
    for _ in front.order:
        rows = (rows[:, None] * 4 + np.array(front.kept)).reshape(-1)
    return rows.reshape(len(front.kept) ** (len(front.order) // 2), -1)


class StateTail:
    """Without noise: the tail acts on the samples' states or, if cheaper, on a basis once and then as one matrix.

    Args:
        operations: the tail.
        observables: Pauli terms of O observables.
        front: where the samples' states come from.
    """

    def __init__(self, operations: Sequence[Operation], observables: Sequence[Terms], front: Front):
        layout = Layout(2, 64, {_SLOT: list(front.order)})
        self.groups: list[list[Chain]] = []
        plan_tail(layout, _SLOT, operations, self.groups)
        self.steps = layout.steps
        self._functional = StateFunctional(observables, layout.slots[_SLOT])
        self.rows_a_sample = self._size = 2 ** len(front.order)
        self._is_real = front.is_real and self._functional.is_diagonal
        self._is_product = front.is_product
        self.is_small = self._size <= 16
        self._basis: Array = np.eye(self._size, dtype=complex)

    def to_torch(self, device: Any) -> None:
        """Move the constants to a torch device."""
        import torch

        move_steps(self.steps, device)
        self._functional.to_torch(device)
        self._basis = torch.as_tensor(self._basis, device=device)

    def start(self, trig: Trig, matrices: Sequence[Array], num_samples: int) -> tuple[Array, Any]:
        """Return (operator or None, trig, matrices), and what `finish` needs.

        The operator has shape (2^n, 2^n); real states meet its real and imaginary rows, shape (2 * 2^n, 2^n).
        """
        if self._size > _LARGEST_OPERATOR or num_samples < self._size or not self.steps:
            return (None, trig, matrices), None
        tape = Tape(trig, matrices, {_SLOT: self._basis})
        run_forward(self.steps, tape)
        operator = tape.slots[_SLOT]
        return (_rows_apart(operator) if self._is_real else operator, trig, matrices), tape

    def values(self, operator: Any, state: Any) -> tuple[Array, Any]:
        """Return the expectation values (O, N), and what `slopes` needs."""
        matrix, trig, matrices = operator
        before = join_factors(state) if self._is_product else state
        if matrix is None:
            tape = Tape(trig, matrices, {_SLOT: before * (1 + 0j) if self._is_real or self._is_product else before})
            run_forward(self.steps, tape)
            after = tape.slots[_SLOT]
            return self._functional.values(after), (state, before, after, tape)
        after = matrix @ before
        values = self._functional.squares(after) if self._is_real else self._functional.values(after)
        return values, (state, before, after, None)

    def slopes(self, operator: Any, kept: Any, cotangents: Array, need_state: bool) -> tuple[Any, Any]:
        """Return the gradients of the samples' states (None if not needed) and of the operator (or of matrices)."""
        state, before, after, tape = kept
        matrix = operator[0]
        if matrix is not None and self._is_real:
            slope = self._functional.squares_slopes(after, cotangents)
        else:
            slope = self._functional.slopes(after, cotangents)
        if matrix is None:
            parts = Slopes(None, None, [None] * len(self.groups))
            back = tape.rewound(parts, {_SLOT: slope})
            run_backward(self.steps, back)
            slope, operator_slope = back.slots[_SLOT], _Sum(parts.matrices)
        else:
            operator_slope = slope @ before.conj().T
            slope = matrix.conj().T @ slope if need_state else None
        if not need_state:
            return None, operator_slope
        slope = slope.real if self._is_real else slope
        return split_slope(slope, state) if self._is_product else slope, operator_slope

    def finish(self, operator_slope: Any, tape: Tape | None, slopes: Slopes) -> None:
        """Collect the gradients of the weights' matrices."""
        if tape is None:
            slopes.matrices[:] = operator_slope.parts
            return
        if self._is_real:
            operator_slope = operator_slope[: self._size] + 1j * operator_slope[self._size :]
        run_backward(self.steps, tape.rewound(slopes, {_SLOT: operator_slope}))


def _largest_constant(steps: Sequence[Step]) -> int:
    return max((len(step.matrix) for step in steps if isinstance(step, ApplyConstant)), default=0)


class _Sum:
    """A list of arrays that adds item by item."""

    def __init__(self, parts: list[Array]):
        self.parts = parts

    def __add__(self, other: "_Sum") -> "_Sum":
        return _Sum([first + second for first, second in zip(self.parts, other.parts)])


def _rows_apart(operator: Array) -> Array:
    """Return the real rows of a complex matrix above its imaginary ones."""
    if hasattr(operator, "clone"):
        import torch

        return torch.cat([operator.real, operator.imag])
    return np.concatenate([operator.real, operator.imag])
