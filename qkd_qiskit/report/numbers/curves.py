"""The training, epoch by epoch."""

from __future__ import annotations

import math
from typing import Any

from qkd_qiskit.config import LOSS_CONSTANTS
from qkd_qiskit.report.reading import StoredRun

SERIES = ("loss", "task_loss", "distillation_loss", "validation_loss", "train_accuracy", "validation_accuracy")
FORMULAS = {
    "kd": "loss = {rest:g} task{smoothed} + {alpha:g} distillation",
    "paper": "loss = task + {alpha:g} distillation",
    "ce": "loss = task",
    "dkd": "loss = task + distillation",
    "dist": "loss = task + distillation",
    "rkd": "loss = task + distillation",
    "logit_std": "loss = {rest:g} task + {beta:g} distillation",
}


def collect_curves(run: StoredRun) -> dict[str, Any] | None:
    """List the epochs' losses and accuracies; `None` before the first epoch has ended."""
    if not run.epochs:
        return None
    constants = {**LOSS_CONSTANTS.get(run.settings.loss, {}), **run.settings.constants}
    rest = round(1 - constants.get("alpha", 0.0), 12)
    smoothing = constants.get("smoothing", 0.0)
    smoothed = f" (its labels smoothed by {smoothing:g}, which the curve is not)" if smoothing else ""
    best = max(run.epochs, key=_rank)
    last = run.epochs[-1]
    return {
        "epochs": [epoch["epoch"] for epoch in run.epochs],
        "planned_epochs": run.settings.training.epochs,
        **{name: [finite(epoch.get(name)) for epoch in run.epochs] for name in SERIES},
        "train_samples": last["train_samples"],
        "validation_samples": last["validation_samples"],
        "best_epoch": run.result["best_epoch"] if run.result else best["epoch"],
        "loss_name": run.settings.loss,
        "formula": FORMULAS.get(run.settings.loss, "loss").format(**{"rest": rest, "smoothed": smoothed, **constants}),
        "temperature": constants.get("temperature"),
        "seconds": sum(epoch.get("seconds", 0.0) for epoch in run.epochs),
    }


def _rank(epoch: dict[str, Any]) -> tuple[float, float]:
    loss = finite(epoch.get("validation_loss"))
    return epoch["validation_accuracy"], -(math.inf if loss is None else loss)


def finite(value: float | None) -> float | None:
    """Keep what JSON can hold: a training that diverged has gaps."""
    return value if value is not None and math.isfinite(value) else None
