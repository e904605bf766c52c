"""Ideal against measured expectation values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from qkd_qiskit.report.figures.canvas import DEVICE, FAINT, INK, Panel, outline, render, step_colour

SIZE = (3.7, 3.8)


def draw_expectations(evaluation: dict[str, Any], name: str) -> list[Panel]:
    """Draw the scatter, the contraction of each weight, and (if shots were counted) the residuals."""
    numbers = evaluation["expectations"]
    panels = [_draw_scatter(numbers, name, evaluation["title"])]
    if len(numbers["by_weight"]) > 1:
        panels.append(_draw_contraction(numbers, name))
    if numbers["residuals"]:
        panels.append(_draw_residuals(numbers["residuals"], name))
    return panels


def describe_weight(weight: int) -> str:
    """Name the observables of one weight."""
    return f"{weight} qubit{'s' if weight > 1 else ''}" if weight else "all observables"


def _draw_scatter(numbers: dict[str, Any], name: str, backend: str) -> Panel:
    groups = numbers["points"]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot(title="Measured against ideal ⟨O⟩")
        axes.plot([-1, 1], [-1, 1], color=FAINT, lw=1, ls=(0, (4, 3)))
        for place, group in enumerate(groups):
            colour = step_colour(place, len(groups))
            _draw_dots(axes, group, colour)
            axes.plot([], [], "o", ms=5, color=colour, label=describe_weight(group["weight"]))
        if numbers["slope"] is not None:
            ends = np.array([-1, 1])
            axes.plot(ends, numbers["slope"] * ends + numbers["intercept"], color=INK, lw=1.4)
        axes.text(0.97, 0.04, _describe_fit(numbers), transform=axes.transAxes, ha="right", va="bottom", weight="bold")
        axes.set(
            xlim=(-1.05, 1.05),
            ylim=(-1.05, 1.05),
            xlabel="ideal, noiseless",
            ylabel="measured",
            aspect="equal",
            anchor="NW",
        )
        axes.set_xticks([-1, -0.5, 0, 0.5, 1])
        axes.set_yticks([-1, -0.5, 0, 0.5, 1])
        outline(axes)
        axes.legend(loc="upper left", handletextpad=0.1, labelspacing=0.25, borderpad=0.2)

    words = f"Scatter of measured against ideal expectation values on {backend}: {_describe_fit(numbers, ', ')}."
    return render(f"{name}-scatter", words, SIZE, draw)


def _describe_fit(numbers: dict[str, Any], joint: str = "\n") -> str:
    if numbers["slope"] is None:
        return "no line: constant"
    r_squared = "" if numbers["r_squared"] is None else f"{joint}R² {numbers['r_squared']:.3f}"
    return f"slope {numbers['slope']:.3f}{r_squared}"


def _draw_dots(axes: Axes, group: dict[str, Any], colour: str) -> None:
    """Draw points as one path of lines without length and with round ends: a third of the bytes, and they scale."""
    points = np.repeat(np.column_stack([group["ideal"], group["measured"]]), 2, axis=0)
    path = Path(points, np.tile([Path.MOVETO, Path.LINETO], len(points) // 2))
    path.should_simplify = False
    axes.add_patch(PathPatch(path, fill=False, ec=colour, lw=2.1, capstyle="round", alpha=0.75))


def _draw_contraction(numbers: dict[str, Any], name: str) -> Panel:
    rows = [row for row in numbers["by_weight"] if row["slope"] is not None]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot(title="Contraction by weight of the observable")
        for place, row in enumerate(rows):
            colour = step_colour(place, len(rows))
            axes.plot([row["weight"]] * 2, [0, row["slope"]], color=colour, lw=2, solid_capstyle="round")
            axes.plot(row["weight"], row["slope"], "o", ms=7, color=colour)
            axes.annotate(
                f"{row['slope']:.3f}", (row["weight"], row["slope"]), (0, 7), "data", "offset points", ha="center"
            )
        axes.axhline(1, color=FAINT, lw=1, ls=(0, (4, 3)))
        highest = max([1.0, *(row["slope"] for row in rows)])
        lowest = min([0.0, *(row["slope"] for row in rows)])
        axes.set(ylim=(lowest * 1.1, highest * 1.12), xlabel="qubits the observable acts on", ylabel="slope (ideal: 1)")
        axes.set_xticks([row["weight"] for row in rows])
        axes.margins(x=0.12)
        axes.grid(False, axis="x")

    listed = ", ".join(f"{row['slope']:.3f} on {describe_weight(row['weight'])}" for row in rows)
    return render(f"{name}-contraction", f"Slope by weight of the observable: {listed}.", SIZE, draw)


def _draw_residuals(numbers: dict[str, Any], name: str) -> Panel:
    edges = np.array(numbers["bin_edges"])

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot(title="Residuals against shot noise")
        axes.stairs(numbers["raw_counts"], edges, color=FAINT, lw=1.2, fill=False, label="measured − ideal")
        axes.stairs(numbers["corrected_counts"], edges, color=DEVICE, fill=True, alpha=0.45, label="lines taken off")
        grid = np.linspace(edges[0], edges[-1], 401)
        axes.plot(grid, _shot_noise(grid, numbers), color=INK, lw=1.4, ls=(0, (5, 2)), label="shot noise alone")
        rms = (
            f"RMS {numbers['raw_rms']:.3f}\nlines off {numbers['corrected_rms']:.3f}\n"
            f"shot noise {numbers['shot_noise_rms']:.3f}"
        )
        axes.text(0.98, 0.98, rms, transform=axes.transAxes, ha="right", va="top", fontsize=8.5)
        axes.set(xlabel="residual of ⟨O⟩", ylabel="pairs", xlim=(edges[0], edges[-1]))
        axes.legend(loc="upper left", labelspacing=0.25, borderpad=0.1, handlelength=1.6)
        axes.set_ylim(top=1.28 * max(numbers["corrected_counts"]))

    words = (
        f"Histogram of residuals: RMS {numbers['raw_rms']:.4f} as measured, {numbers['corrected_rms']:.4f} with each "
        f"observable's line taken off, {numbers['shot_noise_rms']:.4f} from shot noise alone."
    )
    return render(f"{name}-residuals", words, SIZE, draw)


def _shot_noise(grid: np.ndarray, numbers: dict[str, Any]) -> np.ndarray:
    """Return the counts a bin would have if there were only shot noise of the mean width."""
    width = numbers["shot_noise_rms"] or 1e-9
    pairs, step = sum(numbers["corrected_counts"]), numbers["bin_edges"][1] - numbers["bin_edges"][0]
    above = (grid[:, None] + np.array([step / 2, -step / 2])) / (width * math.sqrt(2))
    share = np.array([[math.erf(value) for value in pair] for pair in above])
    return pairs * (share[:, 0] - share[:, 1]) / 2
