"""The trainings of several runs, epoch by epoch: each seed, and mean and interval over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qkd_qiskit.report.numbers.comparison import find_axes, find_repeated
from qkd_qiskit.report.numbers.curves import finite
from qkd_qiskit.report.numbers.intervals import describe_mean
from qkd_qiskit.report.numbers.records import Record
from qkd_qiskit.runs import RunDirectory

SERIES = ("validation_accuracy", "task_loss", "distillation_loss")
MOST_EPOCHS = 40
"""So many epochs of each training are kept, evenly spread, the last one among them."""


def collect_trainings(records: Sequence[Record]) -> list[dict[str, Any]]:
    """List the training curves of each group of trainings that differ in nothing but the seed.

    Labels that one training has several of are conditions of its evaluations and are left out.
    """
    labels: dict[str, dict[str, set[Any]]] = {}
    for item in records:
        for name, value in item.labels.items():
            labels.setdefault(item.training, {}).setdefault(name, set()).add(value)
    repeated = find_repeated(records)
    axes = [
        name
        for name, values in find_axes(records).items()
        if len(values) > 1 and name not in repeated and all(len(own.get(name, ())) == 1 for own in labels.values())
    ]
    groups: dict[tuple[Any, ...], dict[int, list[dict[str, Any]]]] = {}
    for item in {item.training: item for item in reversed(records)}.values():
        epochs = RunDirectory(item.folder).read_metrics() if item.folder is not None else []
        if epochs:
            groups.setdefault(tuple((name, item.labels[name]) for name in axes), {})[item.seed] = epochs
    return [_describe_group(dict(key), groups[key]) for key in sorted(groups, key=_order(records, axes))]


def _order(records: Sequence[Record], axes: Sequence[str]) -> Any:
    known = find_axes(records)
    return lambda key: [known[name].index(value) for name, value in key]


def _describe_group(labels: dict[str, Any], by_seed: dict[int, list[dict[str, Any]]]) -> dict[str, Any]:
    last = min(epochs[-1]["epoch"] for epochs in by_seed.values())
    count = min(last, MOST_EPOCHS)
    chosen = sorted({round(1 + place * (last - 1) / max(1, count - 1)) for place in range(count)})
    series = {}
    for name in SERIES:
        rows = {
            seed: {line["epoch"]: finite(line.get(name)) for line in epochs} for seed, epochs in sorted(by_seed.items())
        }
        values = {str(seed): [row.get(epoch) for epoch in chosen] for seed, row in rows.items()}
        columns = [[number for number in column if number is not None] for column in zip(*values.values())]
        described = [describe_mean(column, share=name == "validation_accuracy") for column in columns]
        series[name] = {
            "by_seed": values,
            "mean": [item["mean"] for item in described],
            "low": [(item["interval"] or [None, None])[0] for item in described],
            "high": [(item["interval"] or [None, None])[1] for item in described],
        }
    return {"labels": labels, "seeds": sorted(by_seed), "epochs": chosen, "planned": last, **series}
