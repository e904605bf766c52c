"""The headline: every accuracy with its interval."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qkd_qiskit.report.figures.canvas import DEVICE, FAINT, GRID, IDEAL, INK, SURFACE, Panel, render
from qkd_qiskit.report.wording import pair_rows

LOOKS = {"teacher": (INK, "D", True), "training": (IDEAL, "s", True), "noiseless": (IDEAL, "o", False)}
OTHER = (DEVICE, "o", True)


def draw_accuracies(rows: list[dict[str, Any]], num_classes: int, name: str = "accuracies") -> Panel:
    """Draw accuracies as points with 95 % Wilson intervals; a backend and its noiseless samples share a line."""
    lines = pair_rows(rows)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        left = max(0.0, int(min(row["interval"][0] for row in rows) * 20 - 0.5) / 20)
        if num_classes and left <= 1 / num_classes + 0.1:
            left = 0.0
        for place, (row, noiseless) in enumerate(lines):
            _draw_line(axes, len(lines) - 1 - place, row, noiseless, left)
        _finish(axes, len(lines), left, num_classes)

    listed = "; ".join(
        f"{row['name']}: {row['accuracy']:.1%} ({row['correct']} of {row['samples']}, "
        f"{row['interval'][0]:.1%} to {row['interval'][1]:.1%})"
        for row in rows
    )
    margins = (0.05, 0.62, 0.05, 0.5)
    return render(
        name,
        f"Accuracies with 95 % intervals. {listed}.",
        (4.7, 0.6 + 0.56 * len(lines)),
        draw,
        margins=margins,
    )


def _draw_line(axes: Axes, height: int, row: dict[str, Any], noiseless: dict[str, Any] | None, left: float) -> None:
    _draw_point(axes, height - (0.1 if noiseless else 0), row)
    if noiseless:
        _draw_point(axes, height + 0.1, noiseless)
    shots = "" if row["shots"] is None else f" · {row['shots']:,} shots" if row["shots"] else " · exact"
    axes.annotate(row["name"], (left, height), (0, 10), "data", "offset points", fontsize=9, weight="bold")
    note, edge = f"{row['samples']:,} samples{shots}", ("axes fraction", "data")
    axes.annotate(note, (1, height), (0, 10), edge, "offset points", ha="right", fontsize=8, color=FAINT)
    axes.annotate(f"{row['accuracy']:.1%}", (1.025, height), xycoords=edge, va="center", weight="bold")


def _draw_point(axes: Axes, height: float, row: dict[str, Any]) -> None:
    colour, marker, filled = LOOKS.get(row["kind"], OTHER)
    axes.plot(row["interval"], [height] * 2, color=colour, lw=2.2, solid_capstyle="round", alpha=0.5, zorder=2)
    face = colour if filled else SURFACE
    axes.plot(row["accuracy"], height, marker, ms=6.5, mfc=face, mec=colour, mew=1.6, zorder=3, clip_on=False)


def _finish(axes: Axes, rows: int, left: float, num_classes: int) -> None:
    axes.set_xlim(left, 1)
    axes.set_ylim(-0.5, rows - 0.35)
    axes.set_yticks([])
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel("test accuracy, 95 % Wilson interval" + ("" if left == 0 else f" (axis from {left:.0%})"))
    if num_classes and left < 1 / num_classes:
        axes.axvline(1 / num_classes, color=GRID, lw=1.2, ls=(0, (4, 3)))
        axes.annotate("chance", (1 / num_classes, -0.5), (3, 0), textcoords="offset points", fontsize=8, color=FAINT)
