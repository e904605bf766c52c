"""Train a teacher: cross-entropy, AdamW, one-cycle learning rate, best epoch by validation.

Images are moved by a pixel in the first epochs and left alone in the last ones. For LeNet in 12 epochs this gave 99.2 %
on MNIST and 87.2 % on Fashion-MNIST 0-7; never moved 99.0 and 87.8 %, always moved 99.2 and 86.9 % (one seed each).
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from qkd_qiskit.classical.images import Dataset, Images
from qkd_qiskit.classical.teacher_networks import build_initial
from qkd_qiskit.threads import torch_threads

Progress = Callable[[dict[str, Any]], None]
EVALUATION_BATCH = 1000
LARGE = 1_000_000
"""Weights from which on AdamW is one fused loop over memory: AlexNet's 94 million take 0.1 s a step instead of 1 s."""


@dataclass(frozen=True)
class TeacherTraining:
    """Everything that decides a teacher's weights besides its architecture and its images.

    Attributes:
        epochs: passes over the training split.
        batch_size: images a step.
        learning_rate: highest learning rate of the one-cycle schedule.
        seed: decides initial weights, order and shifts.
        weight_decay: AdamW's.
        max_shift: each batch is moved by up to so many pixels in both directions; 0 leaves it where it is.
        shifted_share: share of the epochs, from the first on, in which batches are moved.
        threads: of torch; they decide how sums are rounded.
        stop_epoch: stop after this epoch and take its weights, the schedule being that of all `epochs`: a teacher that
            is not trained to the end may teach better (Cho and Hariharan, arXiv 1910.01348). `None`: the best epoch's.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    weight_decay: float = 0.05
    max_shift: int = 1
    shifted_share: float = 0.75
    threads: int = 1
    stop_epoch: int | None = None


@dataclass(frozen=True)
class TrainedTeacher:
    """What a training gives: the network with the weights of its best (or last) epoch, and the counts that chose it."""

    network: nn.Module
    best_epoch: int
    validation_correct: int
    validation_total: int
    seconds: float


def train_teacher(
    architecture: str,
    dataset: Dataset,
    training: TeacherTraining,
    *,
    progress: Progress | None = None,
    device: str = "cpu",
) -> TrainedTeacher:
    """Train on the whole training split and keep the epoch that is best on the validation split.

    Args:
        architecture: one of `TEACHERS`.
        dataset: gives `teacher_train` and the validation images.
        training: the hyper-parameters.
        progress: called after each epoch with stage, epoch, epochs, loss, validation_accuracy and seconds.
        device: where to train; the weights come back to the CPU.

    Returns:
        The trained network in evaluation mode, on the CPU. The last of equally good epochs is kept, or `stop_epoch`.
    """
    with torch_threads(training.threads):
        return _train(architecture, dataset, training, progress, device)


def _train(
    architecture: str, dataset: Dataset, training: TeacherTraining, progress: Progress | None, device: str
) -> TrainedTeacher:
    network = build_initial(architecture, dataset.num_classes, dataset.image_shape, seed=training.seed).to(device)
    validation = dataset.teacher_validation or dataset.validation
    best_epoch, best_correct, best_weights = 0, -1, network.state_dict()
    start = time.monotonic()
    for epoch, loss in enumerate(_run_epochs(network, dataset.teacher_train, training, device), start=1):
        correct = int((compute_logits(network, validation, device).argmax(1) == validation.labels).sum())
        if correct >= best_correct or epoch == training.stop_epoch:
            best_epoch, best_correct = epoch, correct
            best_weights = copy.deepcopy(network.state_dict())
        if progress is not None:
            progress(
                {
                    "stage": "teacher",
                    "epoch": epoch,
                    "epochs": training.stop_epoch or training.epochs,
                    "loss": loss,
                    "validation_accuracy": correct / len(validation),
                    "seconds": time.monotonic() - start,
                }
            )
        if epoch == training.stop_epoch:
            break
    network.load_state_dict(best_weights)
    network = network.to("cpu").eval()
    return TrainedTeacher(network, best_epoch, best_correct, len(validation), time.monotonic() - start)


def compute_logits(network: nn.Module, images: Images, device: str = "cpu") -> torch.Tensor:
    """Return float32 logits of shape (N, K), on the CPU, computed in batches without gradients."""
    network.eval()
    with torch.inference_mode():
        batches = [network(pixels.to(device)).float().cpu() for pixels in images.pixels.split(EVALUATION_BATCH)]
    return torch.cat(batches).clone()


def _run_epochs(network: nn.Module, images: Images, training: TeacherTraining, device: str) -> Iterator[float]:
    """Train; yield the mean loss of each epoch."""
    generator = torch.Generator().manual_seed(training.seed)
    steps = -(-len(images) // training.batch_size)
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=training.learning_rate,
        weight_decay=training.weight_decay,
        fused=sum(parameter.numel() for parameter in network.parameters()) >= LARGE or None,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=training.learning_rate, total_steps=training.epochs * steps
    )
    for epoch in range(training.epochs):
        max_shift = training.max_shift if epoch < training.shifted_share * training.epochs else 0
        network.train()
        total = 0.0
        for chosen in torch.randperm(len(images), generator=generator).split(training.batch_size):
            pixels = shift_images(images.pixels[chosen], max_shift, generator)
            loss = nn.functional.cross_entropy(network(pixels.to(device)), images.labels[chosen].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        yield total / len(images)


def shift_images(pixels: torch.Tensor, max_shift: int, generator: torch.Generator) -> torch.Tensor:
    """Move a whole batch by a random number of pixels, the same for all its images; zeros come in at the edges.

    Args:
        pixels: (N, C, H, W).
        max_shift: the most that is moved, in each of the two directions.
        generator: decides how far.

    Returns:
        Pixels of the same shape.
    """
    if max_shift == 0:
        return pixels
    down, right = torch.randint(0, 2 * max_shift + 1, (2,), generator=generator).tolist()
    height, width = pixels.shape[2:]
    padded = nn.functional.pad(pixels, [max_shift] * 4)
    return padded[:, :, down : down + height, right : right + width]
