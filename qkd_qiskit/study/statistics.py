"""Statistics of counts."""

from __future__ import annotations

from scipy.stats import binomtest

from qkd_qiskit.exceptions import ConfigurationError


def wilson_interval(correct: int, total: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion. Wilson, J. Am. Stat. Assoc. 22 (1927) 209.

    Args:
        correct: successes.
        total: trials.
        confidence: the interval's coverage.

    Raises:
        ConfigurationError: there are no trials, or more successes than trials.
    """
    if not 0 <= correct <= total or total == 0:
        raise ConfigurationError(f"no interval for {correct} of {total}: it needs 0 <= correct <= total and total >= 1")
    interval = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
