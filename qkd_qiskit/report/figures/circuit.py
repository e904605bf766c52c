"""The logical circuit: wires and gates, folded into rows."""

from __future__ import annotations

import re
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

from qkd_qiskit.report.figures.canvas import FAINT, IDEAL, INK, SURFACE, TINT, Panel, render

COLUMNS = 18
NAMES = {"rx": "RX", "ry": "RY", "rz": "RZ", "h": "H", "x": "X", "sx": "√X", "sdg": "S†", "tdg": "T†", "u": "U"}
LOWERED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
EDGES = {"input": IDEAL, "weight": INK, "fixed": FAINT}


def draw_circuit(numbers: dict[str, Any], prefix: str = "") -> Panel:
    """Draw the gates of `collect_gates`: turned by features (tinted), by trained weights (plain), fixed."""
    wires = numbers["qubits"]
    columns = max((gate["column"] for gate in numbers["gates"]), default=0) + 1
    rows, shown = -(-columns // COLUMNS), min(columns, COLUMNS)

    def draw(figure: Figure) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        for row in range(rows):
            _draw_wires(axes, row, wires, shown if row < rows - 1 else columns - row * COLUMNS)
        for gate in numbers["gates"]:
            row, column = divmod(gate["column"], COLUMNS)
            _draw_gate(axes, gate, column, [-_height(row, qubit, wires) for qubit in gate["qubits"]])
        axes.set(xlim=(-1.3, shown + 0.1), ylim=(-_height(rows - 1, wires - 1, wires) - 0.7, 0.7), aspect="equal")
        axes.axis("off")

    words = (
        f"Logical circuit on {wires} qubits: {numbers['num_gates']} gates, {numbers['two_qubit_gates']} of them on two "
        f"qubits, depth {numbers['depth']}, {numbers['inputs']} inputs, {numbers['weights']} trained angles."
    )
    height = _height(rows - 1, wires - 1, wires) + 1.4
    return render(f"{prefix}circuit", words, (0.5 * (shown + 1.4), 0.5 * height), draw, wide=True)


def _height(row: int, qubit: int, wires: int) -> float:
    return row * (wires + 0.6) + qubit


def _draw_wires(axes: Axes, row: int, wires: int, columns: int) -> None:
    for qubit in range(wires):
        height = -_height(row, qubit, wires)
        axes.plot([-0.55, columns - 0.4], [height, height], color=FAINT, lw=0.9, zorder=1)
        axes.text(-0.7, height, f"q{str(qubit).translate(LOWERED)}", ha="right", va="center_baseline", fontsize=9)


def _draw_gate(axes: Axes, gate: dict[str, Any], column: int, heights: list[float]) -> None:
    if gate["name"] in ("cx", "cz") and len(heights) == 2:
        _draw_controlled(axes, column, *heights, target=gate["name"] == "cx")
        return
    top, bottom = max(heights), min(heights)
    edge, face = EDGES[gate["role"]], TINT if gate["role"] == "input" else SURFACE
    axes.add_patch(
        FancyBboxPatch(
            (column - 0.36, bottom - 0.32), 0.72, top - bottom + 0.64, "round,pad=0.04,rounding_size=0.1",
            fc=face, ec=edge, lw=0.9, zorder=2,
        )
    )  # fmt: skip
    name, middle = NAMES.get(gate["name"], gate["name"]), (top + bottom) / 2
    label = re.sub(r"\[(\d+)\]", lambda found: found[1].translate(LOWERED), gate["parameters"])
    turned: dict[str, Any] = {"rotation": 90} if top > bottom else {}
    if not label or turned:
        words = f"{name}: {label}" if label else name
        axes.text(column, middle, words, ha="center", va="center", fontsize=8.5, zorder=3, **turned)
        return
    axes.text(column, middle + 0.02, name, ha="center", va="bottom", fontsize=8.5, zorder=3)
    size = 8 if len(label) < 6 else 5.5
    axes.text(column, middle - 0.03, label, ha="center", va="top", fontsize=size, color=FAINT, zorder=3)


def _draw_controlled(axes: Axes, column: int, control: float, other: float, *, target: bool) -> None:
    axes.plot([column, column], [control, other], color=INK, lw=1.1, zorder=2)
    axes.add_patch(Circle((column, control), 0.11, fc=INK, ec="none", zorder=3))
    if not target:
        axes.add_patch(Circle((column, other), 0.11, fc=INK, ec="none", zorder=3))
        return
    axes.add_patch(Circle((column, other), 0.24, fc=SURFACE, ec=INK, lw=1.1, zorder=3))
    axes.plot([column - 0.24, column + 0.24], [other, other], color=INK, lw=1.1, zorder=4)
    axes.plot([column, column], [other - 0.24, other + 0.24], color=INK, lw=1.1, zorder=4)
