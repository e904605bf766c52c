"""Accuracies with intervals, and what a backend costs against the noiseless student on the same samples."""

from __future__ import annotations

import math
from typing import Any

from qkd_qiskit.report.reading import StoredEvaluation, StoredRun
from qkd_qiskit.study.statistics import wilson_interval


def collect_accuracies(run: StoredRun) -> list[dict[str, Any]]:
    """List teacher, student in its training conditions, and each evaluation: without noise, then on its backend.

    `kind` is `teacher`, `training`, `noiseless` or `backend`; the last two of one evaluation are of the same samples.
    """
    rows = _training_rows(run)
    for evaluation in run.evaluations:
        counts = evaluation.result["counts"]
        correct, samples = counts["noiseless_correct"], counts["samples"]
        if not (evaluation.is_ideal and _is_told_elsewhere(evaluation, run)):
            rows.append(_row("noiseless", "Student, noiseless", correct, samples, shots=0, evaluation=evaluation.name))
        if not evaluation.is_ideal:
            rows.append(_backend_row(evaluation))
    return rows


def _is_told_elsewhere(ideal: StoredEvaluation, run: StoredRun) -> bool:
    """Tell whether a noisy evaluation has the same images, so that its noiseless row says the same once more."""
    images = ideal.identity.get("images")
    same = (item for item in run.evaluations if not item.is_ideal and item.identity.get("images") == images)
    return images is not None and any(
        item.result["counts"]["noiseless_correct"] == ideal.result["counts"]["noiseless_correct"] for item in same
    )


def _training_rows(run: StoredRun) -> list[dict[str, Any]]:
    if run.result is None:
        return []
    rows, backend = [], run.settings.backend
    if run.result.get("teacher_test_counts"):
        rows.append(_row("teacher", f"Teacher ({run.settings.teacher.name})", *run.result["teacher_test_counts"]))
    conditions = f"Student, as trained ({backend.name})"
    rows.append(_row("training", conditions, *run.result["test_counts"], shots=0, backend=backend.name))
    return rows


def _backend_row(evaluation: StoredEvaluation) -> dict[str, Any]:
    result, counts = evaluation.result, evaluation.result["counts"]
    return _row(
        "backend",
        f"Student on {describe_backend(evaluation)}",
        counts["correct"],
        counts["samples"],
        shots=result["shots"],
        backend=result["backend"],
        evaluation=evaluation.name,
        calibration_date=evaluation.calibration.get("date"),
    )


def _row(kind: str, name: str, correct: int, samples: int, **more: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": name,
        "correct": correct,
        "samples": samples,
        "accuracy": correct / samples,
        "interval": list(wilson_interval(correct, samples)),
        "shots": None,
        "backend": None,
        "evaluation": None,
        "calibration_date": None,
        **more,
    }


def describe_backend(evaluation: StoredEvaluation) -> str:
    """Name a backend, with its noise scale and resilience level where they are not the usual ones."""
    backend, name = evaluation.identity["backend"], evaluation.place or str(evaluation.result["backend"])
    scale, level = backend.get("noise_scale", 1.0), backend.get("resilience_level", 0)
    return name + (f", noise x {scale:g}" if scale != 1.0 else "") + (f", resilience level {level}" if level else "")


def collect_difference(evaluation: StoredEvaluation) -> dict[str, Any]:
    """Compare a backend with the noiseless student, sample by sample.

    Returns:
        `lost` and `gained` samples, the difference of accuracies (backend less noiseless) and its 95 % interval.
    """
    arrays = evaluation.arrays
    ideal = arrays["noiseless_logits"].argmax(1) == arrays["labels"]
    real = arrays["logits"].argmax(1) == arrays["labels"]
    lost, gained = int((ideal & ~real).sum()), int((real & ~ideal).sum())
    low, high = paired_interval(lost, gained, len(ideal))
    return {"lost": lost, "gained": gained, "difference": (gained - lost) / len(ideal), "interval": [low, high]}


def paired_interval(lost: int, gained: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a difference of paired proportions, half a sample added to each of the four cells.

    Agresti and Min, Statistics in Medicine 24 (2005) 729.
    """
    lost_more, gained_more, more = lost + 0.5, gained + 0.5, total + 2
    middle = (gained_more - lost_more) / more
    width = 1.959964 * math.sqrt(lost_more + gained_more - (gained_more - lost_more) ** 2 / more) / more
    return max(-1.0, middle - width), min(1.0, middle + width)
