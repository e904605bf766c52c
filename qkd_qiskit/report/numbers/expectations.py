"""Ideal against measured expectation values: contraction, scatter, and what shot noise explains of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from qkd_qiskit.report.reading import StoredEvaluation

BINS = 41


def collect_expectations(evaluation: StoredEvaluation, num_qubits: int, *, points: int = 3000) -> dict[str, Any]:
    """Compare measured with ideal expectation values.

    Args:
        evaluation: of `N` samples and `O` observables.
        num_qubits: `Q`; tells which observables they are.
        points: at most so many pairs are kept for the scatter, drawn with a fixed seed.

    Returns:
        Least-squares line of all `N O` pairs and of each weight's, the pairs to draw, and the residuals if shots were
        counted.
    """
    ideal, measured = evaluation.arrays["noiseless_expectation_values"], evaluation.arrays["expectation_values"]
    weights = weigh_observables(ideal.shape[1], num_qubits)
    known = sorted(set(weights))
    chosen = [np.flatnonzero(np.array(weights) == weight) for weight in known]
    return {
        "samples": ideal.shape[0],
        "observables": ideal.shape[1],
        "pairs": int(ideal.size),
        **fit_line(ideal, measured),
        "by_weight": [
            {"weight": weight, "observables": len(columns), **fit_line(ideal[:, columns], measured[:, columns])}
            for weight, columns in zip(known, chosen)
        ],
        "points": _draw_points(ideal, measured, np.array(weights), points),
        "residuals": _collect_residuals(evaluation) if evaluation.result["shots"] else None,
    }


def weigh_observables(num_observables: int, num_qubits: int) -> list[int]:
    """Return on how many qubits each observable acts; 0 where it can't be told from the numbers `O` and `Q`."""
    if num_observables == 2**num_qubits - 1:
        return [mask.bit_count() for mask in range(1, 2**num_qubits)]
    return [1 if num_observables == num_qubits else 0] * num_observables


def fit_line(ideal: np.ndarray, measured: np.ndarray) -> dict[str, float | None]:
    """Fit `measured = slope ideal + intercept` by least squares; all `None` where the ideal values are constant."""
    x, y = ideal.ravel(), measured.ravel()
    spread = float(((x - x.mean()) ** 2).sum())
    if spread < 1e-12 * len(x):
        return {"slope": None, "intercept": None, "r_squared": None}
    slope = float(((x - x.mean()) * (y - y.mean())).sum()) / spread
    intercept = float(y.mean() - slope * x.mean())
    total = float(((y - y.mean()) ** 2).sum())
    rest = float(((y - slope * x - intercept) ** 2).sum())
    return {"slope": slope, "intercept": intercept, "r_squared": 1 - rest / total if total else None}


def _draw_points(ideal: np.ndarray, measured: np.ndarray, weights: np.ndarray, limit: int) -> list[dict[str, Any]]:
    """Keep at most `limit` pairs, grouped by weight."""
    picked = np.arange(ideal.size)
    if len(picked) > limit:
        picked = np.sort(np.random.default_rng(0).choice(picked, limit, replace=False))
    x, y = ideal.ravel()[picked].round(4), measured.ravel()[picked].round(4)
    weight_of = np.tile(weights, len(ideal))[picked]
    return [
        {"weight": int(weight), "ideal": x[weight_of == weight].tolist(), "measured": y[weight_of == weight].tolist()}
        for weight in sorted(set(weights.tolist()))
    ]


def _collect_residuals(evaluation: StoredEvaluation) -> dict[str, Any]:
    """Histogram measured - ideal, as it is and with each observable's line taken off, beside the shot noise."""
    ideal, measured = evaluation.arrays["noiseless_expectation_values"], evaluation.arrays["expectation_values"]
    raw = measured - ideal
    corrected = np.column_stack([_take_off_line(x, y) for x, y in zip(ideal.T, measured.T)])
    widest = float(np.abs(raw).max()) or 1.0
    edges = np.linspace(-widest, widest, BINS + 1)
    return {
        "bin_edges": edges.round(6).tolist(),
        "raw_counts": np.histogram(raw, edges)[0].tolist(),
        "corrected_counts": np.histogram(corrected, edges)[0].tolist(),
        "raw_rms": float(np.sqrt((raw**2).mean())),
        "corrected_rms": float(np.sqrt((corrected**2).mean())),
        "shot_noise_rms": float(np.sqrt((evaluation.arrays["standard_errors"] ** 2).mean())),
    }


def _take_off_line(ideal: np.ndarray, measured: np.ndarray) -> np.ndarray:
    line = fit_line(ideal, measured)
    if line["slope"] is None or line["intercept"] is None:
        return measured - measured.mean()
    return measured - line["slope"] * ideal - line["intercept"]


def fit_through_origin(ideal: np.ndarray, measured: np.ndarray) -> float | None:
    """Fit `measured = slope ideal` by least squares; `None` where all ideal values are 0."""
    power = float((ideal**2).sum())
    return float((ideal * measured).sum()) / power if power else None
