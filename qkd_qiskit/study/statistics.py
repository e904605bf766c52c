"""Statistics of counts and of differences that are paired over seeds.

Which interval: a percentile bootstrap of 5 or 8 differences is too narrow, and BCa does not help there: its correction
is estimated from the same few values, and for the median the jackknife behind it is not consistent. So the percentiles
are widened until the interval of a mean of normal differences is as wide as Student's t says: the expanded percentile
interval of Hesterberg, Am. Stat. 69 (2015) 371. It still can't reach beyond the smallest and largest difference, so
`n` seeds cover at most `1 - 2^(1-n)`: 75 % with 3, 94 % with 5. Below 6 seeds the tables say so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm, t

from qkd_qiskit.exceptions import ConfigurationError

RESAMPLES = 10_000
MOST_EXACT = 20
"""Up to so many seeds every flip of signs is counted; above, `SAMPLED_FLIPS` random ones."""
SAMPLED_FLIPS = 200_000
ONE_SEED = "one seed says nothing about the spread over seeds; run at least 5"
NO_SEED = "no seed has both"


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


@dataclass(frozen=True)
class Paired:
    """What differences over seeds say.

    Attributes:
        n: seeds.
        mean: of the differences; `None` without any.
        mean_interval: its 95 % bootstrap interval; `None` where it is refused.
        median: of the differences.
        median_interval: its 95 % bootstrap interval.
        p: of the sign-flip permutation test of the mean, two-sided.
        smallest_p: what `p` can't go below with so many seeds.
        refused: why there is no interval; empty if there is one.
    """

    n: int
    mean: float | None
    mean_interval: tuple[float, float] | None
    median: float | None
    median_interval: tuple[float, float] | None
    p: float | None
    smallest_p: float | None
    refused: str = ""


def compare_paired(differences: Sequence[float], *, seed: int = 0) -> Paired:
    """Summarise differences of the same seeds.

    Args:
        differences: one a seed.
        seed: of the bootstrap.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) == 0:
        return Paired(0, None, None, None, None, None, None, NO_SEED)
    mean, median = float(values.mean()), float(np.median(values))
    if len(values) == 1:
        return Paired(1, mean, None, median, None, None, None, ONE_SEED)
    return Paired(
        len(values),
        mean,
        bootstrap_interval(values, "mean", seed=seed),
        median,
        bootstrap_interval(values, "median", seed=seed),
        sign_flip_test(values, seed=seed),
        2.0 ** (1 - len(values)) if len(values) <= MOST_EXACT else 1 / (SAMPLED_FLIPS + 1),
    )


def bootstrap_interval(
    values: Sequence[float] | np.ndarray,
    statistic: str = "mean",
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the expanded percentile bootstrap interval of a mean or median.

    The percentiles are `Phi(-+ sqrt(n / (n - 1)) t)`, `t` being Student's quantile with `n - 1` degrees of freedom.

    Args:
        values: `n` of them.
        statistic: `mean` or `median`.
        confidence: the interval's coverage.
        resamples: bootstrap samples.
        seed: of the random numbers.

    Raises:
        ConfigurationError: fewer than two values: there is no spread to see.
    """
    array = np.asarray(values, dtype=np.float64)
    n = len(array)
    if n < 2:
        raise ConfigurationError(f"no interval from {n} value{'s' * (n != 1)}: {ONE_SEED}")
    tail = norm.cdf(-math.sqrt(n / (n - 1)) * t.ppf((1 + confidence) / 2, n - 1))
    drawn = array[np.random.default_rng(seed).integers(0, n, size=(resamples, n))]
    found = np.median(drawn, axis=1) if statistic == "median" else drawn.mean(axis=1)
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)


def sign_flip_test(differences: Sequence[float] | np.ndarray, *, seed: int = 0) -> float:
    """Return the two-sided p-value of the mean difference under flips of signs (Fisher's paired permutation test).

    Up to `MOST_EXACT` differences all `2^n` flips are counted. Above, random ones are, with the observed one among them
    (Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39).

    Args:
        differences: `n >= 1` of them.
        seed: of the random flips.
    """
    values = np.asarray(differences, dtype=np.float64)
    observed = abs(values.sum())
    slack = 1e-9 * np.abs(values).sum()  # sums that are equal on paper are rounded apart
    if len(values) <= MOST_EXACT:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])
        return float((np.abs(sums) >= observed - slack).mean())
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(SAMPLED_FLIPS, len(values)))
    as_large = int((np.abs(signs @ values) >= observed - slack).sum())
    return (as_large + 1) / (SAMPLED_FLIPS + 1)


def correct_holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected over their family. Holm, Scand. J. Stat. 6 (1979) 65.

    Args:
        p_values: `None` where there is none; such a one is not counted.
    """
    order = sorted((index for index, p in enumerate(p_values) if p is not None), key=lambda index: p_values[index] or 0)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * (p_values[index] or 0)))
        corrected[index] = largest
    return corrected
