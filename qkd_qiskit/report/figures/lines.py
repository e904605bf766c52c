"""Curves over noise, shots, cost or epochs: one drawing for each facet, one line for each kind, bands over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator

from qkd_qiskit.report.figures.canvas import FAINT, GRID, KINDS, LINES, MARKERS, SURFACE, Panel, render, write_points

SIZE = (3.7, 3.1)


@dataclass(frozen=True)
class Look:
    """How a family of curves is drawn.

    Attributes:
        name: unique on the page.
        what: for the text alternative, such as `Accuracy against noise`.
        x: label of the horizontal axis.
        y: label of the vertical axis.
        percent: whether values are shares, shown in percent.
        points: whether values are differences of shares, shown in percentage points around a line at 0.
        logarithmic: whether the horizontal axis is.
        legend: where it stands.
        lowest: what no value can be below, and so no band is drawn there.
    """

    name: str
    what: str
    x: str
    y: str
    percent: bool = False
    points: bool = False
    logarithmic: bool = False
    legend: Any = "lower left"
    lowest: float | None = None


@dataclass(frozen=True)
class Line:
    """A curve: `kind` chooses colour and marker; points have `x`, `mean` and perhaps `interval`.

    A `thin` one has many points: no markers, and each seed's own curve is drawn as a thin line.
    """

    kind: int
    label: str
    points: Sequence[dict[str, Any]]
    chance: float | None = None
    breaking_point: float | None = None
    thin: bool = False


def draw_facet(look: Look, title: str, lines: Sequence[Line], limits: tuple[float, float], place: int) -> Panel:
    """Draw the lines of one facet; all facets of a family share the limits of their vertical axis."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot(title=title)
        for line in lines:
            _draw_line(axes, line)
        _finish(axes, look, lines, limits)

    said = "; ".join(f"{line.label or 'mean'} {_describe(line, look)}" for line in lines)
    return render(f"{look.name}-{place}", f"{look.what}, {title}: {said}.", SIZE, draw, margins=(0.62, 0.12, 0.3, 0.5))


def find_limits(lines: Sequence[Line], look: Look) -> tuple[float, float]:
    """Return limits that hold every mean and interval, with some room."""
    values = [value for line in lines for point in line.points for value in (point["mean"], *(point["interval"] or ()))]
    values += [line.chance for line in lines if line.chance is not None] if look.percent else []
    values += [0.0] if look.points else []
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.02
    low, high = low - room, high + room
    if look.lowest is not None:
        low = max(low, look.lowest)
    return (max(low, 0.0), min(high, 1.005)) if look.percent else (low, high)


def _describe(line: Line, look: Look) -> str:
    first, last = line.points[0], line.points[-1]
    write = (lambda value: f"{100 * value:.1f} %") if look.percent or look.points else (lambda value: f"{value:.3f}")
    return f"{write(first['mean'])} at {first['x']:g}, {write(last['mean'])} at {last['x']:g}"


def _draw_line(axes: Axes, line: Line) -> None:
    colour, marker, dash = (choices[line.kind % len(KINDS)] for choices in (KINDS, MARKERS, LINES))
    x, y = [point["x"] for point in line.points], [point["mean"] for point in line.points]
    banded = [point for point in line.points if point["interval"]]
    if banded:
        low, high = ([point["interval"][end] for point in banded] for end in (0, 1))
        axes.fill_between([point["x"] for point in banded], low, high, color=colour, alpha=0.16, lw=0)
    if line.thin:
        for seed in line.points[0]["by_seed"]:
            values = [point["by_seed"].get(seed) for point in line.points]
            own = [float("nan") if value is None else value for value in values]
            axes.plot(x, own, color=colour, lw=0.6, alpha=0.4, zorder=1)
        axes.plot(x, y, color=colour, ls=dash, lw=1.8, label=line.label)
        return
    axes.plot(x, y, color=colour, marker=marker, ms=4.5, mec=SURFACE, mew=0.6, ls=dash, lw=1.6, label=line.label)
    if line.breaking_point is not None:
        height = (y[0] + (line.chance or 0.0)) / 2
        axes.plot(line.breaking_point, height, "x", ms=8, mew=2, color=colour, zorder=4)


def _finish(axes: Axes, look: Look, lines: Sequence[Line], limits: tuple[float, float]) -> None:
    if look.logarithmic:
        axes.set_xscale("log")
        ticks = sorted({point["x"] for line in lines for point in line.points})
        axes.xaxis.set_major_locator(FixedLocator(_spread(ticks)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:.2g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=look.x == "epoch"))
    if look.percent:
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    if look.points:
        axes.yaxis.set_major_formatter(lambda value, _: write_points(value))
        axes.axhline(0, color=FAINT, lw=1, zorder=1)
    axes.set_ylim(*limits)
    chances = {line.chance for line in lines if line.chance is not None} if look.percent else set()
    for chance in chances:
        axes.axhline(chance, color=GRID, lw=1.2, ls=(0, (4, 3)), zorder=1)
        axes.annotate("chance", (0.99, chance), (0, 3), ("axes fraction", "data"), "offset points", ha="right",
                      fontsize=8, color=FAINT)  # fmt: skip
    axes.set(xlabel=look.x, ylabel=look.y)
    if any(line.label for line in lines):
        axes.legend(loc=look.legend, handlelength=2.4, labelspacing=0.25, borderpad=0.2)


def _spread(ticks: Sequence[float], most: int = 6) -> list[float]:
    """Keep at most some of the ticks, each at least 1.5 times the one before."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or tick / kept[-1] >= 1.5:
            kept.append(tick)
    step = -(-len(kept) // most)
    return kept[::step]
