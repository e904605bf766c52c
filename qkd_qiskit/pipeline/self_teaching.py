"""Teachers that are students themselves, trained first and kept in the teachers' cache.

`build_self_teacher`: the same student, trained with the labels alone from other initial weights. Furlanello et al.,
"Born-again neural networks", arXiv 1805.04770. As a control it tells what a gain owes to a better teacher, and what to
soft targets as such.

`build_twin`: the same student with the same seed, distilled as it is but without noise: what it would be on a perfect
device, and so within reach of what its circuit can say.
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
from qkd_qiskit.config import LARGEST_SEED, BackendSettings, Settings, TrainingSettings
from qkd_qiskit.distillation.checkpoints import name_weights, restore_student
from qkd_qiskit.distillation.losses import Objective
from qkd_qiskit.distillation.training import TrainingPlan, device_of, train_to_best
from qkd_qiskit.exceptions import DataError, RunError
from qkd_qiskit.execution.compilation import CompiledCircuit, digest_circuit
from qkd_qiskit.execution.devices import Place, open_simulator
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.placing import PlacedStudent, place_student
from qkd_qiskit.quantum.student import QuantumStudent

CACHE_FORMAT = 2
"""Goes up whenever training gives other weights for the same settings."""
IRRELEVANT = {"probe", "device", "recalibrate"}
"""Settings of the training loop that don't change the weights, but for the kind of device."""
NOISY = {"noise_scales", "injection", "angle_injection"}
"""Settings of the training loop that a twin, trained without noise, doesn't have."""


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
    return _fetch(
        _place(settings, dataset, placed, seed, placed.place, placed.compilation, settings.training),
        replace(plan, seed=seed),
        Objective("ce"),
        None,
        dataset,
        _identify(settings, dataset, placed, seed),
        listener,
    )


def build_twin(
    settings: Settings,
    dataset: Dataset,
    placed: PlacedStudent,
    plan: TrainingPlan,
    objective: Objective,
    teacher: Teacher,
    listener: Listener,
) -> Teacher:
    """Train a student's noiseless twin, or read it from the cache.

    Args:
        settings: of the student.
        dataset: its `train` and `validation` images.
        placed: the student; left as it is.
        plan: how the student is trained, and so its twin.
        objective: the student's loss, and so its twin's.
        teacher: whom the twin learns from.
        listener: follows along.

    Raises:
        QkdError: the training fails.
    """
    place = open_simulator(BackendSettings(name="aer", kind="aer"), placed.logical.circuit.num_qubits)
    compiled = place.compile(placed.logical) if placed.compilation else None
    identity = {
        **_identify(settings, dataset, placed, settings.seed),
        "architecture": "twin",
        "training": settings.training.model_dump(mode="json", exclude=IRRELEVANT | NOISY),
        "backend": None,
        "circuit": digest_circuit(placed.logical),
        "loss": objective.describe(),
        "teacher": teacher.digest,
    }
    return _fetch(
        _place(settings, dataset, placed, settings.seed, place, compiled, None),
        plan,
        objective,
        teacher,
        dataset,
        identity,
        listener,
    )


def _place(
    settings: Settings,
    dataset: Dataset,
    placed: PlacedStudent,
    seed: int,
    place: Place,
    compiled: CompiledCircuit | None,
    training: TrainingSettings | None,
) -> QuantumStudent:
    """Build the student anew with fresh weights."""
    return place_student(
        placed.student.blueprint,
        placed.logical,
        compiled,
        place,
        dataset.classes,
        engine=settings.training.engine,
        device=settings.training.device,
        seed=seed,
        training=training,
    ).student


def _fetch(
    own: QuantumStudent,
    plan: TrainingPlan,
    objective: Objective,
    teacher: Teacher | None,
    dataset: Dataset,
    identity: dict[str, Any],
    listener: Listener,
) -> Teacher:
    """Read the student of this identity from the cache, or train it."""
    name, device = identity["architecture"], str(device_of(own))

    def train() -> TrainedTeacher:
        began = time.monotonic()
        fit_reduction(own.features, dataset.train.pixels)
        _, best = train_to_best(
            own,
            plan,
            objective,
            dataset.train,
            dataset.validation,
            teacher_logits=teacher.logits(dataset.train) if teacher else None,
            follow=lambda facts: listener.progress(f"teacher {name}", facts["epoch"], plan.epochs),
        )
        counts = best["validation_correct"], best["validation_samples"]
        return TrainedTeacher(own.eval(), best["epoch"], *counts, time.monotonic() - began)

    folder = locate_cache(None) / "teachers"
    network = fetch_teacher(folder, identity, train, read=lambda path: _read(path, own), write=_write)
    return Teacher(name, name, network, cache_folder=folder, device=device)


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
