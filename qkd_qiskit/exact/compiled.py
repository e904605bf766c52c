"""The compiled road: small circuits as programs for the optional C extension `_kernel`, some ten calls a step.

It is built where a C compiler is; without it (or with QKD_NO_KERNEL set) NumPy does the same, see `evaluation`. What is
worked out is the same too: a front for each sample, a tail that all samples share. Only here every weight stands
as an RZ turn, and the way back runs the front again instead of keeping its vectors.
"""

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from qkd_qiskit.exact.angles import Angles
from qkd_qiskit.exact.fronts import GROUND
from qkd_qiskit.exact.lowering import Operation, Phase
from qkd_qiskit.exact.observables import StateFunctional, Terms
from qkd_qiskit.exact.planning import Layout, plan_front, transpose_operations
from qkd_qiskit.exact.steps import ApplyConstant, ApplyGather, Join, Permute, Rotate, Step, Tape
from qkd_qiskit.exact.threads import for_each

Array = np.ndarray
SWITCH = "QKD_NO_KERNEL"
_LOAD, _MATRIX, _ORDER, _JOIN, _TURN, _END = range(6)
_LARGEST = 256
_LARGEST_OPERATOR = 32
_TILE = 16
_WORTH_A_THREAD = 2**18
_TAIL = -1
_NONE = np.zeros(1)


def load_kernel() -> Any | None:
    """Return the extension module, None if it wasn't built or QKD_NO_KERNEL is set."""
    if os.environ.get(SWITCH):
        return None
    try:
        return importlib.import_module("qkd_qiskit.exact._kernel")
    except ImportError:
        return None


class Program:
    """Planned steps in the numbers that `_kernel` reads (the list of steps is in `_steps.h`).

    Args:
        steps: from a `Layout` of `base`.
        base: 2 for complex vectors in two planes, 4 for real ones.
        slots: each slot's vector (D^n, 1) if it starts as a constant, the number of rows if it is the program's input.
        result: the slot that holds the result.
    """

    def __init__(self, steps: Sequence[Step], base: int, slots: dict[int, Array | int], result: int):
        self.base, self.planes = base, 2 if base == 2 and steps else 1
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
        self.data = np.concatenate(self._data) if self._data else _NONE

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


@dataclass
class CompiledPass:
    """What a forward pass leaves for the backward pass; the tail's arena is used up by the first one."""

    inputs: Array
    weights: Array
    shared: tuple[Array, Array]
    own: tuple[Array, Array]
    arena: Array | None
    operator: Array | None


class CompiledEvaluation:
    """A small circuit's evaluation by `_kernel`.

    Args:
        kernel: the extension module.
        front: operations up to the samples' own angles.
        tail: those that follow.
        qubits: the qubits in use.
        base: 2 without noise, 4 with.
        amplitudes: whether the inputs are the states.
        vectors: gives the observables' Pauli vectors (4^n, O) for an order of the qubits; used with noise.
        terms: the observables; used without noise.
        angles: all angles.

    Raises:
        NotImplementedError: for what is left to NumPy: large vectors, observables that aren't diagonal.
    """

    def __init__(
        self,
        kernel: Any,
        front: Sequence[Operation],
        tail: Sequence[Operation],
        qubits: Sequence[int],
        base: int,
        amplitudes: bool,
        vectors: Callable[[list[int]], Array],
        terms: Sequence[Terms],
        angles: Angles,
    ):
        if base ** len(qubits) > _LARGEST:
            raise NotImplementedError("large vectors")
        self._kernel, self._base, self._angles, self._amplitudes = kernel, base, angles, amplitudes
        self._differ = amplitudes or angles.num_own > 0
        self._tail: Program | None = None
        size = base ** len(qubits)
        apart = base == 4 or size <= _LARGEST_OPERATOR
        layout = Layout(base, _TILE, {slot: [qubit] for slot, qubit in enumerate(qubits)})
        slots: dict[int, Array | int] = dict.fromkeys(range(len(qubits)), GROUND[base])
        if amplitudes:
            layout, slots = Layout(base, _TILE, {0: list(reversed(qubits))}), {0: size}
        plan_front(layout, front if apart else [*front, *tail])
        slot = layout.join(qubits)
        order = list(layout.slots[slot])
        front_turns = [item for item in (front if apart else [*front, *tail]) if isinstance(item, Phase)]
        self._front_uses_weights = any(not item.sampled for item in front_turns)
        self._front = Program(layout.steps, base, slots, slot)
        self._diagonal: Array | None = None
        if apart:
            order = self._plan_tail(tail, order, vectors)
        if base == 2:
            functional = StateFunctional(terms, order)
            if not functional.is_diagonal:
                raise NotImplementedError("observables with X or Y")
            self._diagonal = functional.flips[0][1]
        self._num_observables = len(terms)

    def _plan_tail(
        self, tail: Sequence[Operation], order: list[int], vectors: Callable[[list[int]], Array]
    ) -> list[int]:
        """Plan what all samples share; return the order of the qubits' axes after it."""
        size = self._base ** len(order)
        seed = vectors(order) if self._base == 4 else np.vstack([np.eye(size), np.zeros((size, size))])
        layout = Layout(self._base, seed.shape[1], {_TAIL: list(order)})
        plan_front(layout, transpose_operations(tail) if self._base == 4 else tail)
        if self._base == 4:
            layout.restore(_TAIL, order)
        self._seed, self._width = seed, seed.shape[1]
        self._tail = Program(layout.steps, self._base, {_TAIL: size}, _TAIL)
        return list(layout.slots[_TAIL])

    def forward(self, x: Array, w: Array) -> tuple[Array, CompiledPass]:
        """Return the values (N, O) for inputs (N, F) and weights (P,), and what `backward` needs."""
        angles, count = self._angles, len(x) if self._differ else 1
        shared = angles.shared_values(w)
        own = angles.own_values(x[:count], w) if angles.num_own else None
        found = CompiledPass(x, w, _trig(shared), (_NONE, _NONE) if own is None else _trig(own), None, None)
        self._run_tail(found)
        values = np.empty((count, self._num_observables))
        self._samples(found, count, values, (None,) * 5, True)
        return values if count == len(x) else np.repeat(values, len(x), axis=0), found

    def _run_tail(self, found: CompiledPass) -> None:
        if self._tail is None:
            return
        width, planes, tail = self._width, self._tail.planes, self._tail
        arena = np.empty((tail.rows, width))
        arena[: len(self._seed)] = self._seed
        self._kernel.run(tail.code, tail.data, *found.shared, arena, planes, width)
        found.arena, found.operator = arena, arena[tail.final : tail.final + planes * tail.size]

    def _samples(self, found: CompiledPass, count: int, values: Any, slopes: tuple, need_front: bool) -> Any:
        """Run all samples, in threads if they are many; `slopes` are arrays or, if runs add to them, makers of some."""
        front = self._front
        sizes = (front.planes, front.size, front.final, front.rows, self._num_observables, count, need_front)
        numbers = np.array(sizes, dtype=np.int64)
        amplitudes = np.ascontiguousarray(found.inputs) if self._amplitudes else None

        def work(rows: tuple[int, int]) -> list[Any]:
            own = [make() if callable(make) else make for make in slopes]
            self._kernel.samples(
                front.code,
                front.data,
                *found.own,
                *found.shared,
                amplitudes,
                found.operator,
                self._diagonal,
                values,
                *own,
                numbers,
                *rows,
            )
            return own

        work_of_all = count * (front.rows + front.size * self._num_observables)
        runs = min(2 * torch.get_num_threads(), max(1, round(work_of_all / _WORTH_A_THREAD)))
        step = max(1, -(-count // (runs * _TILE))) * _TILE
        return for_each(work, [(start, min(start + step, count)) for start in range(0, count, step)])

    def backward(self, cotangents: Array, found: CompiledPass, for_inputs: bool) -> tuple[Array, Array]:
        """Return the gradients for inputs (N, F) and weights (P,) from that of the values (N, O)."""
        angles, x, w = self._angles, found.inputs, found.weights
        need_front = for_inputs or angles.own_use_weights or self._front_uses_weights
        count = len(x) if self._differ else 1
        cotangents = np.ascontiguousarray(cotangents if self._differ else cotangents.sum(axis=0)[None])
        if self._tail is not None and found.arena is None:
            self._run_tail(found)
        own = np.zeros((angles.num_own, count)) if angles.num_own else _NONE
        operator = found.operator
        state = np.empty(x.shape) if self._amplitudes else None
        makers = (
            cotangents,
            own,
            lambda: np.zeros(angles.num_shared),
            None if operator is None else lambda: np.zeros(operator.shape),
            state,
        )
        runs = self._samples(found, count, None, makers, need_front)
        shared = sum(part[2] for part in runs)
        self._finish(found, runs, shared)
        weight_grad = angles.shared_vjp(shared, w)
        if not need_front or not self._differ:
            return np.zeros(x.shape), weight_grad
        if state is not None:
            return state, weight_grad
        input_grad, more = angles.own_vjp(own, x, w)
        return input_grad, weight_grad + more

    def _finish(self, found: CompiledPass, runs: Sequence[Sequence[Any]], shared: Array) -> None:
        """Take the operator's gradient back through the tail."""
        if self._tail is None:
            return
        assert found.operator is not None
        np.copyto(found.operator, runs[0][3])
        for run in runs[1:]:
            found.operator += run[3]
        tail = self._tail
        self._kernel.back(tail.code, tail.data, *found.shared, found.arena, shared, tail.planes, self._width)
        found.arena = None


def _trig(angles: Array) -> tuple[Array, Array]:
    return np.cos(angles), np.sin(angles)
