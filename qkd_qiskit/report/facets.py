"""Sorting curves into drawings: one axis becomes the colour of a line, the others make a drawing each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qkd_qiskit.report.figures.canvas import KINDS, Panel
from qkd_qiskit.report.figures.lines import Line, Look, draw_facet, find_limits

MOST_FACETS = 12
COLOURED = ("training", "noise in training", "training kind", "kind", "loss", "teacher")
"""Axes that are told by colour if there is a choice, the first of them first."""


def choose_colour(lines: Sequence[dict[str, Any]], axes: Mapping[str, Sequence[Any]]) -> str | None:
    """Choose the axis that tells the lines of one drawing apart; `None` if none has two values and not too many."""
    present = {name for line in lines for name in line["labels"]}
    fitting = [name for name, found in axes.items() if name in present and 1 < len(found) <= len(KINDS)]
    preferred = [name for wanted in COLOURED for name in fitting if name.lower() == wanted]
    candidates = preferred or [name for name in fitting if "train" in name.lower()] or fitting[::-1]
    return candidates[0] if candidates else None


def describe_labels(labels: dict[str, Any]) -> str:
    """Write labels as `MNIST · kd`; bare numbers and on/off words keep their axis's name."""
    return " · ".join(_write(name, value) for name, value in labels.items())


def _write(name: str, value: Any) -> str:
    bare = isinstance(value, int | float) or str(value).lower() in ("none", "true", "false", "–", "")
    return f"{name}: {value}" if bare else str(value)


def draw_facets(
    lines: Sequence[dict[str, Any]], look: Look, axes: Mapping[str, Sequence[Any]], *, chance: bool = False
) -> tuple[list[Panel], int]:
    """Draw curves of `collect_lines` in as many drawings as needed, on the same vertical axis.

    Args:
        lines: the curves.
        look: how they are drawn.
        axes: every axis with all its values, so that a value has the same colour in all figures.
        chance: whether chance and breaking points are marked.

    Returns:
        The panels, and how many drawings were left out for want of room.
    """
    colour = choose_colour(lines, axes)
    kinds = list(axes[colour]) if colour else [None]
    facets: dict[str, list[Line]] = {}
    for line in lines:
        rest = {name: value for name, value in line["labels"].items() if name != colour}
        facets.setdefault(describe_labels(rest) or _name_backend(line), []).append(
            Line(
                kind=kinds.index(line["labels"].get(colour)) if colour else 0,
                label=describe_labels({colour: line["labels"][colour]}) if colour and colour in line["labels"] else "",
                points=line["points"],
                chance=line.get("chance") if chance else None,
                breaking_point=line.get("breaking_point") if chance else None,
                thin=line.get("thin", False),
            )
        )
    shown = list(facets.items())[:MOST_FACETS]
    limits = find_limits([line for _, group in shown for line in group], look)
    panels = [draw_facet(look, title, group, limits, place) for place, (title, group) in enumerate(shown)]
    return panels, len(facets) - len(shown)


def _name_backend(line: dict[str, Any]) -> str:
    return str(line.get("backend") or "mean over seeds")
