"""The compiled road: small circuits as programs for the optional C extension `_kernel`, some ten calls a step.

It is built where a C compiler is; without it (or with QKD_NO_KERNEL set) NumPy does the same, see `evaluation`. What is
worked out is the same too: a front for each sample, a tail that all samples share. Only here every weight stands
as an RZ turn, and the way back runs the front again instead of keeping its vectors.
"""

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from qkd_qiskit.exact.angles import Angles
from qkd_qiskit.exact.fronts import GROUND
from qkd_qiskit.exact.lowering import Operation, Phase
from qkd_qiskit.exact.observables import StateFunctional, Terms
from qkd_qiskit.exact.planning import Layout, plan_front, transpose_operations
from qkd_qiskit.exact.programs import Program
from qkd_qiskit.exact.threads import for_each

Array = np.ndarray
SWITCH = "QKD_NO_KERNEL"
_LARGEST = 256
_LARGEST_OPERATOR = 32
_TILE = 16
_COLUMNS = 4
_WORTH_A_THREAD = 2**18
_TAIL = -1
_NONE = np.zeros(1)


@lru_cache(maxsize=1)
def _kernel() -> Any:
    return importlib.import_module("qkd_qiskit.exact._kernel")


def has_kernel() -> bool:
    """Return whether the extension module is to be used: it was built, and QKD_NO_KERNEL isn't set."""
    if os.environ.get(SWITCH):
        return False
    try:
        return _kernel() is not None
    except ImportError:
        return False


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
        self._base, self._angles, self._amplitudes = base, angles, amplitudes
        self._differ = amplitudes or angles.num_own > 0
        self._tail: Program | None = None
        size = base ** len(qubits)
        apart = base == 4 or _COLUMNS <= size <= _LARGEST_OPERATOR
        layout = Layout(base, _TILE, {slot: [qubit] for slot, qubit in enumerate(qubits)}, sparse=True)
        slots: dict[int, Array | int] = dict.fromkeys(range(len(qubits)), GROUND[base])
        if amplitudes:
            layout, slots = Layout(base, _TILE, {0: list(reversed(qubits))}, sparse=True), {0: size}
        plan_front(layout, front if apart else [*front, *tail])
        slot = layout.join(qubits)
        order = list(layout.slots[slot])
        front_turns = [item for item in (front if apart else [*front, *tail]) if isinstance(item, Phase)]
        self._front_uses_weights = any(not item.sampled for item in front_turns)
        starts = {place: vector if isinstance(vector, np.ndarray) else np.ones(vector, bool) for place, vector in slots.items()}
        program = Program(layout.steps, base, starts, slot, real=amplitudes and apart and not layout.steps)
        self._width = -(-len(terms) // _COLUMNS) * _COLUMNS
        self._diagonal: Array | None = None
        if base == 2:
            program.put_in_order()
        if apart:
            order = self._plan_tail(tail, order, vectors, program)
        if base == 2:
            functional = StateFunctional(terms, order)
            if not functional.is_diagonal:
                raise NotImplementedError("observables with X or Y")
            self._diagonal = np.zeros((self._width, size))
            self._diagonal[: len(terms)] = functional.flips[0][1]
        self._num_observables = len(terms)
        self._rows = program.result_rows[program.result_rows >= 0].astype(np.int64)
        self._planes, self._size, self._arena_rows = program.planes, len(self._rows) // program.planes, program.rows
        self._code, self._data = program.finish()

    def _plan_tail(
        self, tail: Sequence[Operation], order: list[int], vectors: Callable[[list[int]], Array], front: Program
    ) -> list[int]:
        """Plan what all samples share; return the order of the qubits' axes after it."""
        size = self._base ** len(order)
        if self._base == 4:
            seed = np.zeros((size, self._width))
            wanted = vectors(order)
            seed[:, : wanted.shape[1]] = wanted
        else:
            seed = np.vstack([np.eye(size), np.zeros((size, size))])
        layout = Layout(self._base, seed.shape[1], {_TAIL: list(order)}, sparse=True)
        plan_front(layout, transpose_operations(tail) if self._base == 4 else tail)
        if self._base == 4:
            layout.restore(_TAIL, order)
        live = seed.any(axis=1) if self._base == 4 else np.ones(size, bool)
        program = Program(layout.steps, self._base, {_TAIL: live}, _TAIL)
        program.put_in_order(np.flatnonzero(front.result_rows >= 0) if self._base == 4 else None)
        self._seed, self._tail = seed, program
        self._tail_code, self._tail_data = program.finish()
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
        width, first = self._seed.shape[1], int(self._tail.result_rows[0])
        arena = np.empty((self._tail.rows, width))
        arena[: len(self._seed)] = self._seed
        _kernel().run(self._tail_code, self._tail_data, *found.shared, arena, width)
        found.arena, found.operator = arena, arena[first : first + len(self._tail.result_rows)]

    def _samples(self, found: CompiledPass, count: int, values: Any, slopes: tuple, need_front: bool) -> Any:
        """Run all samples, in threads if they are many; `slopes` are arrays or, if runs add to them, makers of some."""
        observables, own = self._num_observables, self._angles.num_own
        sizes = (self._planes, self._size, self._arena_rows, observables, self._width, count, need_front, own)
        numbers = np.array(sizes, dtype=np.int64)
        amplitudes = np.ascontiguousarray(found.inputs) if self._amplitudes else None

        def work(rows: tuple[int, int]) -> list[Any]:
            made = [make() if callable(make) else make for make in slopes]
            _kernel().samples(
                self._code,
                self._data,
                *found.own,
                *found.shared,
                amplitudes,
                found.operator,
                self._diagonal,
                values,
                *made,
                self._rows,
                numbers,
                *rows,
            )
            return made

        work_of_all = count * (self._arena_rows + self._size * observables)
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
        _kernel().back(self._tail_code, self._tail_data, *found.shared, found.arena, shared, self._seed.shape[1])
        found.arena = None


def _trig(angles: Array) -> tuple[Array, Array]:
    return np.cos(angles), np.sin(angles)
