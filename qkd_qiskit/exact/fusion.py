"""Fuse neighbouring constant operations into few matrices, chosen by counted cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qkd_qiskit.exact.lowering import Constant

Array = np.ndarray
DENSE_LIMIT = 256
_OVERHEAD = 4e-6
_PASS = 3.0
_BYTES_PER_SECOND = 8e9


@dataclass(frozen=True)
class Gather:
    """A signed, scaled permutation of the whole vector: new[i] = scale[i] * old[source[i]]."""

    source: Array
    scale: Array


def apply_local(matrix: Array, qubits: Sequence[int], vectors: Array, order: Sequence[int]) -> Array:
    """Apply a matrix on `qubits` to vectors (D^n, R) whose axes are the qubits in `order`; D from the matrix."""
    base = _base(matrix, len(qubits))
    axes = [list(order).index(qubit) for qubit in qubits]
    tensor = vectors.reshape((base,) * len(order) + (-1,))
    local = matrix.reshape((base,) * (2 * len(qubits)))
    moved = np.tensordot(local, tensor, (range(len(qubits), 2 * len(qubits)), axes))
    return np.moveaxis(moved, range(len(qubits)), axes).reshape(vectors.shape)


def _base(matrix: Array, num_qubits: int) -> int:
    return round(len(matrix) ** (1 / num_qubits))


def fuse_blocks(constants: Sequence[Constant], max_qubits: int, order: Sequence[int]) -> list[Constant]:
    """Merge neighbours into blocks of at most `max_qubits` qubits (or the gate's own number), in time order.

    The qubits of a block stand in `order`.
    """
    groups: list[tuple[set[int], list[Constant]]] = []
    last: dict[int, int] = {}
    for constant in constants:
        touched = [last[qubit] for qubit in constant.qubits if qubit in last]
        at = max(touched, default=-1)
        union = (groups[at][0] | set(constant.qubits)) if touched else set()
        if not touched or len(union) > max(max_qubits, len(constant.qubits)):
            groups.append((set(constant.qubits), []))
            at = len(groups) - 1
        groups[at][0].update(constant.qubits)
        groups[at][1].append(constant)
        last.update(dict.fromkeys(constant.qubits, at))
    return [multiply(members, [qubit for qubit in order if qubit in qubits]) for qubits, members in groups]


def multiply(constants: Sequence[Constant], qubits: Sequence[int]) -> Constant:
    """Return the product of constants, the first applied first, as one matrix on `qubits`."""
    base = _base(constants[0].matrix, len(constants[0].qubits))
    matrix = np.eye(base ** len(qubits), dtype=constants[0].matrix.dtype)
    for constant in constants:
        matrix = apply_local(constant.matrix, constant.qubits, matrix, qubits)
    return Constant(tuple(qubits), np.ascontiguousarray(matrix))


def choose_blocks(
    constants: Sequence[Constant], order: Sequence[int], width: int, sparse: bool = False
) -> list[Constant]:
    """Return the cheapest fusion of a stretch of constants on a vector (D^n, width); `sparse`: zeros cost nothing."""
    if not constants:
        return []
    base = _base(constants[0].matrix, len(constants[0].qubits))
    largest = max(1, int(np.log(DENSE_LIMIT) / np.log(base) + 1e-9))
    choices = [fuse_blocks(constants, size, order) for size in range(1, min(largest, len(order)) + 1)]
    if sparse:
        return min(choices, key=lambda blocks: sum(_products_a_row(block) for block in blocks))
    return min(choices, key=lambda blocks: sum(_seconds(block, base ** len(order), width, order) for block in blocks))


def _products_a_row(block: Constant) -> float:
    """Return what a row of a block costs in the compiled kernel, in multiplications; a pass is worth some of them."""
    parts = (np.abs(block.matrix.real) > 1e-15).sum() + (np.abs(block.matrix.imag) > 1e-15).sum()
    return float(parts / len(block.matrix)) + _PASS


def _seconds(block: Constant, rows: int, width: int, order: Sequence[int]) -> float:
    """Return the estimated time of applying a block once (measured rates of small BLAS calls on one core)."""
    weight = 4 if np.iscomplexobj(block.matrix) else 1
    size = len(block.matrix)
    flops = 2.0 * weight * rows * size * width
    rate = 25e9 if size >= 64 else 10e9 if size >= 16 else 3e9
    positions = [order.index(qubit) for qubit in block.qubits]
    contiguous = positions[-1] - positions[0] == len(positions) - 1
    passes = 2 if contiguous else 6
    return _OVERHEAD + flops / rate + passes * 8.0 * rows * width / _BYTES_PER_SECOND


def as_gather(constants: Sequence[Constant], order: Sequence[int]) -> Gather | None:
    """Return a stretch as one signed permutation of the vector (D^n,), if every matrix in it is one."""
    if not constants or not all(_is_monomial(constant.matrix) for constant in constants):
        return None
    base = _base(constants[0].matrix, len(constants[0].qubits))
    source = np.arange(base ** len(order))
    scale = np.ones(len(source), dtype=constants[0].matrix.dtype)
    for constant in constants:
        columns = np.argmax(np.abs(constant.matrix), axis=1)
        factors = constant.matrix[np.arange(len(columns)), columns]
        here, origin = _local_rows(columns, constant.qubits, order, base)
        source, scale = source[origin], scale[origin] * factors[here]
    return Gather(source, scale)


def _is_monomial(matrix: Array) -> bool:
    nonzero = np.abs(matrix) > 1e-15
    return bool((nonzero.sum(axis=0) == 1).all() and (nonzero.sum(axis=1) == 1).all())


def _local_rows(columns: Array, qubits: Sequence[int], order: Sequence[int], base: int) -> tuple[Array, Array]:
    """Return for each row of the vector its row in the local matrix, and the row that it takes its value from."""
    rows = np.arange(base ** len(order))
    strides = [base ** (len(order) - 1 - list(order).index(qubit)) for qubit in qubits]
    here = np.zeros_like(rows)
    for stride in strides:
        here = here * base + rows // stride % base
    origin, rest = rows.copy(), columns[here]
    for stride in reversed(strides):
        digit = rows // stride % base
        origin += (rest % base - digit) * stride
        rest = rest // base
    return here, origin
