"""From outcomes to the numbers of a study's tables: each cell over its seeds, and comparisons paired over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from qkd_qiskit.config import StudySettings
from qkd_qiskit.study.curves import summarise_curves
from qkd_qiskit.study.outcomes import Outcome, group_by_labels
from qkd_qiskit.study.pairing import Row, add_holm, pair, take_out
from qkd_qiskit.study.statistics import bootstrap_interval, compare_paired, wilson_interval
from qkd_qiskit.study.units import EvaluationUnit, Labels

BySeed = dict[int, Outcome]

MEASURES = ("loss", "calibration_error", "contraction", "scatter")
"""What an outcome holds besides its counts; see `Outcome`."""


def summarise(outcomes: Sequence[Outcome], units: Iterable[EvaluationUnit], settings: StudySettings) -> dict[str, Any]:
    """Compute everything that the tables show.

    Args:
        outcomes: of the study; a seed that died is one like any other.
        units: all that belong to the study: what is missing is counted, too.
        settings: which axis is compared, when a seed is dead.

    Returns:
        Plain data: `cells`, `comparisons`, `pooled`, `curves`.

    Raises:
        RunError: two outcomes have the same labels and seed.
    """
    groups = group_by_labels(outcomes)
    wanted: dict[Row, list[int]] = {}
    for unit in units:
        wanted.setdefault(tuple(unit.labels.items()), []).append(unit.seed)
    ordered = {row: groups.get(row, {}) for row in wanted} | groups
    comparisons, pooled = _compare(ordered, settings), _pool(ordered, settings)
    for family in (comparisons, pooled):
        add_holm(family)
    return {
        "format": 1,
        "compare": settings.compare,
        "pool": list(settings.pool),
        "dead_below": settings.dead_below,
        "cells": [_describe_cell(row, found, wanted.get(row, []), settings) for row, found in ordered.items()],
        "comparisons": comparisons,
        "pooled": pooled,
        "curves": summarise_curves(ordered, settings),
    }


def _describe_cell(row: Row, found: BySeed, wanted: Sequence[int], settings: StudySettings) -> dict[str, Any]:
    seeds = sorted(found)
    missing = sorted(set(wanted) - set(seeds))
    head: dict[str, Any] = {"labels": dict(row), "n": len(seeds), "seeds": seeds, "missing": missing}
    if not seeds:
        return head
    members = [found[seed] for seed in seeds]
    shares = [outcome.accuracy for outcome in members]
    correct, samples = sum(item.correct for item in members), sum(item.samples for item in members)
    teacher = next((item.teacher for item in members if item.teacher), None)
    return {
        **head,
        "mean": statistics.fmean(shares),
        "mean_interval": _interval(shares),
        "median": statistics.median(shares),
        "sd": statistics.stdev(shares) if len(shares) > 1 else None,
        "min": min(shares),
        "max": max(shares),
        "dead": sum(item.is_dead(settings.dead_below) for item in members),
        "dead_seeds": [item.seed for item in members if item.is_dead(settings.dead_below)],
        "correct": correct,
        "samples": samples,
        "images_interval": list(wilson_interval(correct, samples)),
        "by_seed": [[item.seed, item.correct, item.samples] for item in members],
        "teacher": list(teacher) if teacher else None,
        "validation": _mean([item.validation[0] / item.validation[1] for item in members]),
        **_over_seeds(members),
        "weights": members[0].weights,
        "seconds": sum(item.seconds for item in members),
    }


def _over_seeds(members: Sequence[Outcome]) -> dict[str, Any]:
    """Return mean and 95 % bootstrap interval over the seeds of everything that is measured besides accuracy."""
    found: dict[str, Any] = {}
    for name in MEASURES:
        values = [value for item in members if (value := getattr(item, name)) is not None]
        found |= {name: _mean(values), f"{name}_interval": _interval(values)}
    return found


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _mean(values: Sequence[float]) -> float | None:
    finite = _finite(values)
    return statistics.fmean(finite) if finite else None


def _interval(values: Sequence[float]) -> list[float] | None:
    """Return the interval of the mean over seeds with a finite value; `None` for one, which has no spread."""
    finite = _finite(values)
    return list(bootstrap_interval(finite)) if len(finite) > 1 else None


def _compare(groups: dict[Row, BySeed], settings: StudySettings) -> list[dict[str, Any]]:
    """Compare each value of the axis with its first, all other labels equal."""
    axis = settings.compare
    if axis is None:
        return []
    found = []
    for others, by_label in take_out(groups, axis).items():
        reference, *values = by_label
        for label in values:
            against, own = by_label[reference], by_label[label]
            item = {"labels": dict(others), axis: label, "against": reference, **pair(_shares(against), _shares(own))}
            dead = {
                name: sum(group[seed].is_dead(settings.dead_below) for seed in item["seeds"])
                for name, group in (("dead", own), ("dead_against", against))
            }
            found.append({**item, **dead})
    return found


def _shares(group: BySeed) -> dict[int, float]:
    return {seed: outcome.accuracy for seed, outcome in group.items()}


def _pool(groups: dict[Row, BySeed], settings: StudySettings) -> list[dict[str, Any]]:
    """Average differences over some axes for each seed, then compare these averages over the seeds.

    A seed counts if it is there in all that is averaged: otherwise its average would be of other cells.
    """
    axis = settings.compare
    if axis is None or not settings.pool:
        return []
    gathered: dict[Row, list[dict[int, float]]] = {}
    for others, by_label in take_out(groups, axis).items():
        reference, *values = by_label
        for label in values:
            kept: Labels = {name: value for name, value in others if name not in settings.pool}
            if axis not in settings.pool:
                kept[axis] = label
            against, own = by_label[reference], by_label[label]
            common = against.keys() & own.keys()
            differences = {seed: own[seed].accuracy - against[seed].accuracy for seed in common}
            gathered.setdefault(tuple(kept.items()), []).append(differences)
    found = []
    for kept_row, tables in gathered.items():
        seeds = sorted(set.intersection(*(set(table) for table in tables)))
        averages = [statistics.fmean(table[seed] for table in tables) for seed in seeds]
        item = {"labels": dict(kept_row), "averaged": len(tables), "seeds": seeds, "differences": averages}
        found.append({**item, **asdict(compare_paired(averages))})
    return found
