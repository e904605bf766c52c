"""The numbers of a drawing as a table, for those who can't see it or want to copy them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qkd_qiskit.report.parts import Table
from qkd_qiskit.report.wording import UNKNOWN

FOLDED = "The numbers of this figure"
MOST_ROWS = 200


def decimals(value: float | None, digits: int = 3) -> str:
    """Write a number, or that it is not known."""
    return UNKNOWN if value is None else f"{value:.{digits}f}".replace("-", "−")


def percent(value: float | None) -> str:
    """Write a share."""
    return UNKNOWN if value is None else f"{value:.2%}"


def points(value: float | None) -> str:
    """Write a difference of shares in percentage points."""
    return UNKNOWN if value is None else f"{100 * value:+.2f}".replace("-", "−")


def fold(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Make a folded table; of a very long one the first rows are shown, the rest is in `report.json`."""
    caption = FOLDED
    if len(rows) > MOST_ROWS:
        caption += f" (the first {MOST_ROWS} of {len(rows):,} rows; all are in report.json)"
    return Table(caption, head, rows[:MOST_ROWS], folded=True)


def list_epochs(training: dict[str, Any]) -> Table:
    """List losses and accuracies of each epoch."""
    names = ("loss", "task_loss", "distillation_loss", "validation_loss", "train_accuracy", "validation_accuracy")
    rows = [
        [str(epoch), *(decimals(training[name][place], 4) for name in names)]
        for place, epoch in enumerate(training["epochs"])
    ]
    return fold(["epoch", *(name.replace("_", " ") for name in names)], rows)


def list_expectations(item: dict[str, Any]) -> Table:
    """List the line of each weight of observables, and the residuals."""
    numbers = item["expectations"]
    rows = [
        [f"{row['weight'] or 'all'}", str(row["observables"]), *map(decimals, (row["slope"], row["r_squared"]))]
        for row in numbers["by_weight"]
    ]
    rows.append(["together", str(numbers["observables"]), decimals(numbers["slope"]), decimals(numbers["r_squared"])])
    residuals = numbers["residuals"] or {}
    for name in ("raw_rms", "corrected_rms", "shot_noise_rms"):
        if name in residuals:
            rows.append([f"residuals, {name.replace('_', ' ')}", UNKNOWN, decimals(residuals[name], 4), UNKNOWN])
    return fold(["qubits acted on", "observables", "slope or RMS", "R²"], rows)


def list_reliability(item: dict[str, Any]) -> Table:
    """List both confusion matrices by true class, and the bins of the reliability diagram."""
    confusion, rows = item["confusion"], []
    for part in ("noiseless", "backend"):
        for name, counts in zip(confusion["classes"], confusion[part]):
            listed = ", ".join(f"{answer}: {count}" for answer, count in zip(confusion["answers"], counts) if count)
            rows.append([part, f"true class {name}", f"{sum(counts):,}", f"answers {listed}"])
    for part in ("noiseless", "backend"):
        for row in item["reliability"][part]["bins"]:
            rows.append(
                [
                    part,
                    f"confidence {row['from']:.1f} to {row['to']:.1f}",
                    f"{row['samples']:,}",
                    f"mean confidence {percent(row['confidence'])}, accuracy {percent(row['accuracy'])}",
                ]
            )
    return fold(["", "of", "samples", ""], rows)


def list_device(device: dict[str, Any]) -> Table:
    """List the qubits in use first, then all others, with the errors of their couplings."""
    rows = []
    for item in sorted(device["qubits"], key=lambda item: not item["used"]):
        own = [pair for pair in device["couplings"] if item["qubit"] in pair["qubits"]]
        near = ", ".join(f"{sum(pair['qubits']) - item['qubit']}: {percent(pair['error'])}" for pair in own)
        logical = UNKNOWN if item["logical"] is None else str(item["logical"])
        rows.append([str(item["qubit"]), logical, percent(item["readout_error"]), near])
    return fold(["qubit", "logical qubit", "readout error", "two-qubit error with each neighbour"], rows)
