"""The training loop: a generator of epochs that knows no files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from qkd_qiskit.classical.images import Images
from qkd_qiskit.distillation.losses import LossParts, Objective
from qkd_qiskit.exceptions import ConfigurationError, QkdError
from qkd_qiskit.suggestions import choose


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How a student is trained.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step.
        learning_rate: Adam's largest learning rate.
        schedule: one of `SCHEDULES`.
        clip: largest norm of the gradient; 0 switches clipping off.
        weight_decay: Adam's decoupled weight decay (AdamW).
        seed: decides the order of the images and dropout.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str = "cosine"
    clip: float = 1.0
    weight_decay: float = 0.0
    seed: int = 0

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step, counted from 0, of `steps` in all."""
        return self.learning_rate * choose("schedule", self.schedule, SCHEDULES)(step / max(1, steps))


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _one_cycle(progress: float, warm: float = 0.3) -> float:
    """Up from 4 % by a half cosine, then down to nothing. Smith, arXiv 1708.07120."""
    if progress < warm:
        return 0.04 + 0.96 * (1 - _cosine(progress / warm))
    return _cosine((progress - warm) / (1 - warm))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": _cosine,
    "one_cycle": _one_cycle,
    "constant": lambda progress: 1.0,
}


@dataclass
class TrainingState:
    """Everything that the next epoch depends on besides the plan and the data.

    Attributes:
        student: the network; its weights are part of the state.
        optimizer: Adam over them.
        order: draws the order of the images.
        epoch: finished epochs; with the plan's seed it decides the dropout of the next one.
    """

    student: nn.Module
    optimizer: torch.optim.Optimizer
    order: torch.Generator
    epoch: int = 0

    @classmethod
    def start(cls, student: nn.Module, plan: TrainingPlan) -> TrainingState:
        """Make the state before the first epoch."""
        optimizer = torch.optim.AdamW(
            student.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay, eps=1e-8, fused=True
        )
        order = torch.Generator().manual_seed(plan.seed)
        return cls(student, optimizer, order)


@dataclass
class _Tally:
    """Sums over one epoch; rates are derived at the end."""

    samples: int = 0
    correct: int = 0
    sums: dict[str, float] = field(default_factory=lambda: {"loss": 0.0, "task_loss": 0.0, "distillation_loss": 0.0})
    largest_gradient: float = 0.0

    def add(self, parts: LossParts, logits: torch.Tensor, labels: torch.Tensor, gradient_norm: float) -> None:
        self.samples += len(labels)
        self.correct += int((logits.argmax(1) == labels).sum())
        for name, part in zip(self.sums, (parts.total, parts.task, parts.distillation)):
            self.sums[name] += float(part.detach()) * len(labels)
        self.largest_gradient = max(self.largest_gradient, gradient_norm)


Report = Callable[[dict[str, Any]], None]


def iterate_epochs(
    state: TrainingState,
    plan: TrainingPlan,
    objective: Objective,
    train: Images,
    validation: Images,
    *,
    teacher_logits: torch.Tensor | None = None,
    report: Report | None = None,
) -> Iterator[dict[str, Any]]:
    """Train, epoch by epoch, from wherever the state is.

    Args:
        state: changed in place; save it between epochs.
        plan: how to train.
        objective: what to minimise.
        train: `N` images that are learnt from.
        validation: images that only choose the best epoch.
        teacher_logits: `(N, K)` for `train`, if the objective needs them.
        report: told after each step: epoch, step, steps, loss, samples and seconds of this epoch so far.

    Yields:
        After each epoch its number (from 1), losses in parts, training and validation accuracy with counts, learning
        rate, seconds, samples a second and the largest gradient norm before clipping.

    Raises:
        ConfigurationError: the objective needs teacher logits and there are none, or too few.
        QkdError: the loss is not finite.
    """
    if objective.needs_teacher and (teacher_logits is None or len(teacher_logits) != len(train)):
        found = "none" if teacher_logits is None else f"{len(teacher_logits)}"
        raise ConfigurationError(f"loss {objective.name!r} needs teacher logits for {len(train)} images, got {found}")
    while state.epoch < plan.epochs:
        began = time.perf_counter()
        device = device_of(state.student)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed((1_000_003 * (plan.seed + 1) + state.epoch) % 2**63)
            tally = _train_epoch(state, plan, objective, train, teacher_logits, report)
        seconds = time.perf_counter() - began
        state.epoch += 1
        yield {
            "epoch": state.epoch,
            **{name: total / tally.samples for name, total in tally.sums.items()},
            "train_correct": tally.correct,
            "train_samples": tally.samples,
            "train_accuracy": tally.correct / tally.samples,
            **_validate(state.student, validation, plan.batch_size),
            "learning_rate": state.optimizer.param_groups[0]["lr"],
            "gradient_norm": tally.largest_gradient,
            "seconds": seconds,
            "samples_per_second": tally.samples / seconds,
        }


def train_to_best(
    student: nn.Module,
    plan: TrainingPlan,
    objective: Objective,
    train: Images,
    validation: Images,
    *,
    teacher_logits: torch.Tensor | None = None,
    report: Report | None = None,
    follow: Report | None = None,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Train a student in memory and leave it at its best epoch on the validation images.

    Args:
        student: changed in place.
        plan: how to train.
        objective: what to minimise.
        train: images that are learnt from.
        validation: images that only choose the best epoch.
        teacher_logits: `(N, K)` for `train`, if the objective needs them.
        report: told after each step, see `iterate_epochs`.
        follow: told after each epoch.

    Returns:
        The metrics of all epochs, and those of the best one.
    """
    state, history = TrainingState.start(student, plan), []
    best: dict[str, Any] = {}
    weights = student.state_dict()
    for facts in iterate_epochs(
        state, plan, objective, train, validation, teacher_logits=teacher_logits, report=report
    ):
        history.append(facts)
        if follow:
            follow(facts)
        if not best or rank_epoch(facts) > rank_epoch(best):
            best, weights = facts, {name: weight.clone() for name, weight in student.state_dict().items()}
    student.load_state_dict(weights)
    return history, best


def rank_epoch(facts: dict[str, Any]) -> tuple[float, float]:
    """Order epochs: higher validation accuracy first, then lower validation loss."""
    return facts["validation_accuracy"], -facts["validation_loss"]


def _train_epoch(
    state: TrainingState,
    plan: TrainingPlan,
    objective: Objective,
    train: Images,
    teacher_logits: torch.Tensor | None,
    report: Report | None,
) -> _Tally:
    tally, began = _Tally(), time.perf_counter()
    batches = _draw_batches(len(train), plan.batch_size, state.order)
    state.student.train()
    device, steps, goal = device_of(state.student), plan.epochs * len(batches), objective
    weights = list(state.student.parameters())  # to walk through the modules at each step takes as long as to clip
    for step, chosen in enumerate(batches):
        done = state.epoch * len(batches) + step
        rate = plan.rate(done, steps)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        if objective.temperature_end is not None:
            goal = objective.at(done / max(1, steps - 1))
        logits, values = _ask(state.student, train.pixels[chosen].to(device), objective.needs_values)
        labels = train.labels[chosen].to(device)
        soft = None if teacher_logits is None else teacher_logits[chosen].to(device)
        parts = goal(logits, labels, soft, values)
        _require_finite(parts.total, state.epoch + 1, step)
        state.optimizer.zero_grad()
        parts.total.backward()
        norm = nn.utils.clip_grad_norm_(weights, plan.clip or math.inf)
        state.optimizer.step()
        tally.add(parts, logits, labels, float(norm))
        if report:
            seconds = time.perf_counter() - began
            report(
                {
                    "epoch": state.epoch + 1,
                    "step": step + 1,
                    "steps": len(batches),
                    "samples": tally.samples,
                    "loss": tally.sums["loss"] / tally.samples,
                    "seconds": seconds,
                }
            )
    return tally


def _ask(student: nn.Module, pixels: torch.Tensor, with_values: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return logits `(N, S)` and, where they are wanted, the expectation values `(N, O)` that they are made of."""
    if not with_values:
        return student(pixels), None
    values = student.measure(pixels)  # type: ignore[operator]
    return student.head(values), values  # type: ignore[operator]


def _draw_batches(count: int, size: int, order: torch.Generator) -> list[torch.Tensor]:
    """Shuffle and cut; a last batch of one joins the one before, for a student may normalise over its batch."""
    batches = list(torch.randperm(count, generator=order).split(size))
    if len(batches) > 1 and size > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _require_finite(loss: torch.Tensor, epoch: int, step: int) -> None:
    if not torch.isfinite(loss):
        raise QkdError(f"the loss became {float(loss.detach())} in epoch {epoch}, step {step + 1}; give a smaller --lr")


def _validate(student: nn.Module, images: Images, batch_size: int) -> dict[str, Any]:
    logits = predict(student, images.pixels, batch_size=max(batch_size, 256))
    correct = int((logits.argmax(1) == images.labels).sum())
    loss = float(nn.functional.cross_entropy(logits, images.labels))
    return {
        "validation_loss": loss,
        "validation_correct": correct,
        "validation_samples": len(images),
        "validation_accuracy": correct / len(images),
    }


def predict(student: nn.Module, pixels: torch.Tensor, *, batch_size: int = 256) -> torch.Tensor:
    """Return the logits `(N, K)` of images `(N, C, H, W)`, on the CPU, without gradients and with dropout off."""
    was_training = student.training
    student.eval()
    with torch.no_grad():
        device = device_of(student)
        logits = torch.cat([student(part.to(device)).cpu() for part in pixels.split(batch_size)])
    student.train(was_training)
    return logits


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network's weights."""
    return next((weight.device for weight in network.parameters()), torch.device("cpu"))
