"""Planned steps written out as the numbers that the C extension `_kernel` reads (their list is in `_steps.h`)."""

from collections.abc import Sequence

import numpy as np

from qkd_qiskit.exact.steps import ApplyConstant, ApplyGather, Join, Permute, Rotate, Step, Tape

Array = np.ndarray
_LOAD, _MATRIX, _ORDER, _JOIN, _TURN, _END = range(6)


class Program:
    """A list of steps as arrays `code` and `data`, with a place for every buffer in an arena of `rows` rows.

    Args:
        steps: from a `Layout` of `base`.
        base: 2 for complex vectors in two planes, 4 for real ones.
        slots: each slot's vector (D^n, 1) if it starts as a constant, the number of rows if it is the program's input.
        result: the slot that holds the result.
        real: True for real vectors without noise; there are no steps then.
    """

    def __init__(
        self, steps: Sequence[Step], base: int, slots: dict[int, Array | int], result: int, real: bool = False
    ):
        self.base, self.planes = base, 1 if base == 4 or real else 2
        self.rows = 0
        self._free: dict[int, list[int]] = {}
        self._code: list[list[int]] = []
        self._data: list[Array] = []
        self._data_size = 0
        self._constants = {slot: vector for slot, vector in slots.items() if not isinstance(vector, int)}
        self._size = {slot: rows if isinstance(rows, int) else len(rows) for slot, rows in slots.items()}
        self._at = {slot: self._new(rows) for slot, rows in slots.items() if isinstance(rows, int)}
        for step in steps:
            self._append(step)
        self.final, self.size = self._place(result), self._size[result]
        starts = np.cumsum([0, *(len(item) for item in self._code)])[:-1]
        flat = [number for item in self._code for number in item]
        self.code = np.array([*flat, _END, *reversed(starts.tolist()), -1], dtype=np.int64)
        self.data = np.concatenate(self._data) if self._data else np.zeros(1)

    def _new(self, rows: int) -> int:
        """Return where a new buffer is: in place of one that no step needs any more, or after all others."""
        if self._free.get(rows):
            return self._free[rows].pop()
        at = self.rows
        self.rows += rows * self.planes
        return at

    def _store(self, array: Array) -> int:
        at = self._data_size
        planes = [array.real, array.imag] if self.planes == 2 else [array]
        self._data.append(np.concatenate([np.asarray(plane, dtype=float).ravel() for plane in planes]))
        self._data_size += len(self._data[-1])
        return at

    def _place(self, slot: int) -> int:
        """Return where a slot's buffer is; a constant one is loaded now."""
        if slot not in self._at:
            rows = self._size[slot]
            self._at[slot] = self._new(rows)
            self._code.append([_LOAD, self._at[slot], rows, self._store(self._constants.pop(slot))])
        return self._at[slot]

    def _append(self, step: Step) -> None:
        slots = (step.slot, step.other) if isinstance(step, Join) else (step.slot,)
        if not isinstance(step, Rotate) and all(slot in self._constants for slot in slots):
            tape = Tape(None, (), self._constants)  # type: ignore[arg-type]
            step.forward(tape)
            self._size[step.slot] = len(self._constants[step.slot])
            return
        places = [self._place(slot) for slot in slots]
        rows = self._size[step.slot]
        if isinstance(step, ApplyConstant):
            dim = len(step.matrix)
            parts = int(np.any(step.matrix.real)) + 2 * int(np.any(step.matrix.imag))
            numbers = [step.left, dim, rows // (step.left * dim), self._store(step.matrix), parts]
            self._code.append([_MATRIX, *places, self._new(rows), *numbers])
        elif isinstance(step, Permute | ApplyGather):
            source = _source(step, rows)
            every = np.concatenate([source + plane * rows for plane in range(self.planes)])
            self._code.append([_ORDER, *places, self._new(rows), len(every), *every.tolist()])
        elif isinstance(step, Join):
            other = self._size.pop(step.other)
            self._at.pop(step.other)
            out, spare = self._new(rows * other), self._new(rows + other)
            self._code.append([_JOIN, *places, out, rows, other, spare])
            self._free.setdefault(rows + other, []).append(spare)
            self._size[step.slot] = rows * other
        elif isinstance(step, Rotate):
            turns = [self._turn(turn, rows) for turn in step.turns]
            numbers = [rows * self.planes, len(turns), *(number for turn in turns for number in turn)]
            self._code.append([_TURN, *places, self._new(rows), *numbers])
        else:
            raise NotImplementedError(type(step).__name__)
        if not isinstance(step, Rotate | Join):  # those two read their input again on the way back
            self._free.setdefault(rows, []).append(places[0])
        self._at[step.slot] = self._code[-1][3 if isinstance(step, Join) else 2]

    def _turn(self, turn: tuple[int, int, float, bool], rows: int) -> list[int]:
        left, angle, sign, sampled = turn
        right = rows // (left * self.base)
        second = rows + right if self.base == 2 else 2 * right
        return [left, self.base * right, right, right, second, angle, int(sampled), round(sign)]


def _source(step: Permute | ApplyGather, rows: int) -> Array:
    if isinstance(step, Permute):
        return np.arange(rows).reshape(step.shape).transpose(step.axes).reshape(-1)
    if np.abs(step.scale - 1).max() > 0:
        raise NotImplementedError("scaled permutation")
    return np.asarray(step.source)
