"""What comes before training: images, teacher, compiled circuit, student; and a record of them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from qkd_qiskit.classical.datasets import load_dataset
from qkd_qiskit.classical.images import Dataset, Images
from qkd_qiskit.classical.teachers import Teacher, build_teacher
from qkd_qiskit.config import Settings
from qkd_qiskit.distillation.losses import Objective
from qkd_qiskit.distillation.training import TrainingPlan
from qkd_qiskit.exceptions import RunError
from qkd_qiskit.execution.circuit_files import load_circuits, save_circuits
from qkd_qiskit.files import digest_of_file, read_json, write_json
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.placing import PlacedStudent, make_blueprint, open_training_place, place_student
from qkd_qiskit.runs import CHART, RunDirectory, describe_environment


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
    blueprint = make_blueprint(settings.student, dataset)
    place = open_training_place(settings.backend, settings.student.qubits)
    if run.last.exists() or run.best.exists():
        logical, compiled = load_circuits(run.circuits, blueprint.build_circuit())
    else:
        logical = blueprint.build_circuit()
        compiled = place.compile(logical)
        save_circuits(run.circuits, logical, compiled)
    placed = place_student(
        blueprint,
        logical,
        compiled,
        place,
        dataset.classes,
        engine=settings.training.engine,
        device=settings.training.device,
        seed=settings.seed,
    )
    metrics = compiled.metrics
    listener.say(
        f"student: {blueprint.kind}, {blueprint.num_qubits} qubits, weights {placed.student.num_weights()}; "
        f"circuit for {compiled.device or 'an ideal simulator'}: depth {metrics.depth}, "
        f"{metrics.two_qubit_gates} two-qubit gates"
    )
    teacher, logits = _load_teacher(settings, dataset, listener)
    objective = Objective(settings.loss, settings.distillation.temperature, settings.distillation.alpha)
    return Prepared(dataset, teacher, logits, placed, objective, make_plan(settings))


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
    dataset = load_dataset(
        data.dataset,
        classes=data.classes,
        train_per_class=data.train_per_class,
        validation_per_class=data.validation_per_class,
        test_per_class=data.test_per_class,
        validation_fraction=data.validation_fraction,
        seed=settings.seed if data.split_seed is None else data.split_seed,
        data_dir=data.data_dir,
    )
    sizes = ", ".join(f"{len(part)} {name}" for name, part in _parts(dataset).items())
    listener.say(f"data: {dataset.name}, {dataset.num_classes} classes, {sizes}")
    return dataset


def _parts(dataset: Dataset) -> dict[str, Images]:
    return {"training": dataset.train, "validation": dataset.validation, "test": dataset.test}


def _load_teacher(
    settings: Settings, dataset: Dataset, listener: Listener
) -> tuple[Teacher | None, torch.Tensor | None]:
    if settings.loss == "ce":
        return None, None
    chosen = settings.teacher

    def heard(event: dict[str, Any]) -> None:
        listener.progress(f"teacher {chosen.name}", event["epoch"], event["epochs"])

    teacher = build_teacher(
        chosen.name,
        dataset,
        epochs=chosen.epochs,
        batch_size=chosen.batch_size,
        learning_rate=chosen.learning_rate,
        seed=chosen.seed,
        progress=heard,
    )
    correct, total = teacher.accuracy(dataset.test)
    listener.say(f"teacher: {teacher.name}, {teacher.num_parameters:,} weights, test accuracy {correct / total:.2%}")
    return teacher, teacher.logits(dataset.train)


def record_environment(run: RunDirectory, settings: Settings, prepared: Prepared, difference: float) -> list[str]:
    """Write `environment.json`, or compare with the one there: a resumed run must be the run it was.

    Returns:
        What is different but may be (versions, threads, calibration), in words.

    Raises:
        RunError: settings, images, teacher or circuit are others than when the run began.
    """
    placed = prepared.placed
    now = describe_environment(
        threads=torch.get_num_threads(),
        seed=settings.seed,
        settings_sha256=settings.identity,
        teacher_sha256=prepared.teacher.digest if prepared.teacher else None,
        images_sha256={name: part.digest for name, part in _parts(prepared.dataset).items()},
        circuit={**placed.compiled.describe(), "qpy_sha256": digest_of_file(run.circuits)},
        calibration=placed.place.calibration(placed.compiled.physical_qubits),
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
