"""Reading a run directory into memory, whole or with the reason why not."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qkd_qiskit.config import Settings
from qkd_qiskit.exceptions import RunError
from qkd_qiskit.files import digest_of_file, read_json
from qkd_qiskit.report.wording import flatten
from qkd_qiskit.runs import CHART, RunDirectory

ARRAYS = (
    "expectation_values",
    "standard_errors",
    "noiseless_expectation_values",
    "logits",
    "noiseless_logits",
    "labels",
)
_KINDS = {"aer": 0, "fake": 1, "ibm": 2}


@dataclass(frozen=True)
class StoredEvaluation:
    """One evaluation as it lies on disk.

    Attributes:
        name: its folder's name.
        result: `result.json`.
        identity: `identity.json`, what the evaluation's id is a hash of.
        calibration: `calibration.json`.
        arrays: by the names in `ARRAYS`: expectation values `(N, O)`, logits `(N, S)`, labels `(N,)`.
        of_best: whether it is of the best checkpoint as it is now; a resumed training may have found a better one.
        chart: `device_chart.json`: errors of the whole device; `None` where there is none.
        place: the backend's name, with what tells it from others of that name; see `name_places`.
    """

    name: str
    result: dict[str, Any]
    identity: dict[str, Any]
    calibration: dict[str, Any]
    arrays: dict[str, np.ndarray]
    of_best: bool
    chart: dict[str, Any] | None = None
    place: str = ""

    @property
    def is_ideal(self) -> bool:
        """Whether it ran without noise and without counting: then it says no more than its noiseless values."""
        return self.noise_scale == 0 and not self.result["shots"]

    @property
    def noise_scale(self) -> float:
        """How strong the noise is, 1 as calibrated; 0 on a simulator without noise."""
        backend = self.identity.get("backend", {})
        if backend.get("kind") == "aer" and not backend.get("noise"):
            return 0.0
        return float(backend.get("noise_scale", 1.0))


@dataclass(frozen=True)
class StoredRun:
    """A run directory's content.

    Attributes:
        directory: where it is.
        settings: what was asked.
        environment: how it was run; empty before the first epoch.
        epochs: the finished epochs' metrics.
        result: what came of the training; `None` while it has not ended.
        circuit_facts: `student.json`; `None` before the circuit was compiled.
        evaluations: the finished ones: simulators first, then fake devices, then hardware.
        unfinished: folders of evaluations without a result.
        chart: `device_chart.json` of the training's device; `None` without one.
    """

    directory: RunDirectory
    settings: Settings
    environment: dict[str, Any]
    epochs: list[dict[str, Any]]
    result: dict[str, Any] | None
    circuit_facts: dict[str, Any] | None
    evaluations: tuple[StoredEvaluation, ...]
    unfinished: tuple[str, ...]
    chart: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.directory.path.resolve().name


def read_run(run: RunDirectory) -> StoredRun:
    """Read everything of a run.

    Raises:
        RunError: it is not a run directory, or a file in it is damaged.
    """
    settings = run.settings()
    best = digest_of_file(run.best) if run.best.exists() else None
    folders = sorted(path for path in run.evaluations.glob("*") if path.is_dir())
    finished = [read_evaluation(folder, best) for folder in folders if (folder / "result.json").exists()]
    finished.sort(key=lambda item: (not item.is_ideal, _KINDS.get(item.identity["backend"].get("kind"), 3), item.name))
    return StoredRun(
        directory=run,
        settings=settings,
        environment=_read_object(run.path / "environment.json") or {},
        epochs=run.read_metrics(),
        result=_read_object(run.result),
        circuit_facts=_read_object(run.circuits.with_suffix(".json")),
        evaluations=tuple(replace(item, place=place) for item, place in zip(finished, name_places(finished))),
        unfinished=tuple(folder.name for folder in folders if _is_unfinished(folder)),
        chart=_read_chart(run.path),
    )


def name_places(evaluations: Sequence[StoredEvaluation]) -> list[str]:
    """Name where each was evaluated: the backend, and the settings in which others of that name differ from it.

    Shots and noise scale are left out: they have columns of their own.
    """
    settings = [_flat_backend(item) for item in evaluations]
    places = []
    for item, own in zip(evaluations, settings):
        name = str(item.result["backend"])
        others = [other for twin, other in zip(evaluations, settings) if str(twin.result["backend"]) == name]
        keys = dict.fromkeys(key for other in others for key in other)
        told = [f"{key} {own.get(key, 'as usual')}" for key in keys if len({other.get(key) for other in others}) > 1]
        places.append(f"{name} ({', '.join(told)})" if told else name)
    return places


def _flat_backend(evaluation: StoredEvaluation) -> dict[str, str]:
    backend = evaluation.identity.get("backend", {})
    rest = {key: value for key, value in backend.items() if key not in ("name", "kind", "shots", "noise_scale")}
    return {row[0]: str(row[1]) for row in flatten(rest)}


def _is_unfinished(folder: Path) -> bool:
    """Whether something was begun there and has no result; earlier versions left folders of mere prices behind."""
    if (folder / "result.json").exists():
        return False
    kind = ((_read_object(folder / "identity.json") or {}).get("backend") or {}).get("kind")
    return kind in ("aer", "fake") or any((folder / name).exists() for name in ("isa.json", "partial.json"))


def read_evaluation(folder: Path, best: str | None = None) -> StoredEvaluation:
    """Read one evaluation's folder.

    Args:
        folder: `evaluations/<backend>-<id>`.
        best: the best checkpoint's SHA-256.

    Raises:
        RunError: a file is missing or damaged, or the stored values don't give the stored counts.
    """
    result = read_json(folder / "result.json")
    identity = _read_object(folder / "identity.json") or {}
    calibration = _read_object(folder / "calibration.json") or {}
    arrays = _read_arrays(folder / "expectation_values.npz")
    _check(result, arrays, folder)
    of_best = best is None or identity.get("checkpoint", best) == best
    whole = {"backend": {}, **identity}
    return StoredEvaluation(folder.name, result, whole, calibration, arrays, of_best, _read_chart(folder))


def _read_chart(folder: Path) -> dict[str, Any] | None:
    """Read the chart of a device; there is none without a device, or from versions before there were charts.

    Raises:
        RunError: it can't be read.
    """
    path = folder / CHART
    content = read_json(path) if path.exists() else None
    return content if isinstance(content, dict) else None


def _read_object(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    content = read_json(path)
    if not isinstance(content, dict):
        raise RunError(f"{path} holds a {type(content).__name__} where an object is wanted; the file is damaged")
    return content


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in ARRAYS}
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing; evaluate again (remove {path.parent} before)") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{path} is damaged ({error}); evaluate again (remove {path.parent} before)") from error


def _check(result: Any, arrays: dict[str, np.ndarray], folder: Path) -> None:
    """Refuse an evaluation whose files contradict each other."""
    try:
        counts = result["counts"]
        wanted = (int(counts["correct"]), int(counts["noiseless_correct"]), int(counts["samples"]))
        result["shots"], result["backend"]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{folder / 'result.json'} is damaged: it has no {error}; evaluate again") from error
    labels, shapes = arrays["labels"], {name: arrays[name].shape for name in ARRAYS}
    same_samples = all(shape[:1] == labels.shape for shape in shapes.values()) and len(labels) > 0
    alike = shapes["expectation_values"] == shapes["noiseless_expectation_values"] == shapes["standard_errors"]
    if not (same_samples and alike and shapes["logits"] == shapes["noiseless_logits"]):
        raise RunError(f"{folder / 'expectation_values.npz'} is damaged: its shapes don't fit together: {shapes}")
    found = (*(int((arrays[name].argmax(1) == labels).sum()) for name in ("logits", "noiseless_logits")), len(labels))
    if found != wanted:
        raise RunError(
            f"{folder} is damaged: result.json counts (correct, noiseless correct, samples) {wanted}, but its stored "
            f"logits give {found}; remove the folder and evaluate again"
        )
