"""Accuracy against a numbered condition, noise as a rule: the area under each curve, and where it breaks."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from qkd_qiskit.config import StudySettings
from qkd_qiskit.study.outcomes import Outcome
from qkd_qiskit.study.statistics import bootstrap_interval, compare_paired, correct_holm
from qkd_qiskit.study.units import Labels

Point = Mapping[str, Any]
Row = tuple[tuple[str, Any], ...]


def measure_area(points: Sequence[Point]) -> float:
    """Return the mean of a curve over its range, by trapezoids.

    Args:
        points: at least two, each with `x` and `mean`, in the order of `x`.
    """
    total = sum((right["x"] - left["x"]) * (right["mean"] + left["mean"]) / 2 for left, right in pairwise(points))
    return total / (points[-1]["x"] - points[0]["x"])


def find_breaking_point(points: Sequence[Point], chance: float) -> float | None:
    """Return where a falling curve is halfway from its first value to chance; `None` if it never is.

    Args:
        points: as for `measure_area`.
        chance: `1 / K`.
    """
    level = (points[0]["mean"] + chance) / 2
    for left, right in pairwise(points):
        if left["mean"] > level >= right["mean"]:
            return left["x"] + (left["mean"] - level) / (left["mean"] - right["mean"]) * (right["x"] - left["x"])
    return None


def find_curve_axis(outcomes: Sequence[Outcome]) -> str | None:
    """Return the axis along which the same trained students were evaluated at numbers, shots apart; `None` without."""
    for axis in dict.fromkeys(name for item in outcomes for name in item.labels):
        by_training: dict[str, set[Any]] = {}
        for item in outcomes:
            by_training.setdefault(item.training, set()).add(item.labels.get(axis))
        values = set.union(*by_training.values())
        numbers = all(isinstance(value, int | float) for value in values)
        if numbers and max(map(len, by_training.values())) > 2 and values != {item.shots for item in outcomes}:
            return axis
    return None


def summarise_curves(outcomes: Sequence[Outcome], settings: StudySettings) -> dict[str, Any] | None:
    """Compute area and breaking point of each seed's curve, and compare areas paired over the seeds.

    Args:
        outcomes: of the study.
        settings: which axis is compared.

    Returns:
        `axis`, `range`, `curves`, `comparisons`; `None` if nothing was evaluated along numbers. A seed counts where all
        points of the range are there.
    """
    axis = find_curve_axis(outcomes)
    if axis is None:
        return None
    grid: list[Any] = sorted({item.labels[axis] for item in outcomes if axis in item.labels}, key=float)
    groups: dict[Row, dict[int, dict[Any, Outcome]]] = {}
    for item in outcomes:
        labels = {name: value for name, value in item.labels.items() if name != axis}
        groups.setdefault(tuple(labels.items()), {}).setdefault(item.seed, {})[item.labels.get(axis)] = item
    curves = [_describe(dict(row), seeds, grid) for row, seeds in groups.items()]
    return {
        "axis": axis,
        "range": [grid[0], grid[-1]],
        "curves": curves,
        "comparisons": _compare(curves, settings.compare),
    }


def _describe(labels: Labels, seeds: dict[int, dict[Any, Outcome]], grid: Sequence[float]) -> dict[str, Any]:
    whole = {seed: found for seed, found in sorted(seeds.items()) if all(x in found for x in grid)}
    lines = {seed: [{"x": x, "mean": found[x].accuracy} for x in grid] for seed, found in whole.items()}
    areas = {seed: measure_area(points) for seed, points in lines.items()}
    head: dict[str, Any] = {"labels": labels, "n": len(areas), "areas": areas}
    if not areas:
        return head
    chance = 1 / next(iter(whole.values()))[grid[0]].num_classes
    means = [{"x": x, "mean": statistics.fmean(found[x].accuracy for found in whole.values())} for x in grid]
    values = list(areas.values())
    return {
        **head,
        "chance": chance,
        "area": statistics.fmean(values),
        "area_interval": list(bootstrap_interval(values)) if len(values) > 1 else None,
        "breaking_point": find_breaking_point(means, chance),
        "breaking_points": {seed: find_breaking_point(points, chance) for seed, points in lines.items()},
    }


def _compare(curves: Sequence[dict[str, Any]], axis: str | None) -> list[dict[str, Any]]:
    """Compare the areas of each value of an axis with its first, all other labels equal."""
    if axis is None:
        return []
    split: dict[Row, dict[Any, dict[str, Any]]] = {}
    for curve in curves:
        labels = dict(curve["labels"])
        if axis in labels:
            label = labels.pop(axis)
            split.setdefault(tuple(labels.items()), {})[label] = curve
    found = []
    for others, by_label in split.items():
        reference, *values = by_label
        for label in values:
            against, own = by_label[reference]["areas"], by_label[label]["areas"]
            seeds = sorted(against.keys() & own.keys())
            item: dict[str, Any] = {"labels": dict(others), axis: label, "against": reference, "seeds": seeds}
            found.append({**item, **asdict(compare_paired([own[seed] - against[seed] for seed in seeds]))})
    for item, p in zip(found, correct_holm([item["p"] for item in found])):
        item["holm_p"] = p
    return found
