"""What a student is trained to minimise. Each loss is as short as its formula.

`alpha` always weighs the **teacher's** term (some toolkits let it weigh the labels').
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.suggestions import choose


@dataclass(frozen=True)
class LossParts:
    """A loss with its parts before weighting, so that they can be logged apart.

    Attributes:
        total: the scalar to minimise.
        task: cross-entropy with the labels.
        distillation: the teacher's term; zero where there is no teacher.
    """

    total: torch.Tensor
    task: torch.Tensor
    distillation: torch.Tensor


@dataclass(frozen=True)
class Objective:
    """A loss with its constants.

    Attributes:
        name: one of `LOSSES`.
        temperature: `T > 0`, softens both distributions.
        alpha: weight of the teacher's term; see each loss.
    """

    name: str = "kd"
    temperature: float = 4.0
    alpha: float = 0.9

    def __post_init__(self) -> None:
        """Check the constants.

        Raises:
            ConfigurationError: unknown loss, or a constant out of range.
        """
        choose("loss", self.name, LOSSES)
        if not self.temperature > 0:
            raise ConfigurationError(f"the temperature must be above 0, not {self.temperature}; 4 is usual")
        if not 0 <= self.alpha <= 1:
            raise ConfigurationError(f"alpha is the teacher's share, from 0 to 1, not {self.alpha}")

    @property
    def needs_teacher(self) -> bool:
        """Whether teacher logits are used."""
        return self.name != "ce"

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor, teacher_logits: torch.Tensor | None) -> LossParts:
        """Evaluate the loss.

        Args:
            logits: the student's, `(N, S)` with `S >= K` scores (the paper's head has more scores than classes).
            labels: `(N,)`, classes `0 .. K-1`.
            teacher_logits: `(N, K)`; may be `None` where no teacher is needed.
        """
        return LOSSES[self.name](logits, labels, teacher_logits, self.temperature, self.alpha)


def soft_divergence(logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """`T^2 KL(teacher || student)` of the softened distributions, mean over the batch (arXiv 1503.02531)."""
    student = functional.log_softmax(logits[:, : teacher_logits.shape[1]] / temperature, dim=1)
    teacher = functional.log_softmax(teacher_logits / temperature, dim=1)
    return temperature**2 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, teacher_logits: torch.Tensor | None, temperature: float, alpha: float
) -> LossParts:
    """`CE(student, labels)`: no teacher."""
    task = functional.cross_entropy(logits, labels)
    return LossParts(task, task, torch.zeros_like(task))


def distillation(
    logits: torch.Tensor, labels: torch.Tensor, teacher_logits: torch.Tensor, temperature: float, alpha: float
) -> LossParts:
    """`(1 - alpha) CE + alpha T^2 KL`. Hinton et al., arXiv 1503.02531."""
    task = functional.cross_entropy(logits, labels)
    soft = soft_divergence(logits, teacher_logits, temperature)
    return LossParts((1 - alpha) * task + alpha * soft, task, soft)


def paper_distillation(
    logits: torch.Tensor, labels: torch.Tensor, teacher_logits: torch.Tensor, temperature: float, alpha: float
) -> LossParts:
    """`CE + alpha T^2 KL`, as the public code of arXiv 2311.13810 has it: the labels' term is not weighted.

    That code writes `alpha T^2 K KLDivLoss('mean')`; the mean over `N K` entries times `K` is the mean over the batch.
    """
    task = functional.cross_entropy(logits, labels)
    soft = soft_divergence(logits, teacher_logits, temperature)
    return LossParts(task + alpha * soft, task, soft)


LOSSES: dict[str, Callable[..., LossParts]] = {
    "kd": distillation,
    "ce": cross_entropy,
    "paper": paper_distillation,
}
