"""Training: with objects in memory (`train`), or into a run directory that can be resumed (`train_run`)."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qkd_qiskit.classical.images import Dataset
from qkd_qiskit.classical.teachers import Teacher
from qkd_qiskit.config import (
    STUDENT_CONSTANTS,
    STUDENT_DEFAULTS,
    DistillationSettings,
    Settings,
    TrainingSettings,
    validate,
)
from qkd_qiskit.distillation.checkpoints import load_checkpoint, restore_state, restore_student, save_checkpoint
from qkd_qiskit.distillation.losses import Objective
from qkd_qiskit.distillation.training import (
    TrainingPlan,
    TrainingState,
    device_of,
    iterate_epochs,
    predict,
    rank_epoch,
    train_to_best,
)
from qkd_qiskit.exceptions import ConfigurationError, InterruptedRunError, QkdError, RunError
from qkd_qiskit.files import append_json_line, read_json, write_json
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.checking import check_settings
from qkd_qiskit.pipeline.placing import PlacedStudent, check_batch_size, probe
from qkd_qiskit.pipeline.preparing import Prepared, prepare, record_environment
from qkd_qiskit.pipeline.recalibrating import recalibrate
from qkd_qiskit.runs import RunDirectory, choose_directory
from qkd_qiskit.threads import torch_threads


def train(
    placed: PlacedStudent,
    dataset: Dataset,
    teacher: Teacher | None = None,
    *,
    loss: str | None = None,
    temperature: float | None = None,
    alpha: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    schedule: str | None = None,
    clip: float | None = None,
    seed: int = 0,
    listener: Listener | None = None,
    **constants: float,
) -> list[dict[str, Any]]:
    """Train a student in memory and leave it at its best epoch on the validation images.

    Args:
        placed: the student, from `build_student`; changed in place.
        dataset: its `train` and `validation` images are used.
        teacher: what is distilled; `None` for plain training.
        loss: one of `LOSSES`; by default `kd` with a teacher and `ce` without.
        temperature: softens both distributions; the loss's own for this kind of student if not given.
        alpha: weight of the teacher's term; the loss's own if not given.
        epochs: passes over the training images; like the four below, the command line's default if not given.
        batch_size: images a step.
        lr: largest learning rate.
        schedule: `cosine`, `one_cycle` or `constant`.
        clip: largest gradient norm; 0 switches clipping off.
        seed: decides order and dropout.
        listener: follows along.
        **constants: other constants of the loss, such as `beta`; see `DistillationSettings`.

    Returns:
        The epochs' metrics.

    Raises:
        ConfigurationError: a name is unknown, or the loss needs a teacher, or has none and there is one.
        BackendError: the engine disagrees with Aer.
    """
    asked = {"temperature": temperature, "alpha": alpha, **constants}
    objective = _objective_in_memory(placed, loss or ("kd" if teacher else "ce"), asked)
    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": lr, "schedule": schedule, "clip": clip}
    plan = _plan_in_memory(placed, given, seed)
    objective.check_batch_size(plan.batch_size)
    if teacher and not objective.needs_teacher:
        raise ConfigurationError(f"loss {objective.name!r} has no teacher; leave the teacher out, or give loss='kd'")
    logits = teacher.logits(dataset.train) if teacher else None
    if placed.compilation is not None:
        probe(placed, dataset.train.pixels[:4])
    follower = listener or Listener()
    history, _ = train_to_best(
        placed.student,
        plan,
        objective,
        dataset.train,
        dataset.validation,
        teacher_logits=logits,
        report=follower.step,
        follow=lambda facts: follower.epoch(facts, plan.epochs),
    )
    return history


def _objective_in_memory(placed: PlacedStudent, loss: str, asked: dict[str, float | None]) -> Objective:
    """Fill in what this kind of student wants of the loss and check the constants."""
    given = {name: value for name, value in asked.items() if value is not None}
    validate(DistillationSettings, given, "train")
    blueprint = placed.student.blueprint
    constants: dict[str, Any] = {**STUDENT_CONSTANTS.get((blueprint.kind, loss), {}), **given}
    return Objective(loss, **constants, num_classes=blueprint.num_classes)


def _plan_in_memory(placed: PlacedStudent, given: dict[str, Any], seed: int) -> TrainingPlan:
    """Fill in the defaults of this kind of student and check the numbers."""
    usual = STUDENT_DEFAULTS.get(placed.student.blueprint.kind, {}).get("training", {})
    asked = {**usual, **{name: value for name, value in given.items() if value is not None}}
    training = validate(TrainingSettings, asked, "train")
    check_batch_size(training.batch_size, placed.student.blueprint)
    fields = ("epochs", "batch_size", "learning_rate", "schedule", "clip", "weight_decay")
    return TrainingPlan(**{name: getattr(training, name) for name in fields}, seed=seed)


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
    try:
        return _train_under_lock(run, settings, resume, listener)
    finally:
        run.discard_if_empty()


def _train_under_lock(run: RunDirectory, settings: Settings, resume: bool, listener: Listener) -> dict[str, Any]:
    with run.lock():
        if resume and run.is_finished:
            listener.say(f"{run} has finished already")
            return read_json(run.result)
        if not resume:
            run.start(settings)
        try:
            with torch_threads(settings.training.threads):
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
    prepared = prepare(run, settings, listener)
    state = TrainingState.start(prepared.placed.student, prepared.plan)
    best = _resume(run, state, listener)
    difference = None
    if prepared.placed.compilation is not None:
        difference = probe(prepared.placed, prepared.dataset.train.pixels[: settings.training.probe])
        listener.say(f"probe: {settings.training.engine} engine and Aer differ by {difference:.1e} at most")
    for change in record_environment(run, settings, prepared, difference):
        listener.say(f"warning: going on in another environment, not bit-equal: {change}")
    listener.begin(run.path, settings.model_dump(mode="json"))
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
        if best is None or rank_epoch(facts) > rank_epoch(best):
            best = facts
            save_checkpoint(run.best, state, {"best": best, "newest": facts})
        append_json_line(run.metrics, facts)  # before `last`: a line too many is taken back on resuming
        save_checkpoint(run.last, state, {"best": best, "newest": facts})
        listener.epoch(facts, prepared.plan.epochs)
    tensors, _ = load_checkpoint(run.best)
    restore_student(state.student, tensors, run.best)
    facts = _recalibrate(run, settings, prepared, state, best or {}, listener)
    result = _summarise(run, settings, prepared, {**(best or {}), **facts}, time.perf_counter() - began)
    if facts:
        before = [(best or {})[f"validation_{name}"] for name in ("correct", "samples")]
        result["recalibrated"] = {"images": settings.training.recalibrate, "validation_counts_before": before}
    write_json(run.result, result)
    return result


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
        run.rewind_metrics(state.epoch, facts["newest"])
        listener.say(f"going on after epoch {state.epoch} ({path.name})")
        return _check_best(run, state, facts, listener)
    if failures:
        raise RunError("no checkpoint of this run can be used: " + "; ".join(failures))
    run.rewind_metrics(0, None)
    return None


def _check_best(run: RunDirectory, state: TrainingState, facts: dict[str, Any], listener: Listener) -> dict[str, Any]:
    """Make sure that `best` holds the epoch that is said to be the best; else the epoch at hand takes its place."""
    try:
        _, kept = load_checkpoint(run.best)
        if kept["epoch"] == facts["best"]["epoch"]:
            return facts["best"]
        problem = f"{run.best} is of epoch {kept['epoch']}, not of the best one, {facts['best']['epoch']}"
    except RunError as error:
        problem = str(error)
    listener.say(f"warning: {problem}; epoch {state.epoch} takes its place")
    save_checkpoint(run.best, state, {"best": facts["newest"], "newest": facts["newest"]})
    return facts["newest"]


def _recalibrate(
    run: RunDirectory,
    settings: Settings,
    prepared: Prepared,
    state: TrainingState,
    best: dict[str, Any],
    listener: Listener,
) -> dict[str, Any]:
    """Fit the best epoch's head anew to exact values under the backend's noise, and keep it with that epoch.

    Returns:
        What validation says of the new head; nothing if none is asked for.
    """
    if not settings.training.recalibrate:
        return {}
    placed, student, dataset = prepared.placed, prepared.placed.student, prepared.dataset

    def measure(parameter_values: np.ndarray, seed: int) -> np.ndarray:
        angles = torch.from_numpy(parameter_values[:, : len(student.circuit.input_params)])
        with torch.no_grad():
            return student.eval().quantum(angles.to(device_of(student))).double().cpu().numpy()

    student.head = recalibrate(
        placed,
        dataset,
        settings.training.recalibrate,
        measure,
        objective=prepared.objective,
        teacher_logits=prepared.teacher_logits,
    )
    correct = int((predict(student, dataset.validation.pixels).argmax(1) == dataset.validation.labels).sum())
    samples = len(dataset.validation)
    listener.say(f"head fitted anew: {correct} of {samples} validation images, {best['validation_correct']} before")
    save_checkpoint(run.best, replace(state, epoch=best["epoch"]), {"best": best, "newest": best})
    return {"validation_accuracy": correct / samples, "validation_correct": correct, "validation_samples": samples}


def _summarise(
    run: RunDirectory, settings: Settings, prepared: Prepared, best: dict[str, Any], seconds: float
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
        "epochs": prepared.plan.epochs,
        "best_epoch": best["epoch"],
        "seconds": seconds,
        "samples_per_second": samples / trained if trained else None,
        "weights": student.num_weights(),
        "teacher_weights": prepared.teacher.num_parameters if prepared.teacher else None,
        "loss": prepared.objective.describe(),
        "engine": settings.training.engine,
        "backend": settings.backend.name,
        "layer": settings.student.layer,
        "isa": prepared.placed.compilation.describe() if prepared.placed.compilation else None,
        "classes": list(dataset.classes),
        "seed": settings.seed,
    }
