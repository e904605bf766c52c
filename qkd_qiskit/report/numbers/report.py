"""Everything a report says, in one piece of plain data: the content of `report.json`."""

from __future__ import annotations

from typing import Any

from qkd_qiskit.report.numbers.accuracies import collect_accuracies, collect_difference, describe_backend
from qkd_qiskit.report.numbers.circuits import collect_gates, collect_isa
from qkd_qiskit.report.numbers.confusion import collect_confusion
from qkd_qiskit.report.numbers.curves import collect_curves
from qkd_qiskit.report.numbers.expectations import collect_expectations
from qkd_qiskit.report.numbers.reliability import collect_reliability
from qkd_qiskit.report.reading import StoredEvaluation, StoredRun

SCHEMA = "qkd_qiskit run report 1"
MOST_EVALUATIONS = 12
MOST_POINTS = 18_000


def collect_report(run: StoredRun) -> dict[str, Any]:
    """Collect the numbers behind every figure and table of a run's report.

    Raises:
        RunError: a file of the run is damaged.
    """
    noisy = [item for item in run.evaluations if not item.is_ideal]
    detailed = (noisy or list(run.evaluations))[:MOST_EVALUATIONS]
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
        "settings": run.settings.model_dump(mode="json"),
        "environment": run.environment,
    }


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
