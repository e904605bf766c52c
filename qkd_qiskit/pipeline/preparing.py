"""What comes before training: images, teacher, compiled circuit, student; and a record of them all."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from qkd_qiskit.classical.augmentation import Augmentation
from qkd_qiskit.classical.datasets import load_dataset
from qkd_qiskit.classical.images import Dataset, Images
from qkd_qiskit.classical.reduction import fit_reduction
from qkd_qiskit.classical.teachers import Teacher, build_teacher
from qkd_qiskit.config import Settings
from qkd_qiskit.distillation.losses import Objective
from qkd_qiskit.distillation.recalibration import mix_soft_labels
from qkd_qiskit.distillation.training import TrainingPlan
from qkd_qiskit.exceptions import RunError
from qkd_qiskit.execution.circuit_files import load_circuits, save_circuits
from qkd_qiskit.execution.compilation import CompiledCircuit
from qkd_qiskit.execution.devices import Place
from qkd_qiskit.files import digest_of_file, read_json, write_json
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.memory import remember
from qkd_qiskit.pipeline.placing import PlacedStudent, make_blueprint, open_training_place, place_student
from qkd_qiskit.pipeline.recalibrating import check_count
from qkd_qiskit.pipeline.self_teaching import build_self_teacher, build_twin
from qkd_qiskit.quantum.circuit import StudentCircuit
from qkd_qiskit.quantum.student import StudentBlueprint
from qkd_qiskit.runs import CHART, RunDirectory, describe_environment
from qkd_qiskit.threads import torch_threads


@dataclass(frozen=True)
class Prepared:
    """What a training run needs once everything is loaded and built."""

    dataset: Dataset
    teacher: Teacher | None
    teacher_logits: torch.Tensor | None
    placed: PlacedStudent
    objective: Objective
    plan: TrainingPlan


def prepare(run: RunDirectory, settings: Settings, listener: Listener) -> Prepared:
    """Load and build everything a training run needs; a run that has a checkpoint keeps the circuit it has.

    Raises:
        QkdError: whatever a stage raises.
    """
    dataset = load_data(settings, listener)
    if settings.training.recalibrate:
        check_count(settings.training.recalibrate, dataset)
    blueprint = make_blueprint(settings.student, dataset)
    place = open_training_place(settings.backend, settings.student.qubits)
    logical, compiled = _compile(run, blueprint, place)
    placed = place_student(
        blueprint,
        logical,
        compiled,
        place,
        dataset.classes,
        engine=settings.training.engine,
        device=settings.training.device,
        seed=settings.seed,
        training=settings.training,
    )
    fit_reduction(placed.student.features, dataset.train.pixels)
    circuit = "no circuit, a classical control"
    if compiled:
        circuit = (
            f"{'frozen ' if blueprint.layer == 'frozen' else ''}circuit for {compiled.device or 'an ideal simulator'}: "
            f"depth {compiled.metrics.depth}, {compiled.metrics.two_qubit_gates} two-qubit gates"
        )
    listener.say(
        f"student: {blueprint.kind}, {blueprint.num_qubits} qubits, weights {placed.student.num_weights()}; {circuit}"
    )
    objective = replace(make_objective(settings), num_classes=dataset.num_classes)
    teacher = _load_teacher(settings, dataset, placed, listener) if objective.needs_teacher else None
    logits = teacher.logits(dataset.train) if teacher else None
    if teacher and settings.distillation.twin:
        logits = _ask_both(settings, dataset, placed, objective, teacher, listener)
    return Prepared(dataset, teacher, logits, placed, objective, make_plan(settings))


def _ask_both(
    settings: Settings,
    dataset: Dataset,
    placed: PlacedStudent,
    objective: Objective,
    teacher: Teacher,
    listener: Listener,
) -> torch.Tensor:
    """Mix the soft labels of the teacher and of the student's noiseless twin, at the loss's first temperature."""
    twin = build_twin(settings, dataset, placed, make_plan(settings), objective, teacher, listener)
    correct, total = twin.accuracy(dataset.test)
    listener.say(f"second teacher: the student's noiseless twin, test accuracy {correct / total:.2%}")
    logits, weight = teacher.logits(dataset.train), settings.distillation.twin
    own = twin.logits(dataset.train)[:, : logits.shape[1]]
    return mix_soft_labels((logits, own), (1 - weight, weight), objective.constants.get("temperature", 1.0))


def _compile(
    run: RunDirectory, blueprint: StudentBlueprint, place: Place
) -> tuple[StudentCircuit, CompiledCircuit | None]:
    """Compile the student's circuit, or read the one that the run has; a classical control has none."""
    if not blueprint.has_circuit:
        return blueprint.build_circuit(), None
    if run.last.exists() or run.best.exists():
        return load_circuits(run.circuits, blueprint.build_circuit())
    logical, compiled = compile_blueprint(blueprint, place)
    save_circuits(run.circuits, logical, compiled)
    return logical, compiled


def make_objective(settings: Settings) -> Objective:
    """Turn settings into a loss.

    Raises:
        ConfigurationError: it is unknown, or a constant is not one of its own or out of range.
    """
    return Objective(settings.loss, **settings.constants)  # type: ignore[arg-type]


def compile_blueprint(blueprint: StudentBlueprint, place: Place) -> tuple[StudentCircuit, CompiledCircuit]:
    """Build a student's circuit and compile it for a place; neither depends on weights, noise or shots.

    Raises:
        BackendError: the circuit doesn't fit the device.
    """
    chosen = place.settings
    asked = (place.device, Path(chosen.source).name, chosen.layouts, chosen.optimization_level, chosen.transpile_seed)

    def compile_anew() -> tuple[StudentCircuit, CompiledCircuit]:
        logical = blueprint.build_circuit()
        return logical, place.compile(logical)

    return remember("circuit", (blueprint, *asked), compile_anew)


def prepare_teacher(settings: Settings, listener: Listener) -> None:
    """Train a run's teacher and compute its logits, unless the cache has them: students may then start side by side.

    A run that teaches itself (`self`) is left alone: no other run shares its teacher.

    Raises:
        ConfigurationError: a name is unknown.
        DataError: images or a teacher's file are missing or damaged.
    """
    if settings.teacher.name == "self" or not make_objective(settings).needs_teacher:
        return
    with torch_threads(settings.training.threads):
        dataset = load_data(settings, listener)
        teacher = _build_named_teacher(settings, dataset, listener)
        teacher.accuracy(dataset.test)
        teacher.logits(dataset.train)


def make_plan(settings: Settings) -> TrainingPlan:
    """Turn settings into a training plan."""
    training = settings.training
    return TrainingPlan(
        epochs=training.epochs,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        schedule=training.schedule,
        clip=training.clip,
        weight_decay=training.weight_decay,
        seed=settings.seed,
    )


def load_data(settings: Settings, listener: Listener) -> Dataset:
    """Load the images of a run.

    Raises:
        ConfigurationError: the data set or a class is unknown.
        DataError: files are missing or damaged.
    """
    data = settings.data
    seed = settings.seed if data.split_seed is None else data.split_seed
    dataset = remember(
        "data",
        (data, seed, settings.teacher.train_per_class, os.environ.get("QKD_DATA_DIR")),
        lambda: load_dataset(
            data.dataset,
            classes=data.classes,
            train_per_class=data.train_per_class,
            teacher_per_class=settings.teacher.train_per_class,
            validation_per_class=data.validation_per_class,
            test_per_class=data.test_per_class,
            validation_fraction=data.validation_fraction,
            augmentation=Augmentation(**data.augment.model_dump()),
            seed=seed,
            data_dir=data.data_dir,
        ),
    )
    sizes = ", ".join(f"{len(part)} {name}" for name, part in _parts(dataset).items())
    listener.say(f"data: {dataset.name}, {dataset.num_classes} classes, {sizes}")
    fewest = int(dataset.train.labels.bincount().min()) // (1 + data.augment.copies)
    if data.train_per_class and fewest < data.train_per_class:
        listener.say(
            f"data: {data.train_per_class} training images a class were asked for; after validation {fewest} are left "
            "of the rarest class, and all of them are taken"
        )
    return dataset


def _parts(dataset: Dataset) -> dict[str, Images]:
    return {"training": dataset.train, "validation": dataset.validation, "test": dataset.test}


def _load_teacher(settings: Settings, dataset: Dataset, placed: PlacedStudent, listener: Listener) -> Teacher:
    if settings.teacher.name == "self":
        teacher = build_self_teacher(settings, dataset, placed, make_plan(settings), listener)
    else:
        teacher = _build_named_teacher(settings, dataset, listener)
    correct, total = teacher.accuracy(dataset.test)
    listener.say(f"teacher: {teacher.name}, {teacher.num_parameters:,} weights, test accuracy {correct / total:.2%}")
    return teacher


def _build_named_teacher(settings: Settings, dataset: Dataset, listener: Listener) -> Teacher:
    chosen = settings.teacher

    def heard(event: dict[str, Any]) -> None:
        listener.progress(f"teacher {chosen.name}", event["epoch"], event["epochs"])

    return remember(
        "teacher",
        (chosen, dataset, torch.get_num_threads(), os.environ.get("QKD_CACHE_DIR")),
        lambda: build_teacher(
            chosen.name,
            dataset,
            epochs=chosen.epochs,
            stop_epoch=chosen.stop_epoch,
            batch_size=chosen.batch_size,
            learning_rate=chosen.learning_rate,
            seed=chosen.seed,
            progress=heard,
        ),
    )


def record_environment(
    run: RunDirectory, settings: Settings, prepared: Prepared, difference: float | None
) -> list[str]:
    """Write `environment.json`, or compare with the one there: a resumed run must be the run it was.

    Returns:
        What is different but may be (versions, threads, calibration), in words.

    Raises:
        RunError: settings, images, teacher or circuit are others than when the run began.
    """
    placed, compiled = prepared.placed, prepared.placed.compilation
    now = describe_environment(
        threads=torch.get_num_threads(),
        seed=settings.seed,
        settings_sha256=settings.identity,
        teacher_sha256=prepared.teacher.digest if prepared.teacher else None,
        images_sha256={name: part.digest for name, part in _parts(prepared.dataset).items()},
        circuit={**compiled.describe(), "qpy_sha256": digest_of_file(run.circuits)} if compiled else None,
        calibration=placed.place.calibration(compiled.physical_qubits if compiled else ()),
        largest_difference_from_aer=difference,
    )
    path = run.path / "environment.json"
    if not path.exists() or not (run.last.exists() or run.best.exists()):
        write_json(path, now)
        write_json(run.path / CHART, placed.place.chart())
        return []
    before = read_json(path)
    for key, what in MUST_STAY.items():
        if before.get(key) != now[key]:
            raise RunError(f"{what} of {run} changed since it began; put it back as it was, or train anew with --out")
    changes = [f"{key} was {before.get(key)}, is {now[key]}" for key in MAY_CHANGE if before.get(key) != now[key]]
    if changes:
        write_json(path, {**before, "resumed": [*before.get("resumed", []), {key: now[key] for key in MAY_CHANGE}]})
    return changes


MUST_STAY = {
    "settings_sha256": "config.json",
    "images_sha256": "the images",
    "teacher_sha256": "the teacher",
    "circuit": "the circuit (student.qpy, student.json)",
}
"""Facts of `environment.json` that a resumed run must find unchanged, and what they stand for."""
MAY_CHANGE = ("versions", "python", "platform", "threads", "calibration")
"""Facts that may change; then the rest of the training is not bit-equal to an unbroken run."""
