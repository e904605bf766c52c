"""What is done for each sample: evolve its vector, or keep the factors of a product state apart."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from qkd_qiskit.exact.chains import chain_factors
from qkd_qiskit.exact.lowering import Constant, Operation, Phase
from qkd_qiskit.exact.planning import Layout, plan_front
from qkd_qiskit.exact.steps import Slopes, Step, Tape, Trig, run_backward, run_forward

Array = Any
_EXPECTED_BATCH = 64
GROUND = {2: np.array([[1.0 + 0j], [0]]), 4: np.array([[1.0], [0], [0], [1]])}


class EvolvedFront:
    """Any operations: the steps of a plan.

    Args:
        operations: what comes before the tail.
        qubits: all qubits in use.
        base: 2 for state vectors, 4 for Pauli vectors.
    """

    is_product = False
    is_real = False

    def __init__(self, operations: Sequence[Operation], qubits: Sequence[int], base: int):
        layout = Layout(base, _EXPECTED_BATCH, {slot: [qubit] for slot, qubit in enumerate(qubits)})
        plan_front(layout, operations)
        self._slot = layout.join(qubits)
        self.order = layout.slots[self._slot]
        self.steps: list[Step] = layout.steps
        self._ground: dict[int, Array] = dict.fromkeys(range(len(qubits)), GROUND[base])
        self.uses_weights = any(isinstance(item, Phase) and not item.sampled for item in operations)

    def to_torch(self, device: Any) -> None:
        """Move the constants to a torch device."""
        move_steps(self.steps, device)
        import torch

        self._ground = {slot: torch.as_tensor(vector, device=device) for slot, vector in self._ground.items()}

    def forward(self, trig: Trig) -> tuple[Array, Any]:
        """Return the samples' vectors (D^n, N), or (D^n, 1) if they are all alike, and what `backward` needs."""
        tape = Tape(trig, (), dict(self._ground))
        run_forward(self.steps, tape)
        return tape.slots[self._slot], tape

    def backward(self, slope: Array, tape: Tape, slopes: Slopes) -> None:
        """Collect the angles' gradients from that of the vectors."""
        run_backward(self.steps, tape.rewound(slopes, {self._slot: slope}))


class ProductFront:
    """One-qubit operations only, the same number of turns on each qubit: all qubits at once, as factors.

    Rows of the factors that are always zero (Y of a qubit turned by RY only) are left out.

    Args:
        operations: the front.
        qubits: all qubits in use, n of them.
        base: 2 for state vectors, 4 for Pauli vectors.
    """

    is_product = True
    uses_weights = False

    def __init__(self, operations: Sequence[Operation], qubits: Sequence[int], base: int):
        chains = [chain_factors(chain, base) for chain in _chains_by_qubit(operations, qubits)]
        self.order = list(qubits)
        self._base = base
        terms = np.array([[terms for _, _, terms in chain] for chain in chains])
        self._angles: Array = np.array([[angle for angle, _, _ in chain] for chain in chains]).T
        self._signs: Array = np.array([[sign for _, sign, _ in chain] for chain in chains]).T[:, :, None]
        first = (terms[:, 0] @ GROUND[base])[..., 0].swapaxes(1, 2)
        self.kept = _rows_in_use(first, terms[:, 1:]) if base == 4 else [0, 1]
        self.is_real = not np.any(np.imag(first)) and not np.any(np.imag(terms[:, 1:]))
        if self.is_real:
            first, terms = np.real(first), np.real(terms)
        self._first: Array = np.ascontiguousarray(first[:, self.kept])
        later = terms[:, 1:][..., self.kept, :][..., self.kept]
        self._later: list[Array] = [np.ascontiguousarray(later[:, step]) for step in range(later.shape[1])]

    def to_torch(self, device: Any) -> None:
        """Move the constants to a torch device."""
        import torch

        for name in ("_angles", "_signs", "_first"):
            setattr(self, name, torch.as_tensor(getattr(self, name), device=device))
        self._later = [torch.as_tensor(step, device=device) for step in self._later]

    def _trig(self, trig: Trig, step: int) -> Array:
        """Return the coefficients (n, T, N) of a step's terms."""
        cos, sin = trig.own_half if self._base == 2 else trig.own
        cos, sin = cos[self._angles[step]], sin[self._angles[step]] * self._signs[step]
        parts = (cos, sin) if self._base == 2 else (cos * 0 + 1, cos, sin)
        return _stack_second(parts)

    def forward(self, trig: Trig) -> tuple[list[Array], Any]:
        """Return the factors, n of shape (kept rows, N) each, and what `backward` needs."""
        coefficients = [self._trig(trig, step) for step in range(len(self._angles))]
        vectors = [self._first @ coefficients[0]]
        for matrices, weights in zip(self._later, coefficients[1:]):
            images = matrices @ vectors[-1][:, None]
            vectors.append((images * weights[:, :, None]).sum(axis=1))
        return list(vectors[-1]), (coefficients, vectors)

    def backward(self, slope: Sequence[Array], saved: Any, slopes: Slopes) -> None:
        """Collect the angles' gradients from those of the factors."""
        coefficients, vectors = saved
        gradient = _stack_first(slope)
        for step in reversed(range(len(self._later))):
            matrices, weights = self._later[step], coefficients[step + 1]
            images = matrices @ vectors[step][:, None]
            self._add(step + 1, weights, (gradient.conj()[:, None] * images).real.sum(axis=2), slopes)
            gradient = ((matrices.conj().swapaxes(2, 3) @ gradient[:, None]) * weights[:, :, None]).sum(axis=1)
        along = (self._first.conj().swapaxes(1, 2) @ gradient).real
        self._add(0, coefficients[0], along, slopes)

    def _add(self, step: int, weights: Array, along: Array, slopes: Slopes) -> None:
        """Add the angle gradients from those of the coefficients (n, T, N)."""
        value = along[:, -1] * weights[:, -2] - along[:, -2] * weights[:, -1]
        value = value * self._signs[step] * (0.5 if self._base == 2 else 1.0)
        for qubit, angle in enumerate(self._angles[step]):
            slopes.own[angle] += value[qubit]


class AmplitudeFront:
    """The inputs themselves are the amplitudes of the states, real ones.

    Args:
        num_qubits: Q; all are in use.
    """

    is_product = False
    is_real = True
    uses_weights = False

    def __init__(self, num_qubits: int):
        self.order = list(reversed(range(num_qubits)))

    def to_torch(self, device: Any) -> None:
        """Do nothing; there are no constants."""


Front = EvolvedFront | ProductFront | AmplitudeFront


def build_front(operations: Sequence[Operation], qubits: Sequence[int], base: int) -> EvolvedFront | ProductFront:
    """Return the front that fits: factors if nothing entangles them."""
    counts = dict.fromkeys(qubits, 0)
    for item in operations:
        if isinstance(item, Phase) and item.sampled:
            counts[item.qubit] += 1
        elif isinstance(item, Phase) or len(item.qubits) > 1:
            return EvolvedFront(operations, qubits, base)
    if len(qubits) > 1 and len(set(counts.values())) == 1 and counts[qubits[0]]:
        return ProductFront(operations, qubits, base)
    return EvolvedFront(operations, qubits, base)


def _chains_by_qubit(operations: Sequence[Operation], qubits: Sequence[int]) -> list[list[Operation]]:
    chains: dict[int, list[Operation]] = defaultdict(list)
    for item in operations:
        chains[item.qubits[0] if isinstance(item, Constant) else item.qubit].append(item)
    return [chains[qubit] for qubit in qubits]


def _rows_in_use(first: np.ndarray, later: np.ndarray) -> list[int]:
    """Return the rows of a factor that can differ from zero, the same for all qubits."""
    used = (np.abs(first) > 1e-15).any(axis=(0, 2))
    couplings = (np.abs(later) > 1e-15).any(axis=(0, 2))
    for coupling in couplings:
        used = used | (coupling & used).any(axis=1)
    return [row for row, in_use in enumerate(used) if in_use]


def join_factors(factors: Sequence[Array]) -> Array:
    """Return the product of factors (d, N), the first one's rows most significant."""
    product = factors[0]
    for factor in factors[1:]:
        product = (product[:, None, :] * factor[None]).reshape(-1, factor.shape[-1])
    return product


def split_slope(slope: Array, factors: Sequence[Array]) -> list[Array]:
    """Return the gradients of the factors from that of their product."""
    if len(factors) == 1:
        return [slope]
    half = len(factors) // 2
    first, second = join_factors(factors[:half]), join_factors(factors[half:])
    slope = slope.reshape(first.shape[0], second.shape[0], -1)
    left, right = contract(slope, second.conj(), "abn,bn->an"), contract(slope, first.conj(), "abn,an->bn")
    return [*split_slope(left, factors[:half]), *split_slope(right, factors[half:])]


def contract(first: Array, second: Array, pattern: str) -> Array:
    """Return an Einstein sum of two arrays."""
    if hasattr(first, "clone"):
        import torch

        return torch.einsum(pattern, first, second)
    return np.einsum(pattern, first, second)


def move_steps(steps: Sequence[Step], device: Any) -> None:
    """Move the constants of steps to a torch device."""
    import torch

    for step in steps:
        for item in fields(step):
            value = getattr(step, item.name)
            if isinstance(value, np.ndarray):
                setattr(step, item.name, torch.as_tensor(value, device=device))


def _stack_second(parts: Sequence[Array]) -> Array:
    if hasattr(parts[0], "clone"):
        import torch

        return torch.stack(list(parts), 1)
    return np.stack(parts, 1)


def _stack_first(parts: Sequence[Array]) -> Array:
    if hasattr(parts[0], "clone"):
        import torch

        return torch.stack(list(parts))
    return np.stack(parts)
