"""Matrices that the weights make: chains of one-qubit operations, all built by a few vectorised calls."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from qkd_qiskit.exact.lowering import Operation, Phase
from qkd_qiskit.exact.steps import Trig

Array = Any
# RZ(angle) = sum over t of terms[t] * (cos, sin)(angle / 2), and of (1, cos, sin)(angle) as a Pauli transfer matrix.
RZ_PURE = np.array([[[1, 0], [0, 1]], [[-1j, 0], [0, 1j]]], dtype=complex)
RZ_MIXED = np.zeros((3, 4, 4))
RZ_MIXED[0, 0, 0] = RZ_MIXED[0, 3, 3] = 1
RZ_MIXED[1, 1, 1] = RZ_MIXED[1, 2, 2] = 1
RZ_MIXED[2, 2, 1], RZ_MIXED[2, 1, 2] = 1, -1


class ChainMatrices:
    """The matrices of C chains in L factors each, and their Kronecker products by group.

    Every factor is a sum of constants times cosine and sine of one angle; shorter chains are padded with ones.

    Args:
        groups: G tuples of chains; the first chain of a tuple is the most significant.
        base: 2 for unitaries, 4 for Pauli transfer matrices.
    """

    def __init__(self, groups: Sequence[Sequence[Sequence[Operation]]], base: int):
        self.base = base
        self.num_groups = len(groups)
        chains = [chain for group in groups for chain in group]
        factors = [chain_factors(chain, base) for chain in chains]
        depth = max((len(chain) for chain in factors), default=0)
        shape = (len(chains), depth)
        self._angle: Array = np.zeros(shape, dtype=int)
        self._sign: Array = np.zeros(shape)
        turn = RZ_PURE if base == 2 else RZ_MIXED
        terms_of: Array = np.zeros((*shape, len(turn), base, base), dtype=turn.dtype)
        padding: Array = np.zeros((*shape, base, base), dtype=turn.dtype)
        for row, chain in enumerate(factors):
            padding[row, len(chain) :] = np.eye(base)
            for column, (angle, sign, terms) in enumerate(chain):
                self._angle[row, column], self._sign[row, column] = angle, sign
                terms_of[row, column] = terms
        self._constant: Array = padding + (terms_of[:, :, 0] if base == 4 else 0)
        self._cosine: Array = np.ascontiguousarray(terms_of[:, :, -2])
        self._sine: Array = np.ascontiguousarray(terms_of[:, :, -1])
        self._by_size = _group_rows([len(group) for group in groups])

    def to_torch(self, device: Any) -> None:
        """Move the constants to a torch device."""
        import torch

        for name in ("_constant", "_cosine", "_sine"):
            setattr(self, name, torch.as_tensor(getattr(self, name), device=device))
        self._sign = torch.as_tensor(self._sign, device=device)
        self._angle = torch.as_tensor(self._angle, device=device)

    def forward(self, trig: Trig) -> tuple[list[Array], Any]:
        """Return the G matrices (D^g, D^g), and what `backward` needs, for the shared angles."""
        if not self.num_groups:
            return [], None
        cos, sin = trig.shared_half if self.base == 2 else trig.shared
        cosines, sines = cos[self._angle], sin[self._angle] * self._sign
        factors = self._constant + self._cosine * cosines[:, :, None, None] + self._sine * sines[:, :, None, None]
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
        outer = outer.conj()
        along_cos = (outer * self._cosine[:, column]).real.sum(axis=(1, 2))
        along_sin = (outer * self._sine[:, column]).real.sum(axis=(1, 2))
        value = (along_sin * cosines[:, column] - along_cos * sines[:, column]) * self._sign[:, column]
        value = value / 2 if self.base == 2 else value
        if hasattr(angle_slopes, "index_add_"):
            angle_slopes.index_add_(0, self._angle[:, column], value)
        else:
            np.add.at(angle_slopes, self._angle[:, column], value)


def chain_factors(chain: Sequence[Operation], base: int) -> list[tuple[int, float, np.ndarray]]:
    """Write a chain as (angle, sign, terms) factors, constants multiplied into their neighbours."""
    turn = RZ_PURE if base == 2 else RZ_MIXED
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
        count, large, small = len(slope), product.shape[1], part.shape[1]
        view = slope.reshape(count, large, small, large, small).swapaxes(2, 3).reshape(count, large**2, small**2)
        slopes.append((product.conj().reshape(count, 1, -1) @ view).reshape(part.shape))
        slope = (view @ part.conj().reshape(count, -1, 1)).reshape(product.shape)
    return [slope, *reversed(slopes)]


def _stack(arrays: Sequence[Array]) -> Array:
    if hasattr(arrays[0], "clone"):
        import torch

        return torch.stack(list(arrays))
    return np.stack(arrays)
