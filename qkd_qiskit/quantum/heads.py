"""From expectation values to class logits: the classical end of a student."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.suggestions import choose


def build_head(name: str, num_qubits: int, num_observables: int, num_classes: int) -> nn.Module:
    """Build the map from expectation values `(N, O)` to logits `(N, K)`.

    Args:
        name: one of `HEADS`: `affine` (a linear layer), `normalised` (expectation values are standardised first) or
            `paper` (the paper's v1 head, no weights).
        num_qubits: `Q`.
        num_observables: `O`.
        num_classes: `K`.

    Raises:
        ConfigurationError: the name is unknown, or the paper's head is asked for on observables that don't determine
            the bit-string probabilities, or for more classes than it has scores.
    """
    return choose("head", name, HEADS)(num_qubits, num_observables, num_classes)


def _affine(num_qubits: int, num_observables: int, num_classes: int) -> nn.Module:
    """A trainable affine map: bounded expectation values alone can't reach a teacher's range of logits."""
    return nn.Linear(num_observables, num_classes)


def _normalised(num_qubits: int, num_observables: int, num_classes: int) -> nn.Module:
    """Post-measurement normalisation, which undoes a contraction by noise: Wang et al., arXiv 2110.11331, section 3.1.

    In evaluation the statistics are those of training: a sample's class does not depend on the samples beside it.
    """
    return nn.Sequential(nn.BatchNorm1d(num_observables, affine=False), nn.Linear(num_observables, num_classes))


def _paper(num_qubits: int, num_observables: int, num_classes: int) -> nn.Module:
    if num_observables != 2**num_qubits - 1:
        raise ConfigurationError(
            f"the paper's head needs all {2**num_qubits - 1} parities to get bit-string probabilities, not "
            f"{num_observables} observables; give --observables parities"
        )
    if num_classes > 2 ** (num_qubits + 1):
        raise ConfigurationError(
            f"the paper's head has {2 ** (num_qubits + 1)} scores on {num_qubits} qubits, fewer than {num_classes} "
            "classes; give more qubits or --set student.head=affine"
        )
    return _PaperHead(num_qubits)


class Probabilities(nn.Module):
    """All parities `(N, 2^Q - 1)` to bit-string probabilities `(N, 2^Q)`, by a Walsh-Hadamard transform.

    `p(b) = 2^-Q sum_m (-1)^(m . b) <Z_m>` with `<Z_0> = 1`; column `b` is the integer of Qiskit's bit string.
    """

    def __init__(self, num_qubits: int) -> None:
        super().__init__()
        size = 2**num_qubits
        signs = [[(-1.0) ** (mask & outcome).bit_count() / size for outcome in range(size)] for mask in range(size)]
        self.register_buffer("walsh", torch.tensor(signs, dtype=torch.float64), persistent=False)
        self.walsh: torch.Tensor

    def forward(self, parities: torch.Tensor) -> torch.Tensor:
        """Transform parities in the order of `build_observables("parities", Q)`."""
        walsh = self.walsh.to(parities)
        return parities @ walsh[1:] + walsh[0]


class _PaperHead(nn.Module):
    """The v1 code's head: `x = sigmoid(p)`, scores `concat(x, 1 - x)`: `2 * 2^Q` of them whatever `K` is.

    All scores are in [0.27, 0.73], so cross-entropy over them barely moves; it is here to compare with.
    """

    def __init__(self, num_qubits: int) -> None:
        super().__init__()
        self.probabilities = Probabilities(num_qubits)

    def forward(self, parities: torch.Tensor) -> torch.Tensor:
        scores = torch.sigmoid(self.probabilities(parities))
        return torch.cat([scores, 1 - scores], dim=1)


HEADS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "affine": _affine,
    "normalised": _normalised,
    "paper": _paper,
}
