"""What is compared with what: rows that differ in one label only, paired by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from qkd_qiskit.study.statistics import compare_paired, correct_holm

Row = tuple[tuple[str, Any], ...]
"""Labels as a key: names of axes with their labels, in the order of the job file."""
Group = TypeVar("Group")


def take_out(groups: Mapping[Row, Group], axis: str) -> dict[Row, dict[Any, Group]]:
    """Take one axis out of the labels.

    Args:
        groups: by labels; rows without the axis are left out.
        axis: its name.

    Returns:
        The other labels, each with what there is by the label of the axis, in the order of the groups.
    """
    split: dict[Row, dict[Any, Group]] = {}
    for row, found in groups.items():
        labels = dict(row)
        if axis in labels:
            label = labels.pop(axis)
            split.setdefault(tuple(labels.items()), {})[label] = found
    return split


def pair(against: Mapping[int, float], own: Mapping[int, float]) -> dict[str, Any]:
    """Subtract seed by seed, and summarise the differences.

    Args:
        against: a number for each seed of the reference.
        own: a number for each seed of what is compared with it.

    Returns:
        `seeds` that both have, `unpaired` ones, `differences`, and what `compare_paired` says of them.
    """
    seeds = sorted(against.keys() & own.keys())
    differences = [own[seed] - against[seed] for seed in seeds]
    unpaired = sorted(against.keys() ^ own.keys())
    return {"seeds": seeds, "unpaired": unpaired, "differences": differences, **asdict(compare_paired(differences))}


def add_holm(family: Sequence[dict[str, Any]]) -> None:
    """Put `holm_p` into each item: its p-value, corrected over this family.

    Comparisons of cells, of averages and of areas are a family each: they answer the same question from the same data
    in three ways, and are not three searches for a gain.
    """
    for item, p in zip(family, correct_holm([item["p"] for item in family])):
        item["holm_p"] = p
