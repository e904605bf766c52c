"""Plan the evaluation once, when the circuit is built: what depends on the sample, in which order, fused how.

Operations are sorted into levels, as early as the qubits allow: even levels turn (parameters), odd levels are
constant stretches. The front holds what stands before or beside a sample's own angles, the tail the rest.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from qkd_qiskit.exact.fusion import as_gather, choose_blocks
from qkd_qiskit.exact.lowering import Constant, Operation, Phase
from qkd_qiskit.exact.steps import ApplyConstant, ApplyGather, ApplyShared, Join, Permute, Rotate, Step

Chain = list[Operation]
_GATHER_FROM = 4


@dataclass
class Layout:
    """A plan under construction.

    Args:
        base: 2 for state vectors, 4 for Pauli vectors.
        width: how many columns the vectors are expected to have, for the cost estimate.
        slots: the qubits of each slot in the order of its axes.
        sparse: whether zeros in constants are free, as they are to the compiled kernel.
    """

    base: int
    width: int
    slots: dict[int, list[int]]
    steps: list[Step] = field(default_factory=list)
    sparse: bool = False

    def slot_of(self, qubit: int) -> int:
        """Return the slot that holds a qubit."""
        return next(slot for slot, qubits in self.slots.items() if qubit in qubits)

    def join(self, qubits: Sequence[int]) -> int:
        """Bring qubits into one slot and return it."""
        wanted = sorted({self.slot_of(qubit) for qubit in qubits})
        for other in wanted[1:]:
            self.steps.append(Join(wanted[0], other))
            self.slots[wanted[0]] += self.slots.pop(other)
        return wanted[0]

    def position(self, slot: int, qubit: int) -> int:
        """Return how many rows lie to the left of a qubit's axis."""
        return self.base ** self.slots[slot].index(qubit)

    def reorder(self, slot: int, axes: Sequence[int]) -> None:
        """Permute the axes of a slot; new axis i is the old `axes[i]`."""
        order = self.slots[slot]
        if list(axes) != list(range(len(order))):
            inverse = tuple(int(position) for position in np.argsort(axes))
            self.steps.append(Permute(slot, (self.base,) * len(order), tuple(axes), inverse))
            self.slots[slot] = [order[axis] for axis in axes]

    def restore(self, slot: int, order: Sequence[int]) -> None:
        """Permute the axes of a slot into the given order of qubits."""
        self.reorder(slot, [self.slots[slot].index(qubit) for qubit in order])


def split_operations(operations: Sequence[Operation]) -> tuple[list, list]:
    """Return (front, tail): the tail is everything that no sample's own angle comes after on any of its qubits."""
    blocked: set[int] = set()
    front: list[Operation] = []
    tail: list[Operation] = []
    for operation in reversed(operations):
        qubits = {operation.qubit} if isinstance(operation, Phase) else set(operation.qubits)
        own = isinstance(operation, Phase) and operation.sampled
        if own or blocked & qubits:
            blocked |= qubits
            front.append(operation)
        else:
            tail.append(operation)
    return front[::-1], tail[::-1]


def transpose_operations(operations: Sequence[Operation]) -> list[Operation]:
    """Return the operations that push an observable's Pauli coefficients back, in the order they are applied."""
    return [
        Phase(operation.qubit, operation.angle, -operation.sign, operation.sampled)
        if isinstance(operation, Phase)
        else Constant(operation.qubits, np.ascontiguousarray(operation.matrix.T))
        for operation in reversed(operations)
    ]


def _sort_levels(operations: Sequence[Operation], chains: bool) -> list[list[Operation]]:
    """Sort operations into levels; with `chains`, one-qubit constants may stand among the turns of an even level."""
    current: dict[int, int] = defaultdict(int)
    levels: dict[int, list[Operation]] = defaultdict(list)
    for operation in operations:
        if isinstance(operation, Phase):
            level = current[operation.qubit] + current[operation.qubit] % 2
            current[operation.qubit] = level
        else:
            level = max(current[qubit] for qubit in operation.qubits)
            if not (chains and len(operation.qubits) == 1):
                level += 1 - level % 2
            current.update(dict.fromkeys(operation.qubits, level))
        levels[level].append(operation)
    return [levels[level] for level in range(max(levels, default=-1) + 1)]


def plan_front(layout: Layout, operations: Sequence[Operation]) -> None:
    """Append the steps that evolve the samples, slots joined only when an operation needs both."""
    for number, level in enumerate(_sort_levels(operations, chains=False)):
        if number % 2:
            _plan_constants(layout, [item for item in level if isinstance(item, Constant)])
        else:
            _plan_turns(layout, [item for item in level if isinstance(item, Phase)])


def _plan_turns(layout: Layout, phases: Sequence[Phase]) -> None:
    by_slot: dict[int, list[Phase]] = defaultdict(list)
    for phase in phases:
        by_slot[layout.slot_of(phase.qubit)].append(phase)
    for slot, members in by_slot.items():
        turns = [(layout.position(slot, phase.qubit), phase.angle, phase.sign, phase.sampled) for phase in members]
        layout.steps.append(Rotate(slot, layout.base, turns))


def _plan_constants(layout: Layout, constants: Sequence[Constant]) -> None:
    by_slot: dict[int, list[Constant]] = defaultdict(list)
    for constant in constants:
        layout.join(constant.qubits)
    for constant in constants:
        by_slot[layout.slot_of(constant.qubits[0])].append(constant)
    for slot, members in by_slot.items():
        plan_stretch(layout, slot, members)


def plan_stretch(layout: Layout, slot: int, constants: Sequence[Constant]) -> None:
    """Append a stretch of constants on one slot: one permutation, or the cheapest blocks."""
    order = layout.slots[slot]
    gather = as_gather(constants, order) if len(constants) >= _GATHER_FROM and len(order) > _GATHER_FROM else None
    if gather is not None:
        target = np.argsort(gather.source)
        scale_back = gather.scale[target].conj()[:, None]
        layout.steps.append(ApplyGather(slot, gather.source, gather.scale[:, None], target, scale_back))
        return
    for block in choose_blocks(constants, order, layout.width, layout.sparse):
        _plan_block(layout, slot, block)


def _plan_block(layout: Layout, slot: int, block: Constant) -> None:
    order = layout.slots[slot]
    positions = [order.index(qubit) for qubit in block.qubits]
    if positions != list(range(positions[0], positions[0] + len(positions))):
        rest = [position for position in range(len(order)) if position not in positions]
        layout.reorder(slot, [*positions, *rest])
    left = layout.position(slot, block.qubits[0])
    adjoint = np.ascontiguousarray(block.matrix.conj().T)
    layout.steps.append(ApplyConstant(slot, left, block.matrix, adjoint))


def plan_tail(layout: Layout, slot: int, operations: Sequence[Operation], groups: list[list[Chain]]) -> None:
    """Append the steps of what all samples share; adds to `groups` the chains of each matrix that weights make."""
    levels = _move_constant_chains(_sort_levels(operations, chains=True))
    for number, level in enumerate(levels):
        if not level:
            continue
        if number % 2:
            plan_stretch(layout, slot, [item for item in level if isinstance(item, Constant)])
        else:
            _plan_chains(layout, slot, level, groups)


def _move_constant_chains(levels: list[list[Operation]]) -> list[list[Operation]]:
    """Move a qubit's part of an even level that has no turn in it into the constant level that follows."""
    levels = [*levels, []] if len(levels) % 2 else levels
    for number in range(0, len(levels), 2):
        turned = {item.qubit for item in levels[number] if isinstance(item, Phase)}
        still = [item for item in levels[number] if isinstance(item, Constant) and item.qubits[0] not in turned]
        moved = {id(item) for item in still}
        levels[number] = [item for item in levels[number] if id(item) not in moved]
        levels[number + 1] = [*still, *levels[number + 1]]
    return levels


def _plan_chains(layout: Layout, slot: int, level: Sequence[Operation], groups: list[list[Chain]]) -> None:
    chains: dict[int, Chain] = defaultdict(list)
    for item in level:
        chains[item.qubit if isinstance(item, Phase) else item.qubits[0]].append(item)
    largest = 4 if layout.base == 2 else 2
    order = layout.slots[slot]
    for run in np.array_split(order, -(-len(order) // largest)):
        if any(int(qubit) in chains for qubit in run):
            layout.steps.append(ApplyShared(slot, layout.position(slot, int(run[0])), len(groups)))
            groups.append([chains.get(int(qubit), []) for qubit in run])
