"""One flat list for runs and studies alike: what was classified rightly, by whom, where, under which noise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qkd_qiskit.report.numbers.expectations import fit_through_origin
from qkd_qiskit.report.numbers.reliability import measure_reliability
from qkd_qiskit.report.reading import StoredEvaluation, StoredRun, name_places
from qkd_qiskit.report.wording import flatten

LABELS = {
    "data.dataset": "data set",
    "data.classes": "classes",
    "teacher.name": "teacher",
    "loss": "loss",
    "backend.name": "trained on",
}
"""How settings are called in which runs often differ."""


@dataclass(frozen=True)
class Record:
    """One evaluation of one training.

    Attributes:
        labels: what tells it from others, its seed, noise scale and shots left out if they are all that differs.
        seed: of the training.
        training: names the training: conditions of one training share it.
        backend: where it was evaluated.
        noise_scale: of that backend; 0 is no noise.
        shots: measurements a sample; 0 is exact.
        correct: samples classified rightly.
        samples: all of them.
        num_classes: `K`.
        calibration_error: expected calibration error, if known.
        contraction: slope of expectation values against noiseless ones, if known.
        qpu_seconds: charged, else estimated; `None` where nothing is.
        date: of the device's snapshot.
        folder: the training's run directory, if there is one.
    """

    labels: dict[str, Any]
    seed: int
    training: str
    backend: str
    noise_scale: float
    shots: int
    correct: int
    samples: int
    num_classes: int
    calibration_error: float | None = None
    contraction: float | None = None
    qpu_seconds: float | None = None
    date: str | None = None
    folder: Path | None = field(default=None, compare=False)

    @property
    def accuracy(self) -> float:
        """Share of samples classified rightly."""
        return self.correct / self.samples


def list_outcomes(outcomes: Iterable[Any], folder: Path) -> list[Record]:
    """Turn a study's outcomes into records.

    Args:
        outcomes: from `load_outcomes`.
        folder: the study's.
    """
    return [
        Record(
            labels=dict(item.labels),
            seed=item.seed,
            training=item.training,
            backend=item.backend,
            noise_scale=item.noise_scale,
            shots=item.shots,
            correct=item.correct,
            samples=item.samples,
            num_classes=item.num_classes,
            calibration_error=item.calibration_error,
            contraction=item.contraction,
            qpu_seconds=item.more.get("qpu_seconds_charged") or item.more.get("qpu_seconds_estimated"),
            date=(item.more.get("calibration") or {}).get("date"),
            folder=folder / "cells" / item.training,
        )
        for item in outcomes
    ]


def list_evaluations(runs: Sequence[StoredRun]) -> list[Record]:
    """Turn the evaluations of runs into records, labelled by the settings in which the runs differ."""
    names = name_runs(runs)
    places = iter(name_places([item for run in runs for item in run.evaluations]))
    records = []
    for run in runs:
        for place, item in enumerate(run.evaluations):
            if place == 0 and not item.is_ideal:
                records.append(_noiseless(run, names[run.name], item))
            records.append(_evaluated(run, names[run.name], item, next(places)))
    return records


def name_runs(runs: Sequence[StoredRun]) -> dict[str, dict[str, Any]]:
    """Return for each run the settings in which not all runs agree, but for seeds, under short names."""
    flat = {run.name: _settings(run) for run in runs}
    keys = list(dict.fromkeys(key for settings in flat.values() for key in settings))
    shared = [key for key in keys if all(key in settings for settings in flat.values())]  # the others follow from these
    differing = [key for key in shared if len({settings[key] for settings in flat.values()}) > 1]
    return {name: {LABELS.get(key, key): settings[key] for key in differing} for name, settings in flat.items()}


def _settings(run: StoredRun) -> dict[str, str]:
    content = run.settings.model_dump(mode="json")
    content["distillation"]["loss"] = None
    if run.settings.loss == "ce":  # then a teacher is there for nobody, and its words say nothing
        content["distillation"], content["teacher"] = {}, {"name": "none"}
    flat = {"loss": run.settings.loss, **{row[0]: row[1] for row in flatten(content)}}
    return {key: value for key, value in flat.items() if key not in ("seed", "data.split_seed")}


def _evaluated(run: StoredRun, labels: dict[str, Any], item: StoredEvaluation, place: str) -> Record:
    arrays = item.arrays
    charged, estimated = item.result.get("qpu_seconds_charged"), item.result.get("qpu_seconds_estimated")
    return Record(
        labels={**labels, "backend": place},
        seed=run.settings.seed,
        training=run.name,
        backend=place,
        noise_scale=item.noise_scale,
        shots=item.result["shots"],
        correct=item.result["counts"]["correct"],
        samples=item.result["counts"]["samples"],
        num_classes=_count_classes(run, item),
        calibration_error=measure_reliability(arrays["logits"], arrays["labels"])["expected_calibration_error"],
        contraction=fit_through_origin(arrays["noiseless_expectation_values"], arrays["expectation_values"]),
        qpu_seconds=estimated if charged is None else charged,
        date=item.calibration.get("date"),
        folder=run.directory.path,
    )


def _noiseless(run: StoredRun, labels: dict[str, Any], item: StoredEvaluation) -> Record:
    """Make the record of the noiseless student on an evaluation's samples."""
    arrays, counts = item.arrays, item.result["counts"]
    return Record(
        labels={**labels, "backend": "noiseless"},
        seed=run.settings.seed,
        training=run.name,
        backend="noiseless",
        noise_scale=0.0,
        shots=0,
        correct=counts["noiseless_correct"],
        samples=counts["samples"],
        num_classes=_count_classes(run, item),
        calibration_error=measure_reliability(arrays["noiseless_logits"], arrays["labels"])[
            "expected_calibration_error"
        ],
        contraction=1.0,
        folder=run.directory.path,
    )


def _count_classes(run: StoredRun, item: StoredEvaluation) -> int:
    return len((run.result or {}).get("classes") or []) or int(item.arrays["labels"].max()) + 1
