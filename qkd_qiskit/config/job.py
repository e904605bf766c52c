"""Settings of a job file."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from qkd_qiskit.config.sections import MOST_SHOTS, Section


class EvaluationSettings(Section):
    """One `[[evaluate]]` table of a job file.

    Attributes:
        backend: a backend's name, or a table `{name = ..., key = ...}` that changes some of its settings.
        samples: test images, drawn in equal parts from the classes; all if not given.
        shots: measurements a sample; the backend's own number if not given.
    """

    backend: str | dict[str, Any]
    samples: int | None = Field(default=None, ge=1)
    shots: int | None = Field(default=None, ge=1, le=MOST_SHOTS)


class JobSettings(Section):
    """A job file: a training run and the evaluations that follow it.

    Attributes:
        description: one line.
        out: the run directory; `runs/<name of the file>` if not given.
        report: whether to write `report.html` at the end.
        train: a table like `Settings`, in which `backend` may be a name.
        evaluate: the evaluations, in order.
    """

    description: str = ""
    out: str | None = None
    report: bool = True
    train: dict[str, Any] = Field(default_factory=dict)
    evaluate: tuple[EvaluationSettings, ...] = ()
