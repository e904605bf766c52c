"""Time one epoch over 60,000 images with the quantum layer and with a linear one: `python benchmarks/epoch.py`.

The loop is the one that `train` runs (`qkd_qiskit.distillation.training`): the default 4-qubit `qnn` student on
`aer_noisy`, distilled with the `kd` loss from random teacher logits. The control is the same student with its quantum
layer replaced by a linear one of the same shape. Epochs of both take turns in one process; medians are compared. Images
are MNIST's from the folder in QKD_DATA_DIR; without it the digits are repeated.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
from collections.abc import Iterator
from typing import Any

import torch

import qkd_qiskit as qkd
from qkd_qiskit.classical.images import Dataset, Images
from qkd_qiskit.distillation.losses import Objective
from qkd_qiskit.distillation.training import TrainingPlan, TrainingState, iterate_epochs
from qkd_qiskit.threads import torch_threads

IMAGES = 60_000
AIM = 3.0


def load_images(count: int) -> tuple[str, Dataset, Images]:
    """Return what the images are, their data set and `count` of them."""
    found = bool(os.environ.get("QKD_DATA_DIR"))
    dataset = qkd.load_dataset("mnist" if found else "digits", download=False)
    parts = (dataset.train, dataset.validation)
    every = Images(torch.cat([part.pixels for part in parts]), torch.cat([part.labels for part in parts]))
    name = "MNIST's training images" if len(every) >= count else f"{len(every):,} digits, repeated (no QKD_DATA_DIR)"
    return name, dataset, every.take(torch.arange(count) % len(every))


def swap_quantum_layer(student: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of the student with a linear layer of the quantum layer's shape in its place."""
    control = copy.deepcopy(student)
    circuit = control.circuit
    control.quantum = torch.nn.Linear(len(circuit.input_params), len(circuit.observables))
    return control


def epochs_of(student: torch.nn.Module, images: Images, logits: torch.Tensor, batch: int) -> Iterator[dict[str, Any]]:
    """Train for ever, an epoch each time it is asked; `seconds` leave the validation out."""
    plan = TrainingPlan(epochs=1_000, batch_size=batch, learning_rate=0.01)
    state = TrainingState.start(student, plan)
    few = images.take(range(16))
    return iterate_epochs(state, plan, Objective("kd"), images, few, teacher_logits=logits)


def compare(placed: Any, images: Images, batch: int, repeats: int, warm: Images) -> tuple[list[float], list[float]]:
    """Return the seconds of epochs with the quantum layer and with the linear one, in turns."""
    logits = torch.randn(len(images), placed.student.blueprint.num_classes)
    students = [copy.deepcopy(placed.student), swap_quantum_layer(placed.student)]
    for student in students:
        next(epochs_of(copy.deepcopy(student), warm, logits[: len(warm)], batch))
    runs = [epochs_of(student, images, logits, batch) for student in students]
    seconds: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats):
        for which in (0, 1) if repeat % 2 else (1, 0):
            seconds[which].append(next(runs[which])["seconds"])
    return seconds


def main() -> None:
    """Print one line for each batch size and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", nargs="*", type=int, default=[256, 32], help="32 is the default of `train`")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--threads", type=int, default=1, help="torch's threads; `train` uses 1")
    options = parser.parse_args()
    name, dataset, images = load_images(options.images)
    placed = qkd.build_student(dataset, backend="aer_noisy")
    print(f"{options.images:,} images ({name}), medians of {options.repeats} epochs in turns, ", end="")
    print(f"{options.threads} thread(s), load {os.getloadavg()[0]:.1f}. Seconds an epoch: median (minimum).\n")
    print("| batch | quantum layer | linear layer | ratio | aim | a sample, quantum less linear |")
    print("|---|---|---|---|---|---|", flush=True)
    for batch in options.batches:
        with torch_threads(options.threads):
            quantum, linear = compare(placed, images, batch, options.repeats, images.take(range(20 * batch)))
        medians = [statistics.median(seconds) for seconds in (quantum, linear)]
        extra = (medians[0] - medians[1]) / options.images * 1e6
        cells = [f"{median:.2f} ({min(all_):.2f})" for median, all_ in zip(medians, (quantum, linear))]
        ratio = f"{medians[0] / medians[1]:.2f}"
        print(f"| {batch} | {cells[0]} | {cells[1]} | {ratio} | under {AIM:g} | {extra:.1f} us |", flush=True)


if __name__ == "__main__":
    main()
