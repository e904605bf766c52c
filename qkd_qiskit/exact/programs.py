"""Planned steps written out as the numbers that the C extension `_kernel` reads (their list is in `_steps.h`).

A vector is a list of rows of an arena, so a permutation costs nothing. A row that stays zero (Y of a qubit turned by RY
only, say) has no place at all, and of a constant matrix only the entries that aren't zero are written down.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from qkd_qiskit.exact.steps import ApplyConstant, ApplyGather, Join, Permute, Rotate, Step, Tape

Array = np.ndarray
_LOAD, _MATRIX, _ORDER, _JOIN, _TURN, _TURNS, _END = range(7)
_NOWHERE = -1
_ZERO = 1e-15


class LeftToNumpy(Exception):
    """The kernel does not take a circuit; the NumPy road does."""


class Program:
    """A list of steps as arrays `code` and `data` for an arena of `rows` rows.

    Args:
        steps: from a `Layout` of `base`.
        base: 2 for complex vectors in two planes, 4 for real ones.
        slots: each slot's vector (D^n, 1) if it starts as a constant; if it is the program's input, in the arena's
            first rows, which of its D^n rows can differ from zero.
        result: the slot that holds the result.
        real: True for real vectors without noise; there are no steps then.

    Attributes:
        result_rows: where the result is in the arena, one plane after the other; -1 for rows that are zero.
    """

    def __init__(self, steps: Sequence[Step], base: int, slots: dict[int, Array], result: int, real: bool = False):
        self.base, self.planes = base, 1 if base == 4 or real else 2
        self.rows = 0
        self._free: set[int] = set()
        self._code: list[list[int]] = []
        self._data: list[Array] = []
        self._data_size = 0
        self._stored: dict[bytes, int] = {}
        self._constants = {slot: vector for slot, vector in slots.items() if vector.dtype != bool}
        self._places: dict[int, Array] = {}
        for slot, live in slots.items():
            if slot not in self._constants:
                self.rows = self.planes * len(live)
                self._places[slot] = np.where(np.tile(live, self.planes), np.arange(self.rows), _NOWHERE)
        for step in steps:
            self._append(step)
        self.result_rows = self._place(result)

    def put_in_order(self, wanted: Array | None = None) -> None:
        """Let the result stand in rows that follow each other, all of it or the `wanted` rows; call it at most once."""
        size = len(self.result_rows) // self.planes
        chosen = np.arange(size) if wanted is None else wanted
        source = self.result_rows.reshape(self.planes, size)[:, chosen].reshape(-1)
        if source[0] >= 0 and np.array_equal(source, np.arange(len(source)) + source[0]):
            self.result_rows = source
            return
        unused = [row for row in self.result_rows.tolist() if row >= 0 and row not in set(source.tolist())]
        out = self.rows
        self.rows += len(source)
        self._write(_ORDER, len(source), len(unused), out, *source, *unused)
        self.result_rows = np.arange(out, self.rows)

    def finish(self) -> tuple[Array, Array]:
        """Return code and data."""
        starts = np.cumsum([0, *(len(item) for item in self._code)])[:-1]
        flat = [number for item in self._code for number in item]
        code = np.array([*flat, _END, *reversed(starts.tolist()), -1], dtype=np.int64)
        return code, np.concatenate(self._data) if self._data else np.zeros(1)

    def _write(self, step: int, *numbers: Any) -> None:
        """Add a step; the length follows its number."""
        self._code.append([step, 2 + len(numbers), *(int(number) for number in numbers)])

    def _new(self, count: int) -> Array:
        """Return rows that follow each other: ones that no step needs any more, or new ones."""
        free = np.array(sorted(self._free), dtype=int)
        if 0 < count <= len(free):
            runs = np.flatnonzero(free[count - 1 :] - free[: len(free) - count + 1] == count - 1)
            if len(runs):
                found = free[runs[0] : runs[0] + count]
                self._free -= set(found.tolist())
                return found
        self.rows += count
        return np.arange(self.rows - count, self.rows)

    def _store(self, numbers: Array) -> int:
        flat = np.ascontiguousarray(numbers, dtype=float).ravel()
        key = flat.tobytes()
        if key not in self._stored:
            self._stored[key] = self._data_size
            self._data.append(flat)
            self._data_size += len(flat)
        return self._stored[key]

    def _place(self, slot: int) -> Array:
        """Return where a slot's rows are; constant ones are loaded now."""
        if slot not in self._places:
            vector = self._constants.pop(slot)[:, 0]
            live = np.abs(vector) > (_ZERO if self.base == 4 else -1)
            parts = [vector.real[live], vector.imag[live]][: self.planes]
            self._places[slot] = self._spread(np.tile(live, self.planes))
            rows = self._places[slot][self._places[slot] >= 0]
            self._write(_LOAD, len(rows), self._store(np.concatenate(parts)), *rows)
        return self._places[slot]

    def _spread(self, live: Array) -> Array:
        """Return new rows for those that are live, nowhere for others."""
        places = np.full(len(live), _NOWHERE)
        places[live] = self._new(int(live.sum()))
        return places

    def _append(self, step: Step) -> None:
        slots = (step.slot, step.other) if isinstance(step, Join) else (step.slot,)
        if not isinstance(step, Rotate) and all(slot in self._constants for slot in slots):
            step.forward(Tape(None, (), self._constants))  # type: ignore[arg-type]
            return
        places = [self._place(slot) for slot in slots]
        if isinstance(step, ApplyConstant):
            self._places[step.slot] = self._matrix(step, places[0])
        elif isinstance(step, Permute | ApplyGather):
            source = _source(step, len(places[0]) // self.planes)
            self._places[step.slot] = places[0].reshape(self.planes, -1)[:, source].reshape(-1)
        elif isinstance(step, Join):
            del self._places[step.other]
            self._places[step.slot] = self._join(*places)
        else:
            assert isinstance(step, Rotate), type(step).__name__
            self._rotate(step, places[0])

    def _join(self, first: Array, second: Array) -> Array:
        planes = self.planes
        left, right = (rows.reshape(planes, -1) for rows in (first, second))
        live = ((left[0] >= 0)[:, None] & (right[0] >= 0)).reshape(-1)
        out = self._spread(np.tile(live, planes))
        spare = self._new(int((first >= 0).sum() + (second >= 0).sum()))
        kept = [rows[rows >= 0] for rows in (first, second)]
        counts = [len(rows) // planes for rows in kept]
        self._write(_JOIN, *counts, planes, spare[0], *kept[0], *kept[1], *out[out >= 0])
        self._free |= set(spare.tolist())
        return out  # the factors' rows aren't free: they are read again on the way back

    def _matrix(self, step: ApplyConstant, rows: Array) -> Array:
        dim, planes = len(step.matrix), self.planes
        matrix = step.matrix
        if planes == 2:
            matrix = np.block([[matrix.real, -matrix.imag], [matrix.imag, matrix.real]])
        matrix = np.where(np.abs(matrix) > _ZERO, np.real(matrix), 0.0)
        shape = (planes, step.left, dim, -1)
        inner = rows.reshape(shape).transpose(1, 3, 0, 2).reshape(-1, planes * dim)
        live = ((matrix != 0) @ (inner >= 0).T > 0).T
        if planes == 2:
            live = np.tile(live[:, :dim] | live[:, dim:], 2)
        back = (step.left, rows.size // (planes * step.left * dim), planes, dim)
        out = self._spread(live.reshape(back).transpose(2, 0, 3, 1).reshape(-1))
        outer = out.reshape(shape).transpose(1, 3, 0, 2).reshape(-1, planes * dim)
        forward, backward = self._blocks(matrix, outer, inner), self._blocks(matrix.T, inner, outer)
        self._write(_MATRIX, 3 + len(forward), *forward, *backward)
        self._free |= set(rows[rows >= 0].tolist())
        return out

    def _blocks(self, matrix: Array, out: Array, into: Array) -> list[int]:
        """Return the blocks of a matrix (d, d) that makes rows `out` (n, d) of rows `into` (n, d)."""
        (to, to_shift), (source, source_shift) = _shifted(out), _shifted(into)
        classes: dict[bytes, list[int]] = defaultdict(list)
        patterns = np.hstack([to, source])
        for member in np.flatnonzero((out >= 0).any(axis=1)).tolist():
            classes[patterns[member].tobytes()].append(member)
        code = [len(classes)]
        for members in classes.values():
            live, used = out[members[0]] >= 0, into[members[0]] >= 0
            groups = list(self._groups(matrix[live][:, used], to[members[0]][live], source[members[0]][used]))
            shifts = np.stack([to_shift[members], source_shift[members]], axis=1).ravel()
            code += [len(members), len(groups), *shifts, *(number for group in groups for number in group)]
        return code

    def _groups(self, matrix: Array, to: Array, source: Array) -> Iterator[list[int]]:
        """Yield groups of up to 4 rows that need the same columns."""
        alike: dict[bytes, list[int]] = defaultdict(list)
        for row, used in enumerate(matrix != 0):
            alike[used.tobytes()].append(row)
        for rows in alike.values():
            while rows:
                count = 4 if len(rows) >= 4 else 2 if len(rows) >= 2 else 1
                chosen, rows = rows[:count], rows[count:]
                columns = np.flatnonzero(matrix[chosen[0]])
                at = self._store(matrix[chosen][:, columns].T)
                yield [count, len(columns), at, *to[chosen], *source[columns]]

    def _rotate(self, step: Rotate, rows: Array) -> None:
        """Turn each pair of rows; they get new rows, others stay where they are."""
        size = len(rows) // self.planes
        labels = np.arange(size)
        pairs = []
        for left, *_ in step.turns:
            split = labels.reshape(left, self.base, -1)
            first = split[:, 1].reshape(-1)
            second = first + size if self.base == 2 else split[:, 2].reshape(-1)
            pairs.append((first, second))
        self._add_zero_rows(pairs, rows)
        touched = np.unique(np.concatenate([np.concatenate(pair) for pair in pairs]))
        touched = touched[rows[touched] >= 0]
        if not len(touched):
            return
        after = rows.copy()
        after[touched] = self._new(len(touched))
        records = []
        for (first, second), (_, angle, sign, sampled) in zip(pairs, step.turns):
            live = rows[first] >= 0
            first, second = first[live], second[live]
            lists = (rows[first], rows[second], after[first], after[second])
            if len(first):
                records.append([angle, int(sampled), round(sign), len(first), *np.concatenate(lists)])
        if len(records) == 1:
            self._write(_TURN, *records[0])
        else:
            flat = [number for record in records for number in record]
            self._write(_TURNS, len(touched), len(records), *rows[touched], *after[touched], *flat)
        self._places[step.slot] = after

    def _add_zero_rows(self, pairs: Sequence[tuple[Array, Array]], rows: Array) -> None:
        """Give a place to the zero rows that a turn mixes with others; changes `rows`."""
        before = -1
        while before != (count := int((rows >= 0).sum())):
            before = count
            for first, second in pairs:
                mixed = (rows[first] >= 0) != (rows[second] >= 0)
                missing = np.where(rows[first] < 0, first, second)[mixed]
                if len(missing):
                    rows[missing] = self._new(len(missing))
                    self._write(_LOAD, len(missing), self._store(np.zeros(len(missing))), *rows[missing])


def _shifted(rows: Array) -> tuple[Array, Array]:
    """Return rows (n, d) less the first live one of each vector, and that one (0 if none is)."""
    live = rows >= 0
    first = np.where(live.any(axis=1), rows[np.arange(len(rows)), live.argmax(axis=1)], 0)
    return np.where(live, rows - first[:, None], np.iinfo(rows.dtype).min), first


def _source(step: Permute | ApplyGather, rows: int) -> Array:
    if isinstance(step, Permute):
        return np.arange(rows).reshape(step.shape).transpose(step.axes).reshape(-1)
    if np.abs(step.scale - 1).max() > 0:
        raise LeftToNumpy("scaled permutation")
    return np.asarray(step.source)
