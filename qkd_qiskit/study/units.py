"""What a study consists of: cells to train and evaluations of them, each named by a hash of what changes its answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qkd_qiskit.config import BackendSettings, Settings
from qkd_qiskit.files import digest_of

FORMAT = 1
"""Goes up when a unit of the same settings would have another answer or another file."""

EXTRA_BY_LAYER = {"classical": 1}
"""What is added to it for the trainings of one `student.layer`; goes up alike, and never down."""

Labels = dict[str, str | int | float]
"""Names of axes and labels of their values, in the order of the job file."""


@dataclass(frozen=True)
class EvaluationUnit:
    """One evaluation of one trained cell.

    Attributes:
        labels: of the cell, of the evaluation and its conditions.
        seed: the cell's.
        training: key of the cell.
        backend: where to evaluate, shots included; 0 shots are exact.
        samples: test images in equal parts from the classes; all if `None`.
    """

    labels: Labels
    seed: int
    training: str
    backend: BackendSettings
    samples: int | None

    @property
    def key(self) -> str:
        """24 hexadecimal digits: the hash of `identity`."""
        return digest_of(self.identity)[:24]

    @property
    def identity(self) -> dict[str, Any]:
        """What the key is a hash of; the labels are in, for two rows of a table may hold the same settings."""
        return {
            "format": FORMAT,
            "labels": self.labels,
            "training": self.training,
            "backend": self.backend.essence,
            "samples": self.samples,
        }


@dataclass(frozen=True)
class Cell:
    """One training and its evaluations.

    Attributes:
        labels: of its axes.
        settings: of the training, seed included.
        evaluations: at least one.
    """

    labels: Labels
    settings: Settings
    evaluations: tuple[EvaluationUnit, ...]

    @property
    def key(self) -> str:
        """24 hexadecimal digits that name the run directory `cells/<key>/`: a hash of the settings."""
        return training_key(self.settings)

    @property
    def title(self) -> str:
        """Its labels and seed, for people."""
        return f"{describe(self.labels)}, seed {self.settings.seed}".removeprefix(", ")


def training_key(settings: Settings) -> str:
    """Return the key of a training: a hash of its settings."""
    number = FORMAT + EXTRA_BY_LAYER.get(settings.student.layer, 0)
    return digest_of({"format": number, "settings": settings.identity})[:24]


def describe(labels: Mapping[str, Any]) -> str:
    """Write labels as `data set MNIST, teacher lenet`."""
    return ", ".join(f"{name} {label}" for name, label in labels.items())


def join_cells(cells: Iterable[Cell]) -> list[Cell]:
    """Join cells with the same settings, whatever their labels: they are trained once and evaluated under each."""
    joined: dict[str, Cell] = {}
    for cell in cells:
        known = joined.get(cell.key)
        evaluations = (*known.evaluations, *cell.evaluations) if known else cell.evaluations
        joined[cell.key] = Cell(known.labels if known else cell.labels, cell.settings, evaluations)
    return list(joined.values())
