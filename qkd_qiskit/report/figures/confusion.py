"""Confusion matrices without noise and on the backend, on one scale."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from qkd_qiskit.report.figures.canvas import IDEAL, INK, SURFACE, Panel, render


def draw_confusion(evaluation: dict[str, Any], name: str) -> list[Panel]:
    """Draw each class's answers; the darker, the larger the class's share, from 0 to 1 in both drawings."""
    numbers = evaluation["confusion"]
    parts = [("noiseless", "Noiseless")]
    parts += [] if evaluation["ideal"] else [("backend", f"On {evaluation['title']}")]
    return [_draw_matrix(numbers, part, title, f"{name}-confusion-{part}") for part, title in parts]


def _draw_matrix(numbers: dict[str, Any], part: str, title: str, name: str) -> Panel:
    table, classes, answers = numbers[part], numbers["classes"], numbers["answers"]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot(title=title)
        _draw_cells(axes, table, fontsize=8 if len(classes) <= 10 else 5.5)
        axes.set(xlim=(-0.5, len(answers) - 0.5), ylim=(len(classes) - 0.5, -0.5), aspect="equal", anchor="NW")
        axes.set_xticks(range(len(answers)), answers)
        axes.set_yticks(range(len(classes)), classes)
        axes.set(xlabel="answer", ylabel="true class")
        axes.tick_params(length=0)
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(False)

    right = sum(table[index][index] for index in range(len(classes)))
    total = sum(map(sum, table))
    words = f"Confusion matrix, {title.lower()}: {right} of {total} on the diagonal. {_worst(table, classes, answers)}"
    return render(name, words, (3.7, 3.8), draw)


def _draw_cells(axes: Axes, table: list[list[int]], fontsize: float) -> None:
    squares, shades = [], []
    for row, counts in enumerate(table):
        for column, count in enumerate(counts):
            share = count / sum(counts) if count else 0.0
            (left, right), (low, high) = ((place - 0.47, place + 0.47) for place in (column, row))
            squares.append([(left, low), (right, low), (right, high), (left, high)])
            shades.append(to_rgba(IDEAL, 0.05 + 0.9 * share))
            if count:
                ink = SURFACE if share > 0.5 else INK
                axes.text(column, row, str(count), ha="center", va="center_baseline", fontsize=fontsize, color=ink)
    axes.add_collection(PolyCollection(squares, facecolors=shades, edgecolors="none"), autolim=False)


def _worst(table: list[list[int]], classes: list[str], answers: list[str]) -> str:
    wrong = [
        (count, classes[row], answers[column])
        for row, counts in enumerate(table)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    if not wrong:
        return "None is wrong."
    count, was, taken = max(wrong, key=lambda item: item[0])
    return f"The most frequent mistake takes {was} for {taken}, {count} times."
