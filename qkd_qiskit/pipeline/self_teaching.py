"""Self-distillation: the teacher is the same student, trained first with the labels alone from other initial weights.

Furlanello et al., "Born-again neural networks", arXiv 1805.04770. As a control it tells what a gain owes to a better
teacher, and what to soft targets as such.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import nn

from qkd_qiskit.classical.cache_folder import locate_cache, write_whole
from qkd_qiskit.classical.images import Dataset
from qkd_qiskit.classical.reduction import fit_reduction
from qkd_qiskit.classical.teacher_cache import fetch_teacher
from qkd_qiskit.classical.teacher_training import TrainedTeacher
from qkd_qiskit.classical.teachers import Teacher
from qkd_qiskit.config import LARGEST_SEED, Settings
from qkd_qiskit.distillation.checkpoints import name_weights, restore_student
from qkd_qiskit.distillation.losses import Objective
from qkd_qiskit.distillation.training import TrainingPlan, train_to_best
from qkd_qiskit.exceptions import DataError, RunError
from qkd_qiskit.execution.compilation import digest_circuit
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.placing import PlacedStudent, place_student

CACHE_FORMAT = 1
"""Goes up whenever training gives other weights for the same settings."""
IRRELEVANT = {"probe", "device"}
"""Settings of the training loop that don't change the weights, but for the kind of device."""


def build_self_teacher(
    settings: Settings, dataset: Dataset, placed: PlacedStudent, plan: TrainingPlan, listener: Listener
) -> Teacher:
    """Train a student's own teacher, or read it from the cache.

    Args:
        settings: of the student.
        dataset: its `train` and `validation` images.
        placed: the student; left as it is.
        plan: how the student is trained, and so its teacher.
        listener: follows along.

    Raises:
        QkdError: the training fails.
    """
    seed = other_seed(settings)
    own = place_student(
        placed.student.blueprint,
        placed.logical,
        placed.compilation,
        placed.place,
        dataset.classes,
        engine=settings.training.engine,
        device=settings.training.device,
        seed=seed,
    ).student

    def train() -> TrainedTeacher:
        began = time.monotonic()
        fit_reduction(own.features, dataset.train.pixels)
        _, best = train_to_best(
            own,
            replace(plan, seed=seed),
            Objective("ce"),
            dataset.train,
            dataset.validation,
            follow=lambda facts: listener.progress("teacher self", facts["epoch"], plan.epochs),
        )
        counts = best["validation_correct"], best["validation_samples"]
        return TrainedTeacher(own.eval(), best["epoch"], *counts, time.monotonic() - began)

    folder = locate_cache(None) / "teachers"
    identity = _identify(settings, dataset, placed, seed)
    network = fetch_teacher(folder, identity, train, read=lambda path: _read(path, own), write=_write)
    return Teacher("self", "self", network, cache_folder=folder, device=settings.training.device)


def other_seed(settings: Settings) -> int:
    """Return a seed that is never the student's own."""
    return (settings.seed + 1_000_003 * (settings.teacher.seed + 1)) % LARGEST_SEED


def _identify(settings: Settings, dataset: Dataset, placed: PlacedStudent, seed: int) -> dict[str, Any]:
    """Return all that the weights depend on."""
    return {
        "format": CACHE_FORMAT,
        "architecture": "self",
        "classes": list(dataset.classes),
        "image_shape": list(dataset.image_shape),
        "train": dataset.train.digest,
        "validation": dataset.validation.digest,
        "student": settings.student.model_dump(mode="json"),
        "training": settings.training.model_dump(mode="json", exclude=IRRELEVANT),
        "device": settings.training.device.partition(":")[0],
        "backend": settings.backend.model_dump(mode="json", exclude={"description", "name"}),
        "circuit": digest_circuit(placed.compilation.isa) if placed.compilation else None,
        "seed": seed,
    }


def _read(path: Path, student: nn.Module) -> nn.Module:
    try:
        weights = safetensors.torch.load_file(path)
        restore_student(student, {f"student.{name}": weight for name, weight in weights.items()}, path)
    except (safetensors.SafetensorError, RunError) as error:
        raise DataError(str(error)) from error
    return student.eval()


def _write(path: Path, student: nn.Module) -> str:
    weights = {name: weight.detach().cpu().contiguous() for name, weight in name_weights(student).items()}
    content = safetensors.torch.save(weights)
    write_whole(path, content)
    return hashlib.sha256(content).hexdigest()
