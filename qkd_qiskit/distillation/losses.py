"""What a student is trained to minimise. Each loss is as short as its formula, under its paper's name.

`alpha` always weighs the **teacher's** term (some toolkits let it weigh the labels'). A student may have more scores
than classes, `S > K` (the paper's head): cross-entropy is over all of them, a teacher is compared with the first `K`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch.nn import functional

from qkd_qiskit.config import LOSS_CONSTANTS
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.suggestions import choose

Tensor = torch.Tensor


@dataclass(frozen=True)
class LossParts:
    """A loss with its parts before weighting, so that they can be logged apart.

    Attributes:
        total: the scalar to minimise.
        task: cross-entropy with the labels.
        distillation: the teacher's term (where it has two, their weighted sum); zero where there is no teacher.
    """

    total: Tensor
    task: Tensor
    distillation: Tensor


@dataclass(frozen=True)
class Objective:
    """A loss with its constants; those that are not given are its paper's, see `LOSS_CONSTANTS`.

    Attributes:
        name: one of `LOSSES`.
        temperature: `T > 0`, softens both distributions.
        alpha: weight of the teacher's term; this and the next two: see each loss.
        beta: a second weight.
        gamma: a third one.
        smoothing: share of the labels' probability that is spread over all classes (`label_smoothing`, `kd`).
        temperature_end: the temperature of the last step; from `temperature` it goes there geometrically.
        num_classes: `K`; only label smoothing asks, for a student with more scores than classes.
    """

    name: str = "kd"
    temperature: float | None = None
    alpha: float | None = None
    beta: float | None = None
    gamma: float | None = None
    smoothing: float | None = None
    temperature_end: float | None = None
    num_classes: int | None = None

    def __post_init__(self) -> None:
        """Check the constants.

        Raises:
            ConfigurationError: unknown loss, a constant that it does not have, or one out of range.
        """
        choose("loss", self.name, LOSSES)
        for name in ("temperature", "temperature_end"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"the {name.replace('_', ' ')} must be above 0, not {value}; 4 is usual")
        if self.alpha is not None and not 0 <= self.alpha <= (math.inf if self.name == "dkd" else 1):
            raise ConfigurationError(f"alpha is the teacher's share, from 0 to 1, not {self.alpha}")
        own = LOSS_CONSTANTS[self.name]
        for name in ("beta", "gamma", "smoothing"):
            if getattr(self, name) is not None and name not in own:
                raise ConfigurationError(f"loss {self.name!r} has no {name}; leave distillation.{name} out")
        if self.temperature_end is not None and "temperature" not in own:
            raise ConfigurationError(f"loss {self.name!r} has no temperature; leave distillation.temperature_end out")

    @cached_property
    def constants(self) -> dict[str, Any]:
        """The constants that the loss has, the papers' filled in."""
        given = {name: getattr(self, name) for name in LOSS_CONSTANTS[self.name]}
        found = {**LOSS_CONSTANTS[self.name], **{name: value for name, value in given.items() if value is not None}}
        return {**found, "num_classes": self.num_classes} if self.name == "label_smoothing" else found

    @property
    def needs_teacher(self) -> bool:
        """Whether teacher logits are used."""
        return self.name not in TEACHER_FREE

    @property
    def needs_values(self) -> bool:
        """Whether the student's expectation values are used besides its logits."""
        return self.name == "rkd"

    def check_batch_size(self, size: int) -> None:
        """Find out whether a batch is large enough for what the loss compares.

        Raises:
            ConfigurationError: it is not.
        """
        least = SMALLEST_BATCH.get(self.name, 1)
        if size < least:
            raise ConfigurationError(
                f"loss {self.name!r} compares the images of a batch with each other; give --batch-size {least} or more"
            )

    def at(self, progress: float) -> Objective:
        """Return the loss with the temperature that holds after this share of all steps, 0 to 1."""
        first, last = self.constants["temperature"], self.temperature_end
        return replace(self, temperature=first * (last / first) ** progress, temperature_end=None) if last else self

    def describe(self) -> dict[str, Any]:
        """Return name and constants as plain data."""
        end = {} if self.temperature_end is None else {"temperature_end": self.temperature_end}
        return {"name": self.name, **self.constants, **end}

    def __call__(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, values: Tensor | None = None
    ) -> LossParts:
        """Evaluate the loss.

        Args:
            logits: the student's, `(N, S)` with `S >= K` scores (the paper's head has more scores than classes).
            labels: `(N,)`, classes `0 .. K-1`.
            teacher_logits: `(N, K)`; may be `None` where no teacher is needed.
            values: the student's expectation values, `(N, O)`, where they are needed.
        """
        more = {} if values is None else {"values": values}
        return LOSSES[self.name](logits, labels, teacher_logits, **self.constants, **more)


def ce(logits: Tensor, labels: Tensor, teacher: Tensor | None) -> LossParts:
    """`CE(student, labels)`: no teacher."""
    task = functional.cross_entropy(logits, labels)
    return LossParts(task, task, torch.zeros_like(task))


def label_smoothing(
    logits: Tensor, labels: Tensor, teacher: Tensor | None, *, smoothing: float, num_classes: int | None
) -> LossParts:
    """`(1 - eps) CE + eps mean_k(-log p_k)`: no teacher but a uniform one. Szegedy et al., arXiv 1512.00567, section 7.

    The mean is over the `K` classes, not over the scores that a student may have beyond them.
    """
    task = functional.cross_entropy(logits, labels)
    return LossParts(_smooth(task, logits, smoothing, num_classes), task, torch.zeros_like(task))


def kd(
    logits: Tensor, labels: Tensor, teacher: Tensor, *, temperature: float, alpha: float, smoothing: float
) -> LossParts:
    """`(1 - alpha) CE + alpha T^2 KL`. Hinton et al., arXiv 1503.02531; here the labels may be smoothed as well."""
    task = functional.cross_entropy(logits, labels)
    soft = soft_divergence(logits, teacher, temperature)
    return LossParts((1 - alpha) * _smooth(task, logits, smoothing, teacher.shape[1]) + alpha * soft, task, soft)


def paper(logits: Tensor, labels: Tensor, teacher: Tensor, *, temperature: float, alpha: float) -> LossParts:
    """`CE + alpha T^2 KL`, as the public code of arXiv 2311.13810 has it: the labels' term is not weighted.

    That code writes `alpha T^2 K KLDivLoss('mean')`; the mean over `N K` entries times `K` is the mean over the batch.
    """
    task = functional.cross_entropy(logits, labels)
    soft = soft_divergence(logits, teacher, temperature)
    return LossParts(task + alpha * soft, task, soft)


def dkd(logits: Tensor, labels: Tensor, teacher: Tensor, *, temperature: float, alpha: float, beta: float) -> LossParts:
    """`CE + T^2 (alpha TCKD + beta NCKD)`. Zhao et al., arXiv 2203.08679, equation 7.

    TCKD is the divergence of (target, rest), NCKD that among the other classes alone. The paper's code warms it up over
    20 epochs; that is left out.
    """
    task = functional.cross_entropy(logits, labels)
    student_target, student_rest = _split_target(logits[:, : teacher.shape[1]] / temperature, labels)
    teacher_target, teacher_rest = _split_target(teacher / temperature, labels)
    target, rest = _divergence(student_target, teacher_target), _divergence(student_rest, teacher_rest)
    soft = temperature**2 * (alpha * target + beta * rest)
    return LossParts(task + soft, task, soft)


def dist(
    logits: Tensor, labels: Tensor, teacher: Tensor, *, temperature: float, beta: float, gamma: float
) -> LossParts:
    """`CE + T^2 (beta inter + gamma intra)`: one minus Pearson's correlation of the softened probabilities.

    Inter: of each image over the classes; intra: of each class over the batch. Huang et al., arXiv 2205.10536,
    equations 8 to 11; the factor `T^2` is from the paper's code.
    """
    task = functional.cross_entropy(logits, labels)
    ours = functional.softmax(logits[:, : teacher.shape[1]] / temperature, dim=1)
    theirs = functional.softmax(teacher / temperature, dim=1)
    inter, intra = (1 - _correlation(ours, theirs, dim).mean() for dim in (1, 0))
    soft = temperature**2 * (beta * inter + gamma * intra)
    return LossParts(task + soft, task, soft)


def logit_std(
    logits: Tensor, labels: Tensor, teacher: Tensor, *, temperature: float, alpha: float, beta: float
) -> LossParts:
    """`(1 - alpha) CE + beta T^2 KL` of logits of mean 0 and variance 1. Sun et al., arXiv 2403.01427, algorithm 1.

    Neither network's scale counts, so a student whose outputs are bounded can agree with any teacher. Of two classes
    only the order is left, and a gradient of zero: it takes three.
    """
    task = functional.cross_entropy(logits, labels)
    ours, theirs = _standardise(logits[:, : teacher.shape[1]]), _standardise(teacher)
    soft = soft_divergence(ours, theirs, temperature)
    return LossParts((1 - alpha) * task + beta * soft, task, soft)


def rkd(logits: Tensor, labels: Tensor, teacher: Tensor, *, beta: float, gamma: float, values: Tensor) -> LossParts:
    """`CE + beta distance + gamma angle`: how images lie to each other. Park et al., arXiv 1904.05068, section 3.2.

    The student's expectation values are compared with the teacher's logits, by Huber's loss: distances of all pairs
    over their mean, and the cosines of the angles of all triplets.
    """
    task = functional.cross_entropy(logits, labels)
    distance = functional.smooth_l1_loss(_distances(values), _distances(teacher).to(values))
    angle = functional.smooth_l1_loss(_cosines(values), _cosines(teacher).to(values))
    soft = beta * distance + gamma * angle
    return LossParts(task + soft, task, soft)


def soft_divergence(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`T^2 KL(teacher || student)` of the softened distributions, mean over the batch (arXiv 1503.02531)."""
    student = functional.log_softmax(logits[:, : teacher.shape[1]] / temperature, dim=1)
    return temperature**2 * _divergence(student, functional.log_softmax(teacher / temperature, dim=1))


def _smooth(task: Tensor, logits: Tensor, smoothing: float, num_classes: int | None) -> Tensor:
    """`(1 - eps) CE + eps mean_k(-log p_k)` over the first `K` of the student's scores."""
    if smoothing == 0:
        return task
    uniform = -functional.log_softmax(logits, dim=1)[:, :num_classes].mean()
    return (1 - smoothing) * task + smoothing * uniform


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """`KL(teacher || student)` of logarithms of probabilities, mean over the batch."""
    return functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


def _split_target(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return logarithms of the probabilities (target, all others), `(N, 2)`, and among the others, `(N, K - 1)`."""
    is_target = functional.one_hot(labels, logits.shape[1]).bool()
    others = logits[~is_target].view(len(logits), -1)
    pair = torch.stack([logits[is_target], others.logsumexp(1)], dim=1)
    return functional.log_softmax(pair, dim=1), functional.log_softmax(others, dim=1)


def _correlation(first: Tensor, second: Tensor, dim: int) -> Tensor:
    """Pearson's correlation along a dimension."""
    first, second = first - first.mean(dim, keepdim=True), second - second.mean(dim, keepdim=True)
    return functional.cosine_similarity(first, second, dim=dim)


def _standardise(logits: Tensor) -> Tensor:
    deviation = logits.std(dim=1, keepdim=True, correction=0)
    return (logits - logits.mean(dim=1, keepdim=True)) / (deviation + 1e-7)


def _distances(points: Tensor) -> Tensor:
    """Distances of all pairs, `(N, N)`, over the mean of those of different points."""
    found = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")  # its gradient at 0 is 0, not NaN
    count = len(points)
    return found / (found.sum() / (count * (count - 1))).clamp_min(1e-12)


def _cosines(points: Tensor) -> Tensor:
    """Cosines of the angles at `j` of all triplets `(i, j, k)`, `(N, N, N)`; 0 where two points are one."""
    directions = functional.normalize(points[:, None] - points, dim=2)
    return torch.einsum("ijd,kjd->jik", directions, directions)


LOSSES: dict[str, Callable[..., LossParts]] = {
    "kd": kd,
    "ce": ce,
    "paper": paper,
    "dkd": dkd,
    "dist": dist,
    "logit_std": logit_std,
    "rkd": rkd,
    "label_smoothing": label_smoothing,
}
TEACHER_FREE = ("ce", "label_smoothing")
SMALLEST_BATCH = {"dist": 2, "rkd": 3}
"""Losses that compare images with each other, and how many they need."""
