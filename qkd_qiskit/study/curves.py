"""Accuracy against a numbered condition, noise as a rule: the area under each curve, and where it breaks."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from qkd_qiskit.config import StudySettings
from qkd_qiskit.study.outcomes import Outcome
from qkd_qiskit.study.pairing import Row, add_holm, pair, take_out
from qkd_qiskit.study.statistics import bootstrap_interval
from qkd_qiskit.study.units import Labels

Point = Mapping[str, Any]


def measure_area(points: Sequence[Point]) -> float:
    """Return the mean of a curve over its range, by trapezoids.

    Args:
        points: at least two, each with `x` and `mean`, in the order of `x`.
    """
    total = sum((right["x"] - left["x"]) * (right["mean"] + left["mean"]) / 2 for left, right in pairwise(points))
    return total / (points[-1]["x"] - points[0]["x"])


def find_breaking_point(points: Sequence[Point], chance: float, *, dead_below: float = 1.5) -> float | None:
    """Return where a falling curve is halfway from its first value to chance.

    Args:
        points: as for `measure_area`.
        chance: `1 / K`.
        dead_below: a curve that starts below so many times chance has nothing to lose, and does not break.

    Returns:
        `None` if it never is there, or is dead from the start.
    """
    if points[0]["mean"] < dead_below * chance:
        return None
    level = (points[0]["mean"] + chance) / 2
    for left, right in pairwise(points):
        if left["mean"] > level >= right["mean"]:
            return left["x"] + (left["mean"] - level) / (left["mean"] - right["mean"]) * (right["x"] - left["x"])
    return None


def find_curve_axis(outcomes: Sequence[Outcome]) -> str | None:
    """Return the axis along which a trained student was evaluated at three numbers or more; shots are none of them."""
    for axis in dict.fromkeys(name for item in outcomes for name in item.labels):
        by_training: dict[str, set[Any]] = {}
        for item in outcomes:
            by_training.setdefault(item.training, set()).add(item.labels.get(axis))
        values = set.union(*by_training.values())
        numbers = all(isinstance(value, int | float) for value in values)
        if numbers and max(map(len, by_training.values())) > 2 and values != {item.shots for item in outcomes}:
            return axis
    return None


def summarise_curves(groups: Mapping[Row, Mapping[int, Outcome]], settings: StudySettings) -> dict[str, Any] | None:
    """Compute area and breaking point of each seed's curve, and compare areas paired over the seeds.

    Args:
        groups: outcomes by labels and seed, in the order of the job file; those without any keep their place.
        settings: which axis is compared, when a seed is dead.

    Returns:
        `axis`, `range`, `curves`, `comparisons`; `None` if nothing was evaluated along numbers. A seed counts where all
        points of the range are there.
    """
    axis = find_curve_axis([outcome for found in groups.values() for outcome in found.values()])
    if axis is None:
        return None
    grid: list[Any] = sorted({dict(row)[axis] for row in groups}, key=float)
    lines: dict[Row, dict[int, dict[Any, Outcome]]] = {}
    for row, found in groups.items():
        line = lines.setdefault(tuple((name, label) for name, label in row if name != axis), {})
        for seed, outcome in found.items():
            line.setdefault(seed, {})[dict(row)[axis]] = outcome
    curves = {row: _describe(dict(row), seeds, grid, settings.dead_below) for row, seeds in lines.items()}
    comparisons = _compare(curves, settings.compare)
    return {"axis": axis, "range": [grid[0], grid[-1]], "curves": [*curves.values()], "comparisons": comparisons}


def _describe(
    labels: Labels, seeds: dict[int, dict[Any, Outcome]], grid: Sequence[float], dead_below: float
) -> dict[str, Any]:
    whole = {seed: found for seed, found in sorted(seeds.items()) if all(x in found for x in grid)}
    lines = {seed: [{"x": x, "mean": found[x].accuracy} for x in grid] for seed, found in whole.items()}
    areas = {seed: measure_area(points) for seed, points in lines.items()}
    head: dict[str, Any] = {"labels": labels, "n": len(areas), "areas": areas}
    if not areas:
        return head
    chance = 1 / next(iter(whole.values()))[grid[0]].num_classes
    means = [{"x": x, "mean": statistics.fmean(found[x].accuracy for found in whole.values())} for x in grid]
    values = list(areas.values())
    breaks = {seed: find_breaking_point(points, chance, dead_below=dead_below) for seed, points in lines.items()}
    return {
        **head,
        "chance": chance,
        "area": statistics.fmean(values),
        "area_interval": list(bootstrap_interval(values)) if len(values) > 1 else None,
        "breaking_point": find_breaking_point(means, chance, dead_below=dead_below),
        "breaking_points": breaks,
    }


def _compare(curves: Mapping[Row, dict[str, Any]], axis: str | None) -> list[dict[str, Any]]:
    """Compare the areas of each value of an axis with its first, all other labels equal."""
    found = []
    for others, by_label in take_out(curves, axis).items() if axis else ():
        reference, *values = by_label
        for label in values:
            paired = pair(by_label[reference]["areas"], by_label[label]["areas"])
            found.append({"labels": dict(others), str(axis): label, "against": reference, **paired})
    add_holm(found)
    return found
