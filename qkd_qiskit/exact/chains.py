"""Matrices that the weights make: chains of one-qubit operations, all built by a few vectorised calls."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from qkd_qiskit.exact.lowering import Operation, Phase

Array = Any
_RZ_PURE = np.array([[[1, 0], [0, 0]], [[0, 0], [0, 1]], [[0, 0], [0, 1j]]], dtype=complex)
_RZ_MIXED = np.zeros((3, 4, 4))
_RZ_MIXED[0, 0, 0] = _RZ_MIXED[0, 3, 3] = 1
_RZ_MIXED[1, 1, 1] = _RZ_MIXED[1, 2, 2] = 1
_RZ_MIXED[2, 2, 1], _RZ_MIXED[2, 1, 2] = 1, -1


class ChainMatrices:
    """The matrices of C chains in L factors each, and their Kronecker products by group.

    Every factor is `constant + cos * A + sin * B` of one angle; shorter chains are padded with ones.

    Args:
        groups: G tuples of chains; the first chain of a tuple is the most significant.
        base: 2 for unitaries, 4 for Pauli transfer matrices.
    """

    def __init__(self, groups: Sequence[Sequence[Sequence[Operation]]], base: int):
        self.base = base
        self.num_groups = len(groups)
        chains = [chain for group in groups for chain in group]
        factors = [_factors(chain, base) for chain in chains]
        depth = max((len(chain) for chain in factors), default=0)
        shape = (len(chains), depth)
        self._angle: Array = np.zeros(shape, dtype=int)
        self._sign: Array = np.zeros(shape)
        self._terms: Array = np.zeros((*shape, 3, base, base), dtype=_RZ_PURE.dtype if base == 2 else float)
        self._terms[:, :, 0] = np.eye(base)
        for row, chain in enumerate(factors):
            for column, (angle, sign, terms) in enumerate(chain):
                self._angle[row, column], self._sign[row, column] = angle, sign
                self._terms[row, column] = terms
        self._by_size = _group_rows([len(group) for group in groups])
        self._saved: Any = None

    def to_torch(self, device: Any) -> None:
        """Move the constants to a torch device."""
        import torch

        self._terms = torch.as_tensor(self._terms, device=device)
        self._sign = torch.as_tensor(self._sign, device=device)
        self._angle = torch.as_tensor(self._angle, device=device)

    def forward(self, cos: Array, sin: Array) -> tuple[list[Array], Any]:
        """Return the G matrices (D^g, D^g), and what `backward` needs.

        Args:
            cos: cosines of all angles, shape (A,).
            sin: sines of all angles, shape (A,).
        """
        if not self.num_groups:
            return [], None
        cosines, sines = cos[self._angle], sin[self._angle] * self._sign
        terms = self._terms
        factors = terms[:, :, 0] + terms[:, :, 1] * cosines[:, :, None, None] + terms[:, :, 2] * sines[:, :, None, None]
        products = [factors[:, 0]]
        for column in range(1, factors.shape[1]):
            products.append(factors[:, column] @ products[-1])
        matrices: list[Any] = [None] * self.num_groups
        partial = []
        for groups, rows in self._by_size:
            stack, steps = _kron_forward([products[-1][column] for column in rows.T])
            partial.append(steps)
            for member, group in enumerate(groups):
                matrices[group] = stack[member]
        return matrices, (cosines, sines, factors, products, partial)

    def backward(self, slopes: Sequence[Array], saved: Any, angle_slopes: Array) -> None:
        """Add the gradients of the angles, shape (A,), from those of the G matrices."""
        if not self.num_groups:
            return
        cosines, sines, factors, products, partial = saved
        slope = products[-1] * 0
        for (groups, rows), steps in zip(self._by_size, partial):
            stacked = _stack([slopes[group] for group in groups])
            for column, part in zip(rows.T, _kron_backward(stacked, steps)):
                slope[column] = part
        for column in reversed(range(factors.shape[1])):
            outer = slope @ products[column - 1].swapaxes(1, 2).conj() if column else slope
            self._add_angle_slopes(column, outer, cosines, sines, angle_slopes)
            if column:
                slope = factors[:, column].swapaxes(1, 2).conj() @ slope

    def _add_angle_slopes(self, column: int, outer: Array, cosines: Array, sines: Array, angle_slopes: Array) -> None:
        terms = self._terms[:, column]
        along = (outer.conj()[:, None] * terms[:, 1:]).real.sum(axis=(2, 3))
        sign = self._sign[:, column]
        value = along[:, 1] * cosines[:, column] * sign - along[:, 0] * sines[:, column] * sign
        if hasattr(angle_slopes, "index_add_"):
            angle_slopes.index_add_(0, self._angle[:, column], value)
        else:
            np.add.at(angle_slopes, self._angle[:, column], value)


def _factors(chain: Sequence[Operation], base: int) -> list[tuple[int, float, np.ndarray]]:
    """Write a chain as (angle, sign, terms) factors, constants multiplied into their neighbours."""
    turn = _RZ_PURE if base == 2 else _RZ_MIXED
    pending = np.eye(base, dtype=turn.dtype)
    factors: list[tuple[int, float, np.ndarray]] = []
    for operation in chain:
        if isinstance(operation, Phase):
            factors.append((operation.angle, operation.sign, turn @ pending))
            pending = np.eye(base, dtype=turn.dtype)
        elif factors:
            angle, sign, terms = factors[-1]
            factors[-1] = (angle, sign, operation.matrix @ terms)
        else:
            pending = operation.matrix @ pending
    return factors


def _group_rows(sizes: Sequence[int]) -> list[tuple[list[int], np.ndarray]]:
    """Return, for each group size g, the groups and their chains' rows, shape (groups, g)."""
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    found = []
    for size in sorted(set(sizes)):
        groups = [group for group, other in enumerate(sizes) if other == size]
        found.append((groups, np.array([range(starts[group], starts[group] + size) for group in groups])))
    return found


def _kron_forward(parts: Sequence[Array]) -> tuple[Array, list[tuple[Array, Array]]]:
    """Return the Kronecker products of stacks (B, d, d), and the pairs that were multiplied."""
    product, steps = parts[0], []
    for part in parts[1:]:
        steps.append((product, part))
        size = product.shape[1] * part.shape[1]
        product = (product[:, :, None, :, None] * part[:, None, :, None, :]).reshape(-1, size, size)
    return product, steps


def _kron_backward(slope: Array, steps: Sequence[tuple[Array, Array]]) -> list[Array]:
    """Return the gradients of the parts from that of their Kronecker product."""
    slopes = []
    for product, part in reversed(steps):
        large, small = product.shape[1], part.shape[1]
        view = slope.reshape(-1, large, small, large, small)
        slopes.append((view * product.conj()[:, :, None, :, None]).sum(axis=(1, 3)))
        slope = (view * part.conj()[:, None, :, None, :]).sum(axis=(2, 4))
    return [slope, *reversed(slopes)]


def _stack(arrays: Sequence[Array]) -> Array:
    if hasattr(arrays[0], "clone"):
        import torch

        return torch.stack(list(arrays))
    return np.stack(arrays)
