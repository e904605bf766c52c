"""Means over seeds with intervals, or with the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scipy.stats import t

ONE_SEED = "one seed: repeated trainings would be needed for an interval"
NO_SEED = "no seed has both"


def describe_mean(values: Sequence[float], *, share: bool = False) -> dict[str, Any]:
    """Return `mean`, Student's 95 % `interval` over seeds, and `reason` if there can't be one.

    Args:
        values: one of each seed.
        share: whether they are shares: then the interval ends at 0 and 1.
    """
    count = len(values)
    if count == 0:
        return {"seeds": 0, "mean": None, "interval": None, "reason": NO_SEED}
    mean = sum(values) / count
    if count == 1:
        return {"seeds": 1, "mean": mean, "interval": None, "reason": ONE_SEED}
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(t.ppf(0.975, count - 1)) * spread / math.sqrt(count)
    low, high = mean - half, mean + half
    interval = [max(low, 0.0), min(high, 1.0)] if share else [low, high]
    return {"seeds": count, "mean": mean, "interval": interval, "reason": None}
