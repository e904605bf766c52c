"""A study's folder written by hand: units that vouch for themselves and cells with metrics, every number known."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qkd_qiskit.files import digest_of

SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
AXES = {
    "data set": ("MNIST", "Fashion-MNIST"),
    "training": ("noiseless", "noise-aware", "normalised"),
    "loss": ("none", "kd", "kd + twin"),
}
SAMPLES = 8000
DATE = "2025-02-26T14:33:06-05:00"


def write_study(
    folder: Path,
    *,
    axes: dict[str, Sequence[Any]] = AXES,
    seeds: Sequence[int] = range(5),
    scales: Sequence[float] = SCALES,
    shots: Sequence[int] = (0,),
    epochs: int = 40,
    compare: str | None = "loss",
) -> None:
    """Write `study.json`, `units/` and, if there are epochs, `cells/`."""
    (folder / "units").mkdir(parents=True)
    conditions = {"noise": list(scales)} | ({"shots": list(shots)} if len(shots) > 1 else {})
    content = {"format": 1, "study": {"compare": compare}, "axes": axes, "conditions": conditions}
    (folder / "study.json").write_text(json.dumps(content))
    generator = np.random.default_rng(0)
    for values in itertools.product(*axes.values()):
        labels = dict(zip(axes, values))
        ease = sum(list(axes[name]).index(value) for name, value in labels.items() if name != "data set")
        for seed in seeds:
            training = digest_of([labels, seed])[:24]
            start = (0.97 if values[0] != "Fashion-MNIST" else 0.85) + 0.004 * ease + generator.normal(0, 0.004)
            if epochs:
                write_cell(folder / "cells" / training, epochs, start, plain=labels.get("loss") == "none")
            for scale, count in itertools.product(scales, shots):
                accuracy = 0.1 + (start - 0.1) * np.exp(-((scale / (2.5 + ease)) ** 2)) + generator.normal(0, 0.003)
                more = {"noise": scale} | ({"shots": count} if len(shots) > 1 else {})
                write_unit(folder, {**labels, **more}, seed, training, int(accuracy * SAMPLES), scale, count)


def write_unit(
    folder: Path, labels: dict[str, Any], seed: int, training: str, correct: int, scale: float, shots: int
) -> Path:
    """Write one outcome."""
    content = {
        "format": 1,
        "key": digest_of([labels, seed])[:24],
        "labels": labels,
        "seed": seed,
        "training": training,
        "settings": {},
        "backend": "aer_noisy" if not shots else "fake_brisbane",
        "noise_scale": scale,
        "shots": shots,
        "counts": {"correct": correct, "samples": SAMPLES},
        "validation": {"correct": 470, "samples": 482},
        "teacher": None,
        "num_classes": 10,
        "loss": 0.3,
        "calibration_error": 0.01 + 0.03 * scale,
        "contraction": float(np.exp(-0.3 * scale)),
        "scatter": 0.03 * scale,
        "weights": {"features": 1, "quantum": 2, "head": 3},
        "seconds": 17.2,
        "best_epoch": 3,
        "versions": {"qiskit": "2.6.2"},
    }
    if shots:
        content |= {"qpu_seconds_estimated": shots / 100, "qpu_seconds_charged": None}
    path = folder / "units" / f"{content['key']}.json"
    path.write_text(json.dumps({**content, "sha256": digest_of(content)}))
    return path


def write_cell(folder: Path, epochs: int, top: float, *, plain: bool) -> None:
    """Write the metrics of a training that gets to a validation accuracy."""
    folder.mkdir(parents=True)
    lines = [
        {
            "epoch": epoch,
            "loss": 2 / epoch,
            "task_loss": 1.5 / epoch + 0.05,
            "distillation_loss": 0.0 if plain else 9 / epoch + 0.4 * (1 - top),
            "validation_accuracy": top - 0.6 / epoch,
        }
        for epoch in range(1, epochs + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "environment.json").write_text(json.dumps({"calibration": {"device": "fake_brisbane", "date": DATE}}))
