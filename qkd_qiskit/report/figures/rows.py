"""Rows with a mean over seeds each: accuracies of groups, and paired differences. Each seed is a small dot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qkd_qiskit.report.figures.canvas import DEVICE, FAINT, IDEAL, INK, SURFACE, Panel, render, write_points


@dataclass(frozen=True)
class Mark:
    """One mean in a row, with `mean`, `interval` and `by_seed`; an open one is without noise."""

    numbers: dict[str, Any]
    open: bool = False


@dataclass(frozen=True)
class Row:
    """A row: what it is of, and one or two marks."""

    label: str
    marks: Sequence[Mark]


def draw_rows(name: str, words: str, rows: Sequence[Row], *, difference: bool, title: str = "") -> Panel:
    """Draw rows from top to bottom.

    Args:
        name: unique on the page.
        words: what the drawing shows.
        rows: at least one.
        difference: whether values are differences around 0, in percentage points.
        title: stands above.
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot(title=title)
        for place, row in enumerate(rows):
            height = len(rows) - 1 - place
            for mark in row.marks:
                _draw_mark(axes, height + (0.09 if mark.open else -0.13) * (len(row.marks) > 1), mark, difference)
            edge = ("axes fraction", "data")
            axes.annotate(
                row.label, (0, height), (0, 12), edge, "offset points", fontsize=9, weight="bold",
                bbox={"fc": SURFACE, "ec": "none", "pad": 0.8},
            )  # fmt: skip
            axes.annotate(
                _write(row.marks[-1].numbers["mean"], difference), (1.02, height), xycoords=edge, va="center",
                weight="bold",
            )  # fmt: skip
        _finish(axes, rows, difference)

    listed = "; ".join(f"{row.label} {_describe(row.marks[-1].numbers, difference)}" for row in rows)
    size = (4.55, 0.7 + 0.58 * len(rows))
    return render(name, f"{words} {listed}.", size, draw, margins=(0.08, 0.62, 0.26 if title else 0.05, 0.5))


def _write(value: float, difference: bool) -> str:
    return f"{100 * value:+.1f}".replace("-", "−") if difference else f"{value:.1%}"


def _describe(numbers: dict[str, Any], difference: bool) -> str:
    interval = numbers["interval"]
    said = _write(numbers["mean"], difference)
    return said + (f" ({_write(interval[0], difference)} to {_write(interval[1], difference)})" if interval else "")


def _draw_mark(axes: Axes, height: float, mark: Mark, difference: bool) -> None:
    numbers, colour = mark.numbers, INK if difference else IDEAL if mark.open else DEVICE
    seeds = list(numbers["by_seed"].values())
    if numbers["interval"]:
        axes.plot(numbers["interval"], [height] * 2, color=colour, lw=2.2, alpha=0.5, solid_capstyle="round", zorder=2)
    if len(seeds) > 1:
        axes.plot(seeds, [height - 0.12] * len(seeds), "o", ms=2.6, color=FAINT, alpha=0.8, zorder=2)
    face = SURFACE if mark.open else colour
    axes.plot(numbers["mean"], height, "o", ms=6.5, mfc=face, mec=colour, mew=1.6, zorder=3, clip_on=False)


def _finish(axes: Axes, rows: Sequence[Row], difference: bool) -> None:
    values = [
        value
        for row in rows
        for mark in row.marks
        for value in (mark.numbers["mean"], *(mark.numbers["interval"] or ()), *mark.numbers["by_seed"].values())
    ] + ([0.0] if difference else [])
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 0.02
    axes.set_xlim(low - room, high + room if difference else min(1.0, high + room))
    axes.set_ylim(-0.5, len(rows) - 0.35)
    axes.set_yticks([])
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    if difference:
        axes.axvline(0, color=FAINT, lw=1.2, zorder=1)
        axes.xaxis.set_major_formatter(lambda value, _: write_points(value))
        axes.set_xlabel("difference of test accuracy, percentage points, paired by seed")
    else:
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
        axes.set_xlabel("test accuracy, mean over seeds")
