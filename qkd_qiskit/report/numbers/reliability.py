"""Does a student that is 80 % sure answer rightly 80 % of the time?"""

from __future__ import annotations

from typing import Any

import numpy as np

from qkd_qiskit.report.reading import StoredEvaluation
from qkd_qiskit.study.measuring import bin_by_confidence, calibration_error
from qkd_qiskit.study.statistics import wilson_interval

BINS = 10


def collect_reliability(evaluation: StoredEvaluation) -> dict[str, Any]:
    """Collect the reliability of the head's softmax, without noise and on the backend, before any calibration."""
    arrays = evaluation.arrays
    return {
        "noiseless": measure_reliability(arrays["noiseless_logits"], arrays["labels"]),
        "backend": measure_reliability(arrays["logits"], arrays["labels"]),
    }


def measure_reliability(logits: np.ndarray, labels: np.ndarray, *, bins: int = BINS) -> dict[str, Any]:
    """Compare confidence with accuracy in bins of equal width `(b / B, (b + 1) / B]`.

    The expected calibration error is the mean of |accuracy - confidence| over bins, weighted by their samples. Guo et
    al., arXiv 1706.04599.

    Args:
        logits: `(N, S)`.
        labels: `(N,)`.
        bins: `B`.
    """
    confidence, correct, place = bin_by_confidence(logits, labels, bins=bins)
    filled = [_describe(index, bins, confidence[place == index], correct[place == index]) for index in np.unique(place)]
    return {
        "expected_calibration_error": calibration_error(logits, labels, bins=bins),
        "mean_confidence": float(confidence.mean()),
        "accuracy": float(correct.mean()),
        "bins": filled,
    }


def _describe(index: int, bins: int, confidence: np.ndarray, correct: np.ndarray) -> dict[str, Any]:
    hits, samples = int(correct.sum()), len(correct)
    return {
        "from": round(int(index) / bins, 6),
        "to": round((int(index) + 1) / bins, 6),
        "samples": samples,
        "confidence": float(confidence.mean()),
        "accuracy": hits / samples,
        "interval": list(wilson_interval(hits, samples)),
    }
