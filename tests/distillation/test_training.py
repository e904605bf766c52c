"""The loop: schedules, seeds, bit-equal resumption, refusals; with a small classical student, so it takes no time."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from qkd_qiskit.classical.images import Images
from qkd_qiskit.distillation.checkpoints import load_checkpoint, restore_state, save_checkpoint
from qkd_qiskit.distillation.losses import LOSSES, LossParts, Objective
from qkd_qiskit.distillation.training import TrainingPlan, TrainingState, iterate_epochs, predict
from qkd_qiskit.exceptions import ConfigurationError, QkdError

PLAN = TrainingPlan(epochs=4, batch_size=8, learning_rate=0.01, seed=3)


def make_images(count: int, seed: int) -> Images:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    pixels = torch.rand(count, 1, 4, 4, generator=generator) * 0.5
    pixels[torch.arange(count), 0, labels, labels] += 0.5
    return Images(pixels, labels)


TRAIN, VALIDATION = make_images(40, 0), make_images(15, 1)
TEACHER = 4 * torch.nn.functional.one_hot(TRAIN.labels, 3).float()


def make_student() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def run(state: TrainingState, plan: TrainingPlan = PLAN, epochs: int | None = None) -> list[dict]:
    found = []
    for facts in iterate_epochs(state, plan, Objective("kd"), TRAIN, VALIDATION, teacher_logits=TEACHER):
        found.append(facts)
        if epochs and len(found) == epochs:
            break
    return found


def weights(state: TrainingState) -> torch.Tensor:
    return torch.cat([weight.detach().ravel() for weight in state.student.parameters()])


def test_training_learns_and_reports_counts() -> None:
    plan = TrainingPlan(epochs=60, batch_size=8, learning_rate=0.03, seed=3)
    history = run(TrainingState.start(make_student(), plan), plan)
    assert [facts["epoch"] for facts in history] == list(range(1, 61))
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]  # dropout keeps it from zero
    assert history[-1]["validation_correct"] == round(history[-1]["validation_accuracy"] * 15)
    assert history[-1]["validation_accuracy"] > 0.8
    parts = history[5]
    assert parts["loss"] == pytest.approx(0.1 * parts["task_loss"] + 0.9 * parts["distillation_loss"], rel=1e-5)


def test_the_seed_decides_everything_and_nothing_global_does() -> None:
    first = TrainingState.start(make_student(), PLAN)
    run(first)
    second = TrainingState.start(make_student(), PLAN)
    torch.manual_seed(12345)
    before = torch.get_rng_state()
    run(second)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(weights(first), weights(second))


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_resumed_training_is_bit_equal(stop: int, tmp_path: Path) -> None:
    unbroken = TrainingState.start(make_student(), PLAN)
    wanted = run(unbroken)
    broken = TrainingState.start(make_student(), PLAN)
    run(broken, epochs=stop)
    save_checkpoint(tmp_path / "last.safetensors", broken, {"best": None})

    resumed = TrainingState.start(make_student(), PLAN)
    tensors, facts = load_checkpoint(tmp_path / "last.safetensors")
    restore_state(resumed, tensors, facts, tmp_path / "last.safetensors")
    found = run(resumed)
    assert torch.equal(weights(resumed), weights(unbroken))
    assert [facts["loss"] for facts in found] == [facts["loss"] for facts in wanted[stop:]]


@pytest.mark.parametrize(
    ("schedule", "progress", "share"),
    [
        ("constant", 0.7, 1.0),
        ("cosine", 0.0, 1.0),
        ("cosine", 0.5, 0.5),
        ("cosine", 1.0, 0.0),
        ("one_cycle", 0.0, 0.04),
        ("one_cycle", 0.3, 1.0),
        ("one_cycle", 1.0, 0.0),
    ],
)
def test_schedules(schedule: str, progress: float, share: float) -> None:
    plan = TrainingPlan(epochs=1, batch_size=1, learning_rate=2.0, schedule=schedule)
    assert plan.rate(round(1000 * progress), 1000) == pytest.approx(2.0 * share, abs=1e-9)


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'cosine'"):
        TrainingPlan(epochs=1, batch_size=1, learning_rate=1.0, schedule="cosin").rate(0, 1)


def test_gradients_are_clipped() -> None:
    plan = TrainingPlan(epochs=1, batch_size=40, learning_rate=0.01, clip=1e-3, seed=1)
    state = TrainingState.start(make_student(), plan)
    (facts,) = run(state, plan)
    assert facts["gradient_norm"] > 1e-3
    norms = [weight.grad.norm() for weight in state.student.parameters() if weight.grad is not None]
    assert float(torch.stack(norms).norm()) == pytest.approx(1e-3, rel=1e-3)


def test_missing_teacher_logits_are_refused() -> None:
    state = TrainingState.start(make_student(), PLAN)
    with pytest.raises(ConfigurationError, match="needs teacher logits for 40 images, got 3"):
        next(iterate_epochs(state, PLAN, Objective("kd"), TRAIN, VALIDATION, teacher_logits=TEACHER[:3]))


def test_a_loss_that_is_not_finite_stops_with_a_remedy() -> None:
    state = TrainingState.start(make_student(), PLAN)
    logits = TEACHER.clone()
    logits[0, 0] = math.nan
    with pytest.raises(QkdError, match=r"nan in epoch 1.*smaller --lr"):
        list(iterate_epochs(state, PLAN, Objective("kd"), TRAIN, VALIDATION, teacher_logits=logits))


def test_prediction_switches_dropout_off_and_back() -> None:
    student = make_student().train()
    first, again = (predict(student, VALIDATION.pixels, batch_size=size) for size in (4, 15))
    torch.testing.assert_close(first, again)
    assert student.training


class TwoStage(nn.Module):
    """A student that hands out what its head is fed with, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Tanh())
        self.head = nn.Linear(5, 3)
        self.passes = 0

    def measure(self, pixels: torch.Tensor) -> torch.Tensor:
        self.passes += self.training
        return self.body(pixels)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.measure(pixels))


def test_relations_are_learnt_in_one_pass_a_step() -> None:
    plan = TrainingPlan(epochs=30, batch_size=8, learning_rate=0.03, seed=3)
    student = TwoStage()
    state = TrainingState.start(student, plan)
    history = [*iterate_epochs(state, plan, Objective("rkd"), TRAIN, VALIDATION, teacher_logits=TEACHER)]
    assert student.passes == 30 * 5
    assert history[-1]["distillation_loss"] < 0.6 * history[0]["distillation_loss"]
    assert history[-1]["validation_accuracy"] > 0.8


def test_the_annealed_temperature_reaches_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    real = LOSSES["kd"]

    def watch(*arguments: torch.Tensor, temperature: float, **others: float) -> LossParts:
        seen.append(temperature)
        return real(*arguments, temperature=temperature, **others)

    monkeypatch.setitem(LOSSES, "kd", watch)
    state = TrainingState.start(make_student(), PLAN)
    list(
        iterate_epochs(
            state, PLAN, Objective("kd", 6.0, temperature_end=1.5), TRAIN, VALIDATION, teacher_logits=TEACHER
        )
    )
    steps = PLAN.epochs * 5
    assert seen == pytest.approx([6 * 0.25 ** (step / (steps - 1)) for step in range(steps)])
