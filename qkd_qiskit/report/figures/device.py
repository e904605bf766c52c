"""The layout on the device's map: every qubit and coupling, coloured by error, the used ones marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qkd_qiskit.report.figures.canvas import FAINT, INK, STEPS, SURFACE, Panel, render

WIDTH = 8.6


def draw_device(numbers: dict[str, Any], name: str) -> Panel:
    """Draw qubits (readout error) and couplings (two-qubit error); the circuit's own have a ring and a number."""
    qubits, couplings = numbers["qubits"], numbers["couplings"]
    x, y = (np.array([qubit[axis] for qubit in qubits]) for axis in "xy")
    if np.ptp(y) > np.ptp(x):
        x, y = y, x
    readout = split_in_quarters([item["readout_error"] for item in qubits])
    gates = split_in_quarters([item["error"] for item in couplings])
    spacing = WIDTH / (np.ptp(x) + 2)
    spacing = min(spacing, 0.9)

    def draw(figure: Figure) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        unit = 72 * spacing
        _draw_couplings(axes, couplings, x, y, gates, unit)
        _draw_qubits(axes, qubits, x, y, readout, unit)
        axes.set(xlim=(x.min() - 1, x.max() + 1), ylim=(y.max() + 1 + 1.1 / spacing, y.min() - 1), aspect="equal")
        axes.axis("off")
        _draw_keys(figure, readout, gates)

    size = (max(spacing * (np.ptp(x) + 2), 5.6), spacing * (np.ptp(y) + 2) + 1.1)
    return render(f"{name}-device", describe_device(numbers), size, draw, wide=size[0] > 6)


def describe_device(numbers: dict[str, Any]) -> str:
    """Say in words where the circuit lies and how good that place is."""
    used = [item for item in numbers["qubits"] if item["used"]]
    pairs = [item for item in numbers["couplings"] if item["used"]]
    said = (
        f"Map of {numbers['device']} with {len(numbers['qubits'])} qubits and {len(numbers['couplings'])} couplings. "
    )
    said += "The circuit uses qubits " + ", ".join(
        f"{item['qubit']} ({_percent(item['readout_error'])})" for item in used
    )
    if pairs:
        said += " and couplings " + ", ".join(
            f"{item['qubits'][0]}-{item['qubits'][1]} ({_percent(item['error'])})" for item in pairs
        )
    return said + "; errors in brackets."


def split_in_quarters(errors: Sequence[float | None]) -> list[float]:
    """Return the three errors that part the known ones in four equal parts; empty if none is known."""
    known = [error for error in errors if error is not None and error < 1]
    return [float(edge) for edge in np.quantile(known, [0.25, 0.5, 0.75])] if known else []


def _colour(error: float | None, edges: Sequence[float]) -> str | None:
    if error is None or not edges:
        return None
    return STEPS[int(np.searchsorted(edges, error))]


def _draw_couplings(
    axes: Axes, couplings: list[dict[str, Any]], x: np.ndarray, y: np.ndarray, edges: list[float], unit: float
) -> None:
    for item in couplings:
        ends = item["qubits"]
        colour = _colour(item["error"], edges)
        if item["used"]:
            axes.plot(x[ends], y[ends], color=INK, lw=0.3 * unit, solid_capstyle="butt", zorder=1)
        broken = colour is None or (item["error"] or 0) >= 1
        axes.plot(x[ends], y[ends], color=colour or FAINT, lw=0.13 * unit, ls=":" if broken else "-", zorder=2)


def _draw_qubits(
    axes: Axes, qubits: list[dict[str, Any]], x: np.ndarray, y: np.ndarray, edges: list[float], unit: float
) -> None:
    for item, left, top in zip(qubits, x, y):
        colour = _colour(item["readout_error"], edges) or FAINT
        if item["used"]:
            axes.plot(left, top, "o", ms=0.86 * unit, color=INK, zorder=3)
            axes.plot(left, top, "o", ms=0.74 * unit, color=SURFACE, zorder=3)
        size = 0.6 if item["used"] else 0.5
        axes.plot(left, top, "o", ms=size * unit, color=colour, mew=0, zorder=4)
        axes.annotate(
            str(item["qubit"]), (left, top), ha="center", va="center_baseline", color=SURFACE, zorder=5,
            fontsize=min(9, 0.24 * unit), weight="bold" if item["used"] else "normal",
        )  # fmt: skip


def _draw_keys(figure: Figure, readout: list[float], gates: list[float]) -> None:
    """Draw the keys of qubits and couplings below the map: four classes of equal size."""
    for place, (edges, marker, title) in enumerate(
        ((readout, "o", "readout error of a qubit"), (gates, "_", "two-qubit error of a coupling"))
    ):
        if not edges:
            continue
        texts = [f"< {_percent(edges[0])}", *(f"to {_percent(edge)}" for edge in edges[1:]), f"> {_percent(edges[-1])}"]
        handles = [
            Line2D([], [], color=colour, marker=marker, ms=9, mew=4 if marker == "_" else 0, ls="", label=text)
            for colour, text in zip(STEPS, texts)
        ]
        figure.legend(
            handles=handles, title=title, title_fontsize=9, loc="lower left", bbox_to_anchor=(0.01, 0.5 * (1 - place)),
            bbox_transform=_bottom(figure), ncols=4, columnspacing=1.1, handletextpad=0.2, alignment="left",
            borderpad=0.1,
        )  # fmt: skip


def _bottom(figure: Figure) -> Any:
    from matplotlib.transforms import Affine2D

    height = 1.0 / figure.get_figheight()
    return Affine2D().scale(1, height) + figure.transFigure


def _percent(error: float | None) -> str:
    return "unknown" if error is None else f"{100 * error:.2g} %"
