"""The work on one cell, in whatever process: train what is not trained, evaluate what is not evaluated."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from threadpoolctl import threadpool_limits

from qkd_qiskit.classical.images import Dataset, Images
from qkd_qiskit.distillation.training import predict
from qkd_qiskit.exceptions import QkdError, RunError
from qkd_qiskit.execution.compilation import CompiledCircuit
from qkd_qiskit.execution.cost import circuit_duration, estimate_qpu_seconds
from qkd_qiskit.execution.devices import Place, open_simulator
from qkd_qiskit.files import read_json
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.evaluation import select_samples
from qkd_qiskit.pipeline.fast_evaluation import measure_fast, noiseless_values
from qkd_qiskit.pipeline.loading import load_placed
from qkd_qiskit.pipeline.memory import keep_between_runs
from qkd_qiskit.pipeline.placing import PlacedStudent
from qkd_qiskit.pipeline.preparing import compile_blueprint, prepare_teacher
from qkd_qiskit.pipeline.recalibrating import recalibrate
from qkd_qiskit.pipeline.training import train_run
from qkd_qiskit.runs import RunDirectory, describe_environment
from qkd_qiskit.study.measuring import calibration_error, contraction_and_scatter, cross_entropy
from qkd_qiskit.study.outcomes import write_outcome
from qkd_qiskit.study.units import Cell, EvaluationUnit
from qkd_qiskit.threads import torch_threads


@dataclass(frozen=True)
class Work:
    """A piece of work that any process can do.

    Attributes:
        kind: `teacher` or `cell`.
        folder: of the study.
        cell: whose teacher is prepared, or which is trained and evaluated.
    """

    kind: str
    folder: Path
    cell: Cell

    @property
    def name(self) -> str:
        """What it is called in messages and by the cluster."""
        return f"{self.kind} {self.cell.title} ({self.cell.key[:8]})"


@dataclass(frozen=True)
class Done:
    """What came of a piece of work.

    Attributes:
        work: the work.
        seconds: it took.
        error: what went wrong; empty if nothing did.
        exit_code: of the error.
    """

    work: Work
    seconds: float
    error: str = ""
    exit_code: int = 0


def do(work: Work) -> Done:
    """Do a piece of work; an error is told, not raised, for the other cells can go on."""
    began = time.perf_counter()
    try:
        with alone(work.cell.settings.training.threads):
            JOBS[work.kind](work.folder, work.cell)
    except QkdError as error:
        return Done(work, time.perf_counter() - began, str(error), error.exit_code)
    except Exception as error:  # whatever a library raises costs this cell, not the study
        return Done(work, time.perf_counter() - began, f"{type(error).__name__}: {error}", QkdError.exit_code)
    return Done(work, time.perf_counter() - began)


@contextlib.contextmanager
def alone(threads: int) -> Iterator[None]:
    """Hold every library to as many threads as the settings say: sums are rounded alike wherever a cell runs."""
    with threadpool_limits(threads), torch_threads(threads), keep_between_runs():
        yield


def run_directory(folder: Path, cell: Cell) -> RunDirectory:
    """Return where a cell is trained."""
    return RunDirectory(folder / "cells" / cell.key)


def missing_units(folder: Path, cell: Cell) -> list[EvaluationUnit]:
    """Return the evaluations of a cell that have no outcome yet."""
    return [unit for unit in cell.evaluations if not (folder / "units" / f"{unit.key}.json").exists()]


def _prepare(folder: Path, cell: Cell) -> None:
    prepare_teacher(cell.settings, Listener())


def _train_and_evaluate(folder: Path, cell: Cell) -> None:
    locks = folder / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / cell.key):  # a worker that was given up on may still be at it
        train_cell(folder, cell)
        units = [unit for unit in missing_units(folder, cell) if unit.backend.kind != "ibm"]
        if units:
            evaluate_cell(folder, cell, units)


JOBS: dict[str, Callable[[Path, Cell], None]] = {"teacher": _prepare, "cell": _train_and_evaluate}


def train_cell(folder: Path, cell: Cell) -> dict[str, Any]:
    """Train a cell, or go on with it, or read what came of it."""
    run = run_directory(folder, cell)
    if not run.config.exists():
        shutil.rmtree(run.path, ignore_errors=True)  # the beginnings of a start that was killed
    elif run.settings().identity != cell.settings.identity:
        raise RunError(f"{run.config} was edited: it is not what {cell.title} asks for; delete the folder {run}")
    return train_run(cell.settings, run.path, resume=run.config.exists())


def evaluate_cell(folder: Path, cell: Cell, units: list[EvaluationUnit]) -> None:
    """Evaluate a trained cell on simulators and write an outcome for each unit."""
    run = run_directory(folder, cell)
    training = read_json(run.result)
    placed, dataset = load_placed(run)
    evaluate = _evaluate_control if placed.compilation is None else _evaluate_circuit
    ideal: Ideal = {}
    for unit in units:
        began = time.perf_counter()
        images = select_samples(dataset.test, unit.samples, seed=placed.seed)
        logits, facts = evaluate(placed, unit, dataset, images, ideal)
        content = describe_outcome(cell, unit, training, logits, images.labels.numpy())
        write_outcome(folder, {**content, **facts, "evaluation_seconds": time.perf_counter() - began})


Ideal = dict[int | None, tuple[np.ndarray, np.ndarray]]
"""Parameter values and noiseless expectation values of so many samples, kept for the evaluations that share them."""


def _evaluate_circuit(
    placed: PlacedStudent, unit: EvaluationUnit, dataset: Dataset, images: Images, ideal: Ideal
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return logits `(N, S)`, and what is known of expectation values and device."""
    if unit.samples not in ideal:
        values = placed.student.parameter_values(images.pixels)
        ideal[unit.samples] = values, noiseless_values(placed.logical, values)
    values, noiseless = ideal[unit.samples]
    place = open_simulator(unit.backend, placed.logical.circuit.num_qubits)
    compiled = _compile(placed, place)
    measure = partial(measure_fast, place, compiled)
    measured, count = measure(values, placed.seed), unit.backend.recalibrate
    head = recalibrate(placed, dataset, count, measure) if count else None
    slope, scatter = contraction_and_scatter(measured, noiseless)
    facts = {"contraction": slope, "scatter": scatter, **_describe_device(place, compiled, len(images))}
    return placed.student.classify(measured, head), facts


def _evaluate_control(
    placed: PlacedStudent, unit: EvaluationUnit, dataset: Dataset, images: Images, ideal: Ideal
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return a classical control's logits `(N, S)`: it has no gates for noise to act on, whatever the backend."""
    return predict(placed.student, images.pixels).double().numpy(), {"contraction": None, "scatter": None}


def _describe_device(place: Place, compiled: CompiledCircuit, samples: int) -> dict[str, Any]:
    """Say which snapshot the noise is of, and what it would cost on the device that a fake one stands for."""
    facts: dict[str, Any] = {"calibration": {"device": place.device, "date": place.calibration(())["date"]}}
    if place.settings.kind == "fake" and place.target is not None and place.settings.shots:
        duration = circuit_duration(compiled.isa.circuit, compiled.measured_qubits, place.target)
        facts["qpu_seconds_estimated"] = estimate_qpu_seconds(samples * place.settings.shots, duration)
    return facts


def _compile(placed: PlacedStudent, place: Place) -> CompiledCircuit:
    """Return the circuit for a place: the one that was trained if it can run there, else one compiled anew."""
    if place.target is None and not placed.compiled.device:
        return placed.compiled
    if place.target is not None and placed.compiled.device:
        compiled, anew = place.adopt(placed.compiled, placed.logical)
        if not anew:
            return compiled
    return compile_blueprint(placed.student.blueprint, place)[1]


def describe_outcome(
    cell: Cell, unit: EvaluationUnit, training: dict[str, Any], logits: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """Put what is known of an evaluation into the form of an outcome's file.

    Args:
        cell: what was trained.
        unit: what was evaluated.
        training: the content of the run's `result.json`.
        logits: `(N, S)`.
        labels: `(N,)`.
    """
    settings = cell.settings.model_dump(mode="json", exclude={"data": {"data_dir"}})
    backend = unit.backend.model_dump(mode="json")
    return {
        "key": unit.key,
        "labels": unit.labels,
        "seed": unit.seed,
        "training": cell.key,
        "settings": {**settings, "evaluation": {"backend": backend, "samples": unit.samples}},
        "backend": unit.backend.name,
        "noise_scale": unit.backend.noise_scale if unit.backend.noise or unit.backend.device else 0.0,
        "shots": unit.backend.shots,
        "counts": {"correct": int((logits.argmax(1) == labels).sum()), "samples": len(labels)},
        "validation": _pair(training["validation_counts"]),
        "teacher": _pair(training["teacher_test_counts"]),
        "num_classes": len(training["classes"]),
        "loss": cross_entropy(logits, labels),
        "calibration_error": calibration_error(logits, labels),
        "weights": training["weights"],
        "seconds": training["seconds"],
        "best_epoch": training["best_epoch"],
        "versions": describe_environment()["versions"],
    }


def _pair(counts: list[int] | None) -> dict[str, int] | None:
    return {"correct": counts[0], "samples": counts[1]} if counts else None
