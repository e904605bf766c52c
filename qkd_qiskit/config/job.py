"""Settings of a job file: a single run and its evaluations, or a study over axes and seeds."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field, field_validator

from qkd_qiskit.config.sections import LARGEST_SEED, MOST_SHOTS, Section

Label = str | int | float
"""What names a value of an axis in tables and figures; numbers stay numbers, so that curves can be drawn over them."""


class EvaluationSettings(Section):
    """One `[[evaluate]]` table of a job file.

    Attributes:
        backend: a backend's name, or a table `{name = ..., key = ...}` that changes some of its settings.
        samples: test images, drawn in equal parts from the classes; all if not given.
        shots: measurements a sample; the backend's own number if not given.
        label: what a study's tables call it; the backend's name if not given.
    """

    backend: str | dict[str, Any]
    samples: int | None = Field(default=None, ge=1)
    shots: int | None = Field(default=None, ge=1, le=MOST_SHOTS)
    label: str | None = Field(default=None, min_length=1)


class AxisValue(Section):
    """One value of an `[[axes]]` table: a label, and settings like those of `[train]` that it stands for."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    label: Label

    @property
    def changes(self) -> dict[str, Any]:
        """The settings that are laid over `[train]`."""
        return dict(self.model_extra or {})


class ConditionValue(Section):
    """One value of a `[[conditions]]` table: a label, and what it changes in every `[[evaluate]]` table."""

    label: Label
    backend: str | dict[str, Any] | None = None
    samples: int | None = Field(default=None, ge=1)
    shots: int | None = Field(default=None, ge=1, le=MOST_SHOTS)


class AxisSettings(Section):
    """An axis of a study.

    Attributes:
        name: heads its column in the tables.
        values: at least one.
    """

    name: str = Field(min_length=1)
    values: tuple[AxisValue, ...]


class ConditionSettings(Section):
    """An axis of evaluation: every trained student is evaluated at each of its values.

    Attributes:
        name: heads its column in the tables.
        values: at least one.
    """

    name: str = Field(min_length=1)
    values: tuple[ConditionValue, ...]


DEAD_BELOW = 1.5
"""A student has not learnt if its test accuracy is below so many times chance, `1 / K`."""


class StudySettings(Section):
    """The `[study]` table of a job file.

    Attributes:
        seeds: how many, counted from 0, or a list of them.
        compare: the axis whose values are compared, each with the first, paired over the seeds; none if not given.
        pool: axes to average over in one more comparison for each seed; with the compared axis among them, all its
            values but the first are averaged as well.
        dead_below: a seed is dead if its test accuracy is below `dead_below / K`.
    """

    seeds: tuple[int, ...] = (0,)
    compare: str | None = None
    pool: tuple[str, ...] = ()
    dead_below: float = Field(default=DEAD_BELOW, gt=0)

    @field_validator("seeds", mode="before")
    @classmethod
    def _count(cls, given: Any) -> Any:
        if isinstance(given, int) and not isinstance(given, bool):
            given = range(given)
        seeds = tuple(given) if isinstance(given, list | tuple | range) else (given,)
        if not seeds:
            raise ValueError("the grid is empty; give a number of seeds such as 5, or a list such as [0, 1, 2]")
        for seed in seeds:
            if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED:
                raise ValueError(f"{seed!r} is no seed; give whole numbers from 0 to {LARGEST_SEED}")
            if seeds.count(seed) > 1:
                raise ValueError(f"seed {seed} is there twice; a seed counts once")
        return seeds


class JobSettings(Section):
    """A job file: a training run and the evaluations that follow it, or with `[study]` or `[[axes]]` many of them.

    Attributes:
        description: one line.
        out: the run directory; `runs/<name of the file>` if not given.
        report: whether to write `report.html` at the end.
        preset: named settings that are laid under `train`.
        train: a table like `Settings`, in which `backend` may be a name.
        evaluate: the evaluations, in order.
        study: seeds and comparison of a study.
        axes: what is varied in training.
        conditions: what is varied in evaluation.
    """

    description: str = ""
    out: str | None = None
    report: bool = True
    preset: str | None = None
    train: dict[str, Any] = Field(default_factory=dict)
    evaluate: tuple[EvaluationSettings, ...] = ()
    study: StudySettings | None = None
    axes: tuple[AxisSettings, ...] = ()
    conditions: tuple[ConditionSettings, ...] = ()

    @property
    def is_study(self) -> bool:
        """Whether this is a study rather than a single run."""
        return self.study is not None or bool(self.axes or self.conditions)
