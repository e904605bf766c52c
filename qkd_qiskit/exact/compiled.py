"""The compiled road: small circuits as programs for the optional C extension `_kernel`, two calls a step.

It is built where a C compiler is; without it (or with QKD_NO_KERNEL set) NumPy does the same, see `evaluation`. What is
worked out is the same too: a front for each sample, a tail that all samples share. Only here every weight stands
as an RZ turn, and the way back runs the front again instead of keeping its vectors.
"""

import importlib
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np
import torch

from qkd_qiskit.exact.angles import Angles
from qkd_qiskit.exact.fronts import GROUND
from qkd_qiskit.exact.lowering import Operation, Phase
from qkd_qiskit.exact.observables import StateFunctional, Terms
from qkd_qiskit.exact.planning import Layout, plan_front, transpose_operations
from qkd_qiskit.exact.programs import LeftToNumpy, Program
from qkd_qiskit.exact.threads import for_each

Array = np.ndarray
SWITCH = "QKD_NO_KERNEL"
_LARGEST = 256
_LARGEST_OPERATOR = 32
_TILE = 16
_COLUMNS = 4
_WORTH_A_THREAD = 2**18
_TAIL = -1
_FORMAT = 2
"""What is agreed between this module and `_kernel.c`; change both numbers with it."""
_PREPARE, _SAMPLES, _FINISH = 1, 2, 4


@lru_cache(maxsize=1)
def _kernel() -> Any:
    return importlib.import_module("qkd_qiskit.exact._kernel")


def has_kernel() -> bool:
    """Return whether the extension module is to be used: it was built, for this source, and QKD_NO_KERNEL isn't set."""
    if os.environ.get(SWITCH):
        return False
    try:
        found = getattr(_kernel(), "FORMAT", None)
    except ImportError:
        return False
    if found != _FORMAT:
        warnings.warn(
            f"the compiled kernel is of another version ({found}, not {_FORMAT}) and is left out; build it again with "
            "pip install --editable . --no-deps",
            stacklevel=2,
        )
        return False
    return True


@dataclass
class CompiledPass:
    """What a forward pass leaves for the backward pass; the tail's arena in `scratch` is used up by the first one."""

    inputs: Array
    weights: Array
    own: tuple[Array | None, Array | None]
    scratch: Array
    is_fresh: bool = True


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
        LeftToNumpy: for what is left to NumPy: large vectors, observables that aren't diagonal.
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
            raise LeftToNumpy("large vectors")
        self._base, self._angles, self._amplitudes = base, angles, amplitudes
        self._differ = amplitudes or angles.num_own > 0
        self._tail: Program | None = None
        self._seed = np.zeros((0, 0))
        size = base ** len(qubits)
        apart = base == 4 or _COLUMNS <= size <= _LARGEST_OPERATOR
        layout = Layout(base, _TILE, {slot: [qubit] for slot, qubit in enumerate(qubits)}, sparse=True)
        slots: dict[int, Array] = dict.fromkeys(range(len(qubits)), GROUND[base])
        if amplitudes:
            layout, slots = Layout(base, _TILE, {0: list(reversed(qubits))}, sparse=True), {0: np.ones(size, bool)}
        plan_front(layout, front if apart else [*front, *tail])
        slot = layout.join(qubits)
        order = list(layout.slots[slot])
        front_turns = [item for item in (front if apart else [*front, *tail]) if isinstance(item, Phase)]
        self._front_uses_weights = any(not item.sampled for item in front_turns)
        program = Program(layout.steps, base, slots, slot, real=amplitudes and apart and not layout.steps)
        self._width = -(-len(terms) // _COLUMNS) * _COLUMNS
        if base == 2:
            program.put_in_order()
        if apart:
            order = self._plan_tail(tail, order, vectors, program)
        self._diagonal = self._read_diagonal(terms, order) if base == 2 else None
        self._num_observables = len(terms)
        self._write_plan(program)

    def _read_diagonal(self, terms: Sequence[Terms], order: Sequence[int]) -> Array:
        """Return the observables' diagonals (width, 2^n), for the order of the qubits' axes."""
        functional = StateFunctional(terms, order)
        if not functional.is_diagonal:
            raise LeftToNumpy("observables with X or Y")
        diagonal = np.zeros((self._width, 2 ** len(order)))
        diagonal[: len(terms)] = functional.flips[0][1]
        return diagonal

    def _write_plan(self, front: Program) -> None:
        """Write down what `evaluate` of the kernel reads."""
        rows = front.result_rows[front.result_rows >= 0].astype(np.int64)
        angles, tail, seed = self._angles, self._tail, self._seed
        self._operator = (0, 0) if tail is None else (len(tail.result_rows), seed.shape[1])
        first = 0 if tail is None else int(tail.result_rows[0])
        tail_rows = 0 if tail is None else tail.rows
        size = len(rows) // front.planes
        sizes = [front.planes, size, front.rows, self._num_observables, self._width, angles.num_own, angles.num_shared]
        sizes += [angles.num_inputs, angles.num_weights, seed.shape[1], tail_rows, first, self._operator[0], len(seed)]
        self._plan = (
            np.array([*sizes, self._amplitudes], dtype=np.int64),
            *front.finish(),
            rows,
            self._diagonal,
            *((None, None) if tail is None else tail.finish()),
            seed,
            *angles.own_terms(),
            *angles.shared_terms(),
        )
        self._scratch_size = 2 * angles.num_shared + tail_rows * seed.shape[1] + _TILE
        self._slope_sizes = np.cumsum([angles.num_shared, self._operator[0] * self._operator[1]]).tolist()
        self._work_a_sample = front.rows + size * self._num_observables
        self._given = (self._plan[8] is None and angles.num_own > 0, self._plan[10] is None and angles.num_shared > 0)

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
        live = np.abs(seed).sum(axis=1) > 0 if self._base == 4 else np.ones(size, bool)
        program = Program(layout.steps, self._base, {_TAIL: live}, _TAIL)
        program.put_in_order(np.flatnonzero(front.result_rows >= 0) if self._base == 4 else None)
        self._seed, self._tail = seed, program
        return list(layout.slots[_TAIL])

    def forward(self, x: Array, w: Array) -> tuple[Array, CompiledPass]:
        """Return the values (N, O) for inputs (N, F) and weights (P,), and what `backward` needs."""
        count = len(x) if self._differ else 1
        own = _trig(self._angles.own_values(x[:count], w)) if self._given[0] else (None, None)
        found = CompiledPass(np.ascontiguousarray(x), np.ascontiguousarray(w), own, np.empty(self._scratch_size))
        values = np.empty((count, self._num_observables))
        runs = self._runs(count)
        if len(runs) == 1:
            self._evaluate(found, (values, None, None, None, None), True, self._prepare(found) | _SAMPLES, (0, count))
        else:
            self._evaluate(found, (None,) * 5, True, self._prepare(found))
            for_each(lambda run: self._evaluate(found, (values, None, None, None, None), True, _SAMPLES, run), runs)
        return values if count == len(x) else np.repeat(values, len(x), axis=0), found

    def _prepare(self, found: CompiledPass) -> int:
        """Return the phase that works out what all samples share; the angles that aren't affine are put down here."""
        if self._given[1]:
            count = self._angles.num_shared
            found.scratch[:count], found.scratch[count : 2 * count] = _trig(self._angles.shared_values(found.weights))
        return _PREPARE

    def _evaluate(
        self, found: CompiledPass, arrays: tuple, need_front: bool, phases: int, run: tuple[int, int] = (0, 0)
    ) -> None:
        count = len(found.inputs) if self._differ else 1
        read = (found.inputs, found.weights, *found.own, found.scratch)
        _kernel().evaluate(*self._plan, *read, *arrays, count, need_front, phases, *run)

    def _runs(self, count: int) -> list[tuple[int, int]]:
        """Return runs of samples for the threads, whole tiles each; one if they are few."""
        work = count * self._work_a_sample
        if work < 2 * _WORTH_A_THREAD:
            return [(0, count)]
        runs = min(2 * torch.get_num_threads(), max(1, round(work / _WORTH_A_THREAD)))
        step = max(1, -(-count // (runs * _TILE))) * _TILE
        return [(start, min(start + step, count)) for start in range(0, count, step)]

    def backward(self, cotangents: Array, found: CompiledPass, for_inputs: bool) -> tuple[Array, Array]:
        """Return the gradients for inputs (N, F) and weights (P,) from that of the values (N, O)."""
        angles, x, w = self._angles, found.inputs, found.weights
        need_front = for_inputs or angles.own_use_weights or self._front_uses_weights
        count = len(x) if self._differ else 1
        cotangents = np.ascontiguousarray(cotangents if self._differ else cotangents.sum(axis=0)[None])
        own = np.zeros((angles.num_own, count)) if self._given[0] else None
        input_grad = np.empty(x.shape) if need_front and self._differ else np.zeros(x.shape)
        start = 0 if found.is_fresh or self._tail is None else self._prepare(found)
        found.is_fresh = False
        runs = self._runs(count)
        if len(runs) == 1:
            slopes = self._slopes()
            arrays = (None, cotangents, own, input_grad, slopes)
            self._evaluate(found, arrays, need_front, start | _SAMPLES | _FINISH, runs[0])
        else:
            if start:
                self._evaluate(found, (None,) * 5, True, start)

            def go_back(run: tuple[int, int]) -> Array:
                slopes = self._slopes()
                self._evaluate(found, (None, cotangents, own, input_grad, slopes), need_front, _SAMPLES, run)
                return slopes

            slopes = np.sum(for_each(go_back, runs), axis=0)
            self._evaluate(found, (None, None, None, None, slopes), need_front, _FINISH)
        weight_grad = slopes[self._slope_sizes[1] :]
        if self._given[1]:
            weight_grad = weight_grad + angles.shared_vjp(slopes[: angles.num_shared], w)
        if own is not None and need_front:
            input_grad, more = angles.own_vjp(own, x, w)
            weight_grad = weight_grad + more
        return input_grad, weight_grad

    def _slopes(self) -> Array:
        """Return zeros for the gradients of shared angles, operator and weights."""
        return np.zeros(self._slope_sizes[1] + self._angles.num_weights)

    def all_finite(self, x: Array, w: Array) -> bool:
        """Return whether inputs and weights are numbers, but for a rare overflow of their sum."""
        return isfinite(_kernel().total(x) + _kernel().total(w))


def _trig(angles: Array) -> tuple[Array, Array]:
    return np.cos(angles), np.sin(angles)
