"""Reading a study's outcomes, `units/<key>.json`, each of which vouches for itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qkd_qiskit.exceptions import RunError
from qkd_qiskit.files import digest_of, read_json

FORMAT = 1


@dataclass(frozen=True)
class Outcome:
    """What came of one evaluation of a study; see the study's own description of the fields."""

    labels: dict[str, Any]
    seed: int
    training: str
    backend: str
    noise_scale: float
    shots: int
    correct: int
    samples: int
    num_classes: int
    calibration_error: float | None
    contraction: float | None
    more: dict[str, Any] = field(default_factory=dict)


def load_outcomes(folder: Path) -> list[Outcome]:
    """Read all outcomes of a study.

    Raises:
        RunError: a file was edited or damaged, or is of another version.
    """
    return [_read_outcome(path) for path in sorted((folder / "units").glob("*.json"))]


def _read_outcome(path: Path) -> Outcome:
    content = read_json(path)
    digest = content.pop("sha256", None) if isinstance(content, dict) else None
    if digest is None or digest != digest_of(content):
        raise RunError(f"{path} was edited or damaged: its SHA-256 is not the one it holds; run the study again")
    if content["format"] != FORMAT:
        raise RunError(f"{path} has format {content['format']}, this version reads {FORMAT}")
    names = Outcome.__dataclass_fields__.keys() - {"correct", "samples", "more"}
    known = {name: content.pop(name) for name in names}
    counts = content.pop("counts")
    return Outcome(**known, correct=counts["correct"], samples=counts["samples"], more=content)
