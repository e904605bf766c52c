"""Training: with objects in memory (`train`), or into a run directory that can be resumed (`train_run`)."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from qkd_qiskit.classical.datasets import load_dataset
from qkd_qiskit.classical.images import Dataset, Images
from qkd_qiskit.classical.teachers import Teacher, build_teacher
from qkd_qiskit.config import Settings
from qkd_qiskit.distillation.checkpoints import load_checkpoint, restore_state, restore_student, save_checkpoint
from qkd_qiskit.distillation.losses import Objective
from qkd_qiskit.distillation.training import TrainingPlan, TrainingState, iterate_epochs, predict
from qkd_qiskit.exceptions import InterruptedRunError, QkdError, RunError
from qkd_qiskit.execution.circuit_files import load_circuits, save_circuits
from qkd_qiskit.files import append_json_line, digest_of_file, read_json, write_json
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.placing import (
    PlacedStudent,
    check_settings,
    make_blueprint,
    open_training_place,
    place_student,
    probe,
)
from qkd_qiskit.runs import RunDirectory, choose_directory, describe_environment


def train(
    placed: PlacedStudent,
    dataset: Dataset,
    teacher: Teacher | None = None,
    *,
    loss: str | None = None,
    temperature: float = 4.0,
    alpha: float = 0.9,
    epochs: int = 60,
    batch_size: int = 32,
    lr: float = 2e-2,
    schedule: str = "cosine",
    clip: float = 1.0,
    seed: int = 0,
    listener: Listener | None = None,
) -> list[dict[str, Any]]:
    """Train a student in memory and leave it at its best epoch on the validation images.

    Args:
        placed: the student, from `build_student`; changed in place.
        dataset: its `train` and `validation` images are used.
        teacher: what is distilled; `None` for plain training.
        loss: `kd`, `ce` or `paper`; by default `kd` with a teacher and `ce` without.
        temperature: softens both distributions.
        alpha: weight of the teacher's term.
        epochs: passes over the training images.
        batch_size: images a step.
        lr: largest learning rate.
        schedule: `cosine`, `one_cycle` or `constant`.
        clip: largest gradient norm; 0 switches clipping off.
        seed: decides order and dropout.
        listener: follows along.

    Returns:
        The epochs' metrics.

    Raises:
        ConfigurationError: a name is unknown, or the loss needs a teacher.
        BackendError: the engine disagrees with Aer.
    """
    objective = Objective(loss or ("kd" if teacher else "ce"), temperature, alpha)
    plan = TrainingPlan(epochs=epochs, batch_size=batch_size, learning_rate=lr, schedule=schedule, clip=clip, seed=seed)
    logits = teacher.logits(dataset.train) if teacher and objective.needs_teacher else None
    probe(placed, dataset.train.pixels[:4])
    state, history, best = TrainingState.start(placed.student, plan), [], None
    listener = listener or Listener()
    for facts in iterate_epochs(
        state, plan, objective, dataset.train, dataset.validation, teacher_logits=logits, report=listener.step
    ):
        history.append(facts)
        listener.epoch(facts, epochs)
        if best is None or _rank(facts) > _rank(best[0]):
            best = (facts, {name: weight.clone() for name, weight in placed.student.state_dict().items()})
    if best:
        placed.student.load_state_dict(best[1])
    return history


def _rank(facts: dict[str, Any]) -> tuple[float, float]:
    """Order epochs: higher validation accuracy first, then lower validation loss."""
    return facts["validation_accuracy"], -facts["validation_loss"]


@dataclass(frozen=True)
class _Prepared:
    """What a training run needs once everything is loaded and built."""

    dataset: Dataset
    teacher: Teacher | None
    teacher_logits: torch.Tensor | None
    placed: PlacedStudent
    objective: Objective
    plan: TrainingPlan


def train_run(
    settings: Settings, out: Path | None = None, *, resume: bool = False, listener: Listener | None = None
) -> dict[str, Any]:
    """Train into a run directory; whatever stops it, at most one epoch is lost.

    Args:
        settings: everything that decides the run.
        out: the run directory; made up from settings and time if `None`.
        resume: go on with the run in `out` instead of starting one.
        listener: follows along.

    Returns:
        The content of `result.json`.

    Raises:
        ConfigurationError: settings contradict each other.
        DataError: images or a teacher's file are missing.
        RunError: `out` holds another run, is in use, or can't be written.
        InterruptedRunError: Ctrl-C; the message says how to go on.
    """
    check_settings(settings)
    run = RunDirectory(out or choose_directory(settings))
    listener = listener or Listener()
    with run.lock():
        if resume and run.is_finished:
            listener.say(f"{run} has finished already")
            return read_json(run.result)
        if not resume:
            run.start(settings)
        try:
            return _train_locked(run, settings, listener)
        except QkdError:
            if not resume:
                run.discard_start()
            raise
        except KeyboardInterrupt:
            kept = (
                f"epoch {read_json(run.last.with_suffix('.json'))['epoch']} is kept"
                if run.last.exists()
                else "no epoch"
            )
            raise InterruptedRunError(
                f"interrupted; {kept} in {run}\ngo on with: qkd-qiskit train --resume {run}"
            ) from None


def _train_locked(run: RunDirectory, settings: Settings, listener: Listener) -> dict[str, Any]:
    began = time.perf_counter()
    prepared = _prepare(run, settings, listener)
    state = TrainingState.start(prepared.placed.student, prepared.plan)
    best = _resume(run, state, listener)
    difference = probe(prepared.placed, prepared.dataset.train.pixels[: settings.training.probe])
    listener.say(f"probe: {settings.training.engine} engine and Aer differ by {difference:.1e} at most")
    _write_environment(run, settings, prepared, difference)
    epochs = iterate_epochs(
        state,
        prepared.plan,
        prepared.objective,
        prepared.dataset.train,
        prepared.dataset.validation,
        teacher_logits=prepared.teacher_logits,
        report=listener.step,
    )
    for facts in epochs:
        if best is None or _rank(facts) > _rank(best):
            best = facts
            save_checkpoint(run.best, state, {"best": best})
        append_json_line(run.metrics, facts)  # before `last`: a line too many is taken back on resuming
        save_checkpoint(run.last, state, {"best": best})
        listener.epoch(facts, prepared.plan.epochs)
    tensors, _ = load_checkpoint(run.best)
    restore_student(state.student, tensors, run.best)
    result = _summarise(run, settings, prepared, best or {}, time.perf_counter() - began)
    write_json(run.result, result)
    return result


def _prepare(run: RunDirectory, settings: Settings, listener: Listener) -> _Prepared:
    dataset = load_data(settings, listener)
    blueprint = make_blueprint(settings.student, dataset)
    place = open_training_place(settings.backend, settings.student.qubits)
    if run.circuits.exists():
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
    return _Prepared(dataset, teacher, logits, placed, objective, make_plan(settings))


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


def _resume(run: RunDirectory, state: TrainingState, listener: Listener) -> dict[str, Any] | None:
    """Put back the newest good checkpoint, if there is one, and return the best epoch's metrics so far."""
    failures = []
    for path in (run.last, run.best):
        if not path.exists():
            continue
        try:
            tensors, facts = load_checkpoint(path)
            restore_state(state, tensors, facts, path)
        except RunError as error:
            failures.append(str(error))
            listener.say(f"warning: {error}")
            continue
        run.rewind_metrics(state.epoch)
        listener.say(f"going on after epoch {state.epoch} ({path.name})")
        return facts["best"]
    if failures:
        raise RunError("no checkpoint of this run can be used: " + "; ".join(failures))
    run.rewind_metrics(0)
    return None


def _write_environment(run: RunDirectory, settings: Settings, prepared: _Prepared, difference: float) -> None:
    placed = prepared.placed
    facts = describe_environment(
        threads=torch.get_num_threads(),
        seed=settings.seed,
        settings_sha256=settings.identity,
        teacher_sha256=prepared.teacher.digest if prepared.teacher else None,
        images_sha256={name: part.digest for name, part in _parts(prepared.dataset).items()},
        circuit={**placed.compiled.describe(), "qpy_sha256": digest_of_file(run.circuits)},
        calibration=placed.place.calibration(placed.compiled.physical_qubits),
        largest_difference_from_aer=difference,
    )
    write_json(run.path / "environment.json", facts)


def _summarise(
    run: RunDirectory, settings: Settings, prepared: _Prepared, best: dict[str, Any], seconds: float
) -> dict[str, Any]:
    dataset, student = prepared.dataset, prepared.placed.student
    logits = predict(student, dataset.test.pixels)
    correct = int((logits.argmax(1) == dataset.test.labels).sum())
    epochs = run.read_metrics()
    trained = sum(epoch["seconds"] for epoch in epochs)
    samples = sum(epoch["train_samples"] for epoch in epochs)
    teacher_counts = prepared.teacher.accuracy(dataset.test) if prepared.teacher else None
    return {
        "run": str(run),
        "test_accuracy": correct / len(dataset.test),
        "test_counts": [correct, len(dataset.test)],
        "validation_accuracy": best["validation_accuracy"],
        "validation_counts": [best["validation_correct"], best["validation_samples"]],
        "teacher_test_accuracy": teacher_counts[0] / teacher_counts[1] if teacher_counts else None,
        "teacher_test_counts": list(teacher_counts) if teacher_counts else None,
        "epochs": len(epochs),
        "best_epoch": best["epoch"],
        "seconds": seconds,
        "samples_per_second": samples / trained if trained else None,
        "weights": student.num_weights(),
        "teacher_weights": prepared.teacher.num_parameters if prepared.teacher else None,
        "loss": asdict(prepared.objective),
        "engine": settings.training.engine,
        "backend": settings.backend.name,
        "isa": prepared.placed.compiled.describe(),
        "classes": list(dataset.classes),
        "seed": settings.seed,
    }
