"""Outcomes: what came of each evaluation of a study, as counts, in one small file each that vouches for itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qkd_qiskit.exceptions import RunError
from qkd_qiskit.files import digest_of, read_json, write_json
from qkd_qiskit.study.statistics import wilson_interval
from qkd_qiskit.study.units import FORMAT, Labels


@dataclass(frozen=True)
class Outcome:
    """What came of one evaluation of one cell.

    Attributes:
        key: of the evaluation unit.
        labels: axes, evaluation and conditions.
        seed: of the training.
        training: key of the training, the name of its run directory.
        settings: of training and evaluation.
        backend: where it was evaluated.
        noise_scale: of that backend.
        shots: measurements a sample; 0 is exact.
        correct: test images classified rightly.
        samples: test images.
        validation: images classified rightly and all, at the best epoch.
        teacher: the teacher's test images classified rightly and all; `None` without one.
        num_classes: `K`.
        loss: mean cross-entropy on the test images.
        calibration_error: expected calibration error in 15 equal bins.
        contraction: slope through 0 of expectation values against noiseless ones.
        scatter: root mean square of what that line leaves.
        weights: trainable numbers by part.
        seconds: of the training.
        best_epoch: of the training.
        versions: of the packages that computed it.
        more: everything else in the file.
    """

    key: str
    labels: Labels
    seed: int
    training: str
    settings: dict[str, Any]
    backend: str
    noise_scale: float
    shots: int
    correct: int
    samples: int
    validation: tuple[int, int]
    teacher: tuple[int, int] | None
    num_classes: int
    loss: float
    calibration_error: float
    contraction: float | None
    scatter: float | None
    weights: dict[str, int]
    seconds: float
    best_epoch: int
    versions: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Share of the test images that are classified rightly."""
        return self.correct / self.samples

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy: it speaks of the images only, not of the seed."""
        return wilson_interval(self.correct, self.samples)

    def is_dead(self, dead_below: float) -> bool:
        """Return whether this seed never learnt: its accuracy is below `dead_below / K`."""
        return self.accuracy < dead_below / self.num_classes


def write_outcome(folder: Path, content: dict[str, Any]) -> Path:
    """Write an outcome to `folder/units/<key>.json`, atomically, with its digest.

    Args:
        folder: of the study.
        content: as in the file, without `format` and `sha256`.

    Raises:
        RunError: it can't be written.
    """
    path = folder / "units" / f"{content['key']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = json.loads(json.dumps({"format": FORMAT, **content}))
    write_json(path, {**whole, "sha256": digest_of(whole)})
    return path


def read_outcome(path: Path) -> Outcome:
    """Read an outcome after checking its digest.

    Raises:
        RunError: the file is damaged, was edited, or is of another version.
    """
    content = read_json(path)
    digest = content.pop("sha256", None) if isinstance(content, dict) else None
    if digest is None or digest != digest_of(content):
        raise RunError(
            f"{path} was edited or damaged: its SHA-256 is not the one it holds; delete it and run the study again "
            "(only this evaluation is repeated), or put it back as it was"
        )
    if content["format"] != FORMAT:
        raise RunError(
            f"{path} has format {content['format']}, this version reads {FORMAT}; read it with its own version"
        )
    if path.stem != content["key"]:
        raise RunError(f"{path} holds the outcome {content['key']}; give it back its name")
    return _unpack(content)


def _unpack(content: dict[str, Any]) -> Outcome:
    rest = dict(content)
    del rest["format"]
    counts = rest.pop("counts")
    teacher, validation = rest.pop("teacher"), rest.pop("validation")
    names = Outcome.__dataclass_fields__.keys() - {"more", "correct", "samples", "validation", "teacher"}
    return Outcome(
        **{name: rest.pop(name) for name in names},
        correct=counts["correct"],
        samples=counts["samples"],
        validation=(validation["correct"], validation["samples"]),
        teacher=(teacher["correct"], teacher["samples"]) if teacher else None,
        more=rest,
    )


def load_outcomes(*folders: Path) -> list[Outcome]:
    """Read all outcomes of one study, or of several folders of it (other machines, reruns), merged by key.

    Raises:
        RunError: a file is damaged or was edited, or two folders disagree about one unit.
    """
    found: dict[str, tuple[Outcome, Path]] = {}
    for folder in folders:
        for path in sorted((Path(folder) / "units").glob("*.json")):
            outcome = read_outcome(path)
            known = found.get(outcome.key)
            if known and _counts(known[0]) != _counts(outcome):
                raise RunError(
                    f"{path} and {known[1]} are the same unit with other counts ({outcome.correct} and "
                    f"{known[0].correct} of {outcome.samples}): other versions or processors; merge only one of them"
                )
            found.setdefault(outcome.key, (outcome, path))
    return [outcome for outcome, _ in found.values()]


def _counts(outcome: Outcome) -> tuple[Any, ...]:
    return outcome.correct, outcome.samples, outcome.validation, outcome.labels, outcome.seed


def group_by_labels(outcomes: Iterable[Outcome]) -> dict[tuple[tuple[str, Any], ...], dict[int, Outcome]]:
    """Group outcomes by their labels; in each group there is at most one of a seed.

    Raises:
        RunError: a group has two outcomes of one seed: the job file was changed between two runs in one folder.
    """
    groups: dict[tuple[tuple[str, Any], ...], dict[int, Outcome]] = {}
    for outcome in outcomes:
        group = groups.setdefault(tuple(outcome.labels.items()), {})
        if outcome.seed in group:
            raise RunError(
                f"units {group[outcome.seed].key} and {outcome.key} have the same labels and seed but other settings: "
                "two versions of a study are in one folder; give the newer one an --out of its own"
            )
        group[outcome.seed] = outcome
    return groups
