from typing import Any

import pytest
import torch
from torch import nn

from qkd_qiskit.classical import teacher_training
from qkd_qiskit.classical.images import Dataset
from qkd_qiskit.classical.teacher_training import TeacherTraining, compute_logits, shift_images, train_teacher

SETTINGS = TeacherTraining(epochs=6, batch_size=8, learning_rate=5e-3, seed=3)


def weights(network: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(network.parameters()).detach()


def test_seed_decides_everything_and_the_global_generator_is_not_touched(tiny: Dataset) -> None:
    state = torch.random.get_rng_state()
    first = train_teacher("lenet", tiny, SETTINGS)
    torch.rand(3)
    again = train_teacher("lenet", tiny, SETTINGS)
    torch.random.set_rng_state(state)
    train_teacher("lenet", tiny, SETTINGS)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(weights(first.network), weights(again.network))
    other = train_teacher("lenet", tiny, TeacherTraining(epochs=6, batch_size=8, learning_rate=5e-3, seed=4))
    assert not torch.equal(weights(first.network), weights(other.network))


def test_progress_and_learning(tiny: Dataset) -> None:
    events: list[dict[str, Any]] = []
    trained = train_teacher("lenet", tiny, SETTINGS, progress=events.append)
    assert [event["epoch"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert set(events[0]) == {"stage", "epoch", "epochs", "loss", "validation_accuracy", "seconds"}
    assert events[0]["stage"] == "teacher"
    assert events[-1]["loss"] < events[0]["loss"]
    assert (trained.validation_correct, trained.validation_total) == (8, 8)
    assert not trained.network.training


def test_weights_of_the_best_epoch_are_kept(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The validation images decide: epoch 2 is made the best, then the last weights must not be the kept ones."""
    seen: list[torch.Tensor] = []
    scores = iter([3, 8, 5, 4, 8, 7])

    def pretend(network: nn.Module, images: Any, device: str) -> torch.Tensor:
        seen.append(weights(network).clone())
        logits = nn.functional.one_hot(images.labels, 2).float()
        logits[next(scores) :] *= -1  # so many right, the others wrong
        return logits

    monkeypatch.setattr(teacher_training, "compute_logits", pretend)
    trained = train_teacher("lenet", tiny, SETTINGS)
    assert (trained.best_epoch, trained.validation_correct) == (5, 8)  # the later of two equally good ones
    assert torch.equal(weights(trained.network), seen[4])
    assert not torch.equal(seen[4], seen[5])


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_few_steps_are_enough_for_the_schedule(tiny: Dataset, steps: int) -> None:
    network = train_teacher(
        "lenet", tiny, TeacherTraining(epochs=steps, batch_size=24, learning_rate=1e-3, seed=0)
    ).network
    assert bool(torch.isfinite(weights(network)).all())


def test_teacher_validation_goes_before_validation(tiny: Dataset) -> None:
    both = Dataset("tiny", (0, 1), tiny.train, tiny.train, tiny.validation.take([0]), tiny.test, tiny.validation)
    assert train_teacher("lenet", both, SETTINGS).validation_total == 8


def test_ensemble_is_trained_jointly(tiny: Dataset) -> None:
    settings = TeacherTraining(epochs=1, batch_size=12, learning_rate=1e-3, seed=0)
    start = teacher_training.build_initial("ensemble", 2, (1, 16, 16), seed=0).state_dict()
    end = train_teacher("ensemble", tiny, settings).network.state_dict()
    for member in ("lenet", "alexnet"):
        name = f"{member}.features.0.weight"
        assert not torch.equal(start[name], end[name])


def test_logits_in_batches_are_those_at_once(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    network = teacher_training.build_initial("lenet", 2, (1, 16, 16), seed=0)
    at_once = compute_logits(network, tiny.train)
    monkeypatch.setattr(teacher_training, "EVALUATION_BATCH", 7)
    assert torch.allclose(compute_logits(network, tiny.train), at_once, atol=1e-6)
    assert at_once.dtype == torch.float32
    assert not at_once.requires_grad


def test_last_epochs_see_images_as_they_are(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    shifts: list[int] = []

    def count(pixels: torch.Tensor, max_shift: int, generator: torch.Generator) -> torch.Tensor:
        shifts.append(max_shift)
        return pixels

    monkeypatch.setattr(teacher_training, "shift_images", count)
    train_teacher("lenet", tiny, TeacherTraining(epochs=4, batch_size=24, learning_rate=1e-3, seed=0))
    assert shifts == [1, 1, 1, 0]


def test_shift_moves_whole_images_by_at_most_so_much() -> None:
    pixels = torch.zeros(2, 1, 5, 5)
    pixels[:, :, 2, 2] = 1
    generator = torch.Generator().manual_seed(0)
    places = set()
    for _ in range(200):
        moved = shift_images(pixels, 1, generator)
        assert moved.shape == pixels.shape
        assert torch.equal(moved[0], moved[1])
        places.add(tuple(moved[0, 0].nonzero()[0].tolist()))
    assert places == {(row, column) for row in (1, 2, 3) for column in (1, 2, 3)}
    assert shift_images(pixels, 0, generator) is pixels
