"""The numbers of one evaluation: loss, calibration, and what noise did to the expectation values."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp, softmax

BINS = 15


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of `-log softmax(logits)[label]`.

    Args:
        logits: `(N, S)`, `S >= K`.
        labels: `(N,)`.
    """
    return float((logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]).mean())


def calibration_error(logits: np.ndarray, labels: np.ndarray, *, bins: int = BINS) -> float:
    """Return the expected calibration error: |accuracy - confidence|, averaged over bins by their samples.

    Bins are `(b / B, (b + 1) / B]`. Guo et al., arXiv 1706.04599, eq. 3.

    Args:
        logits: `(N, S)`.
        labels: `(N,)`.
        bins: `B`.
    """
    confidence, correct, place = bin_by_confidence(logits, labels, bins=bins)
    gaps = np.bincount(place, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def bin_by_confidence(
    logits: np.ndarray, labels: np.ndarray, *, bins: int = BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put samples into bins `(b / B, (b + 1) / B]` of confidence.

    Args:
        logits: `(N, S)`.
        labels: `(N,)`.
        bins: `B`.

    Returns:
        The confidence of each sample, whether it is classified right, and its bin, each `(N,)`.
    """
    probabilities = softmax(np.asarray(logits, dtype=np.float64), axis=1)
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    return confidence, correct, np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)


def contraction_and_scatter(values: np.ndarray, noiseless: np.ndarray) -> tuple[float | None, float | None]:
    """Fit `values = slope * noiseless` and return the slope and the root mean square of the residuals.

    Args:
        values: measured `(N, O)`.
        noiseless: exact `(N, O)`.

    Returns:
        Both `None` if all noiseless values are 0: there is nothing to contract.
    """
    power = float((noiseless**2).sum())
    if power == 0:
        return None, None
    slope = float((values * noiseless).sum()) / power
    return slope, float(np.sqrt(((values - slope * noiseless) ** 2).mean()))
