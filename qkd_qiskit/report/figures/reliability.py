"""Reliability diagrams."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qkd_qiskit.report.figures.canvas import DEVICE, FAINT, IDEAL, SURFACE, Panel, outline, render


def draw_reliability(evaluation: dict[str, Any], name: str) -> Panel:
    """Draw accuracy against confidence, and below it how the confidences are spread."""
    numbers = evaluation["reliability"]
    series = [("noiseless", "noiseless", IDEAL, "o", SURFACE, -0.006)]
    if not evaluation["ideal"]:
        series.append(("backend", evaluation["title"], DEVICE, "s", DEVICE, 0.006))

    def draw(figure: Figure) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3.8, 1])
        top.set_title("Reliability before any calibration", pad=4 + 14 * len(series))
        top.plot([0, 1], [0, 1], color=FAINT, lw=1, ls=(0, (4, 3)))
        for key, label, colour, marker, face, shift in series:
            error = numbers[key]["expected_calibration_error"]
            _draw_series(top, numbers[key]["bins"], colour, marker, face, shift, f"{label}: ECE {error:.3f}")
            _draw_spread(bottom, numbers[key]["bins"], colour, filled=key == "backend")
        _finish(top, bottom)

    errors = ", ".join(f"{label} {numbers[key]['expected_calibration_error']:.4f}" for key, label, *_ in series)
    words = f"Accuracy against confidence in bins of a tenth. Expected calibration error: {errors}."
    margins = (0.56, 0.12, 0.3 + 0.2 * len(series), 0.5)
    return render(f"{name}-reliability", words, (3.7, 3.8), draw, margins=margins)


def _draw_series(
    axes: Axes, bins: list[dict[str, Any]], colour: str, marker: str, face: str, shift: float, label: str
) -> None:
    for item in bins:
        axes.plot([item["confidence"] + shift] * 2, item["interval"], color=colour, lw=1.4, alpha=0.6)
    x, y = [item["confidence"] + shift for item in bins], [item["accuracy"] for item in bins]
    axes.plot(x, y, marker=marker, ms=5.5, mfc=face, mec=colour, mew=1.4, color=colour, lw=1.1, label=label)


def _draw_spread(axes: Axes, bins: list[dict[str, Any]], colour: str, *, filled: bool) -> None:
    total = sum(item["samples"] for item in bins)
    edges = [index / 10 for index in range(11)]
    counts = {item["from"]: item["samples"] / total for item in bins}
    shares = [counts.get(edge, 0) for edge in edges[:-1]]
    axes.stairs(shares, edges, color=colour, fill=filled, alpha=0.45 if filled else 1, lw=1.4)


def _finish(top: Axes, bottom: Axes) -> None:
    top.set(xlim=(0, 1.02), ylim=(0, 1.02), ylabel="accuracy")
    top.set_yticks([0, 0.25, 0.5, 0.75, 1])
    outline(top)
    top.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.99), handlelength=1.6, borderpad=0.2, labelspacing=0.25)
    bottom.set(xlabel="confidence of the answer", ylabel="share", ylim=(0, 1))
    bottom.set_yticks([0, 1])
