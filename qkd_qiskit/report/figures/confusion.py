"""Confusion matrices without noise and on the backend, on one scale."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from qkd_qiskit.report.figures.canvas import FAINT, IDEAL, INK, SURFACE, Panel, render


def draw_confusion(evaluation: dict[str, Any], name: str) -> list[Panel]:
    """Draw each class's answers; the darker, the larger the class's share, from 0 to 1 in both drawings."""
    numbers = evaluation["confusion"]
    parts = [("noiseless", "Noiseless")]
    parts += [] if evaluation["ideal"] else [("backend", f"On {evaluation['title']}")]
    return [_draw_matrix(numbers, part, title, f"{name}-confusion-{part}") for part, title in parts]


def _draw_matrix(numbers: dict[str, Any], part: str, title: str, name: str) -> Panel:
    table, classes, answers = numbers[part], numbers["classes"], numbers["answers"]
    size = 3.7

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot(title=title)
        for row, counts in enumerate(table):
            for column, count in enumerate(counts):
                _draw_cell(axes, row, column, count, sum(counts), fontsize=8 if len(classes) <= 10 else 5.5)
        axes.set(xlim=(-0.5, len(answers) - 0.5), ylim=(len(classes) - 0.5, -0.5), aspect="equal")
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
    return render(name, words, (size, size), draw)


def _draw_cell(axes: Axes, row: int, column: int, count: int, total: int, fontsize: float) -> None:
    share = count / total if total else 0.0
    cell = Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, fc=IDEAL, ec="none", alpha=0.05 + 0.9 * share)
    axes.add_patch(cell)
    if count:
        ink = SURFACE if share > 0.5 else INK
        axes.text(column, row, str(count), ha="center", va="center_baseline", fontsize=fontsize, color=ink)
    elif row == column:
        axes.text(column, row, "0", ha="center", va="center_baseline", fontsize=fontsize, color=FAINT)


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
