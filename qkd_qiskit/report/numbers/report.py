"""Everything a report says, in one piece of plain data: the content of `report.json`."""

from __future__ import annotations

from typing import Any

from qkd_qiskit.report.numbers.accuracies import collect_accuracies, collect_difference, describe_backend
from qkd_qiskit.report.numbers.circuits import collect_gates, collect_isa
from qkd_qiskit.report.numbers.comparison import collect_comparison
from qkd_qiskit.report.numbers.confusion import collect_confusion
from qkd_qiskit.report.numbers.curves import collect_curves
from qkd_qiskit.report.numbers.device import collect_device
from qkd_qiskit.report.numbers.expectations import collect_expectations
from qkd_qiskit.report.numbers.records import list_evaluations
from qkd_qiskit.report.numbers.reliability import collect_reliability
from qkd_qiskit.report.reading import StoredEvaluation, StoredRun

SCHEMA = "qkd_qiskit run report 1"
MOST_EVALUATIONS = 12
MOST_POINTS = 18_000
MOST_MAPS = 4


def collect_report(run: StoredRun, *, most_evaluations: int = MOST_EVALUATIONS) -> dict[str, Any]:
    """Collect the numbers behind every figure and table of a run's report.

    Args:
        run: from `read_run`.
        most_evaluations: so many evaluations have figures of their own; of one, the last.

    Raises:
        RunError: a file of the run is damaged.
    """
    noisy = [item for item in run.evaluations if not item.is_ideal]
    detailed = _choose(noisy or list(run.evaluations), most_evaluations)
    points = min(3000, MOST_POINTS // max(1, len(detailed)))
    return {
        "schema": SCHEMA,
        "run": run.name,
        "finished": run.result is not None,
        "facts": _collect_facts(run),
        "accuracies": collect_accuracies(run),
        "training": collect_curves(run),
        "evaluations": [_collect_evaluation(run, item, points) for item in detailed],
        "evaluations_without_figures": [item.name for item in noisy if item not in detailed],
        "unfinished_evaluations": list(run.unfinished),
        "circuit": collect_gates(run),
        "isa": collect_isa(run),
        "devices": collect_devices(run),
        "conditions": collect_comparison(list_evaluations([run])),
        "settings": run.settings.model_dump(mode="json"),
        "environment": run.environment,
    }


def _choose(evaluations: list[StoredEvaluation], most: int) -> list[StoredEvaluation]:
    """Keep the first ones, or the last if only one is wanted: hardware comes last."""
    return evaluations[-1:] if most == 1 else evaluations[:most]


def collect_devices(run: StoredRun) -> list[dict[str, Any]]:
    """List the maps of the devices that the circuit was compiled for, each layout on a device once."""
    sources = [(run.settings.backend.name, run.chart, run.environment.get("circuit") or (run.result or {}).get("isa"))]
    sources += [(item.result["backend"], item.chart, item.result.get("isa")) for item in run.evaluations]
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for backend, chart, isa in sources:
        device = collect_device(chart, isa)
        if device is not None and isa is not None:
            key = (device["device"], device["date"], tuple(isa.get("measured_qubits") or ()))
            found.setdefault(key, {**device, "used_by": []})["used_by"].append(backend)
    return list(found.values())[:MOST_MAPS]


def _collect_facts(run: StoredRun) -> dict[str, Any]:
    """Collect what every caption and the title need."""
    result, settings = run.result or {}, run.settings
    return {
        "dataset": settings.data.dataset,
        "classes": [str(name) for name in _classes(run)],
        "student": settings.student.kind,
        "qubits": settings.student.qubits,
        "teacher": settings.teacher.name if settings.loss != "ce" else None,
        "loss": settings.loss,
        "backend": settings.backend.name,
        "seed": settings.seed,
        "seeds": 1,
        "weights": result.get("weights"),
        "teacher_weights": result.get("teacher_weights"),
        "calibration_date": (run.environment.get("calibration") or {}).get("date"),
    }


def _classes(run: StoredRun) -> list[Any]:
    """Return the class names; from the labels seen if the training has not ended."""
    if run.result and run.result.get("classes"):
        return list(run.result["classes"])
    return list(range(max((int(item.arrays["labels"].max()) + 1 for item in run.evaluations), default=0)))


def _collect_evaluation(run: StoredRun, evaluation: StoredEvaluation, points: int) -> dict[str, Any]:
    result = evaluation.result
    return {
        "name": evaluation.name,
        "backend": result["backend"],
        "title": describe_backend(evaluation),
        "ideal": evaluation.is_ideal,
        "samples": len(evaluation.arrays["labels"]),
        "shots": result["shots"],
        "seed": evaluation.identity.get("seed"),
        "calibration_date": evaluation.calibration.get("date"),
        "of_best_checkpoint": evaluation.of_best,
        "counts": result["counts"],
        "against_noiseless": collect_difference(evaluation),
        "expectations": collect_expectations(evaluation, run.settings.student.qubits, points=points),
        "confusion": collect_confusion(evaluation, _classes(run)),
        "reliability": collect_reliability(evaluation),
        "circuit_executions": result.get("circuit_executions"),
        "qpu_seconds_estimated": result.get("qpu_seconds_estimated"),
        "qpu_seconds_charged": result.get("qpu_seconds_charged"),
        "job_ids": result.get("job_ids", []),
    }
