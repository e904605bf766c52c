"""Training curves: the loss and its parts, and accuracies."""

from __future__ import annotations

from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from qkd_qiskit.report.figures.canvas import DEVICE, FAINT, IDEAL, INK, Panel, render

SIZE = (4.5, 3.2)
DASHES: dict[str, Any] = {"solid": "-", "dashed": (0, (5, 2)), "dotted": (0, (1.2, 1.6))}
LOSSES = (
    ("loss", "training loss", INK, "solid"),
    ("task_loss", "task: cross-entropy with the labels", IDEAL, "dashed"),
    ("distillation_loss", "distillation: T² KL to the teacher", DEVICE, "dotted"),
    ("validation_loss", "validation: cross-entropy", FAINT, "solid"),
)
ACCURACIES = (
    ("train_accuracy", "training images", INK, "solid"),
    ("validation_accuracy", "validation images", DEVICE, "dashed"),
)


def draw_curves(numbers: dict[str, Any], prefix: str = "") -> list[Panel]:
    """Draw losses and accuracies against the epoch, the best epoch marked."""
    best = numbers["best_epoch"]
    position = numbers["epochs"].index(best) if best in numbers["epochs"] else -1
    parts = LOSSES if any(numbers["distillation_loss"]) else (LOSSES[0], LOSSES[3])

    def losses(figure: Figure) -> None:
        axes = figure.add_subplot(title="Loss and its parts")
        _draw_lines(axes, numbers, parts)
        values = [value for name, *_ in parts for value in numbers[name] if value]
        if values and max(values) > 8 * min(values):
            _use_log_scale(axes)
            axes.set_ylim(top=max(values) * (max(values) / min(values)) ** 0.45)  # room for the legend
        _finish(axes, numbers, "upper right")

    def accuracies(figure: Figure) -> None:
        axes = figure.add_subplot(title="Accuracy while training")
        _draw_lines(axes, numbers, ACCURACIES)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.set_ylim(top=1.005)
        _finish(axes, numbers, "lower right")

    ends = f"{_ends(numbers['loss'])}, best epoch {best} of {numbers['epochs'][-1]}"
    accuracy = numbers["validation_accuracy"][position]
    reached = "" if accuracy is None else f"; validation accuracy {accuracy:.1%} at best epoch {best}"
    return [
        render(f"{prefix}losses", f"Training loss and its parts against the epoch: {ends}.", SIZE, losses),
        render(f"{prefix}learning", f"Training and validation accuracy against the epoch{reached}.", SIZE, accuracies),
    ]


def _ends(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"from {known[0]:.3g} to {known[-1]:.3g}" if known else "not finite"


def _draw_lines(axes: Axes, numbers: dict[str, Any], series: tuple[tuple[str, str, str, str], ...]) -> None:
    few = len(numbers["epochs"]) < 3
    for name, label, colour, dash in series:
        values = [float("nan") if value is None else value for value in numbers[name]]
        marker = "o" if few else None
        axes.plot(numbers["epochs"], values, color=colour, ls=DASHES[dash], label=label, marker=marker, ms=4)


def _use_log_scale(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _finish(axes: Axes, numbers: dict[str, Any], legend: Literal["upper right", "lower right"]) -> None:
    best = numbers["best_epoch"]
    axes.axvline(best, color=FAINT, lw=1.2, ls=(0, (2, 2)), zorder=1, label=f"best epoch: {best}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    axes.set_xlabel("epoch")
    axes.legend(loc=legend, handlelength=2.6, labelspacing=0.3)
