"""From a job file to the cells of a study: every combination is made and checked before anything runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qkd_qiskit.config import (
    BackendSettings,
    EvaluationSettings,
    JobSettings,
    Settings,
    StudySettings,
    merge,
    parse_assignments,
)
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.pipeline.jobs import name_backend, read_settings, resolve_evaluation
from qkd_qiskit.study.feasibility import check_cell
from qkd_qiskit.study.units import Cell, EvaluationUnit, Labels, describe, training_key
from qkd_qiskit.suggestions import nearest

EVALUATION = "evaluation"
"""The column that tells several `[[evaluate]]` tables apart."""


def expand(job: JobSettings, source: str, *, assignments: Iterable[str] = ()) -> list[Cell]:
    """Make every cell of a study and find out whether each can exist.

    Args:
        job: a job file with axes.
        source: its name, for messages.
        assignments: `section.key=value` texts, laid over `[train]` and under the axes.

    Returns:
        Cells in the order of the file, seeds innermost.

    Raises:
        ConfigurationError: an axis without values or with two alike, an unknown name, an assignment that every value of
            an axis overrides, or a cell that can't exist, named by its labels.
    """
    study = job.study or StudySettings()
    _check_axes(job, study, source)
    assigned = parse_assignments(assignments)
    _refuse_idle_assignments(job, assigned, source)
    base = _lay_over(name_backend(job.train), assigned)
    if "seed" in base:
        raise ConfigurationError(f"{source}: a study's seeds stand in [study]; write seeds = [{base['seed']}] there")
    cells = []
    for values in itertools.product(*(axis.values for axis in job.axes)):
        labels: Labels = {axis.name: value.label for axis, value in zip(job.axes, values)}
        content = base
        for value in values:
            if "seed" in value.changes:
                raise ConfigurationError(f"{source}: {describe(labels)}: a seed is no axis; list seeds in [study]")
            content = _lay_over(content, value.changes)
        cells += _make_cells(job, study.seeds, labels, content, f"{source}: {describe(labels) or 'the only cell'}")
    return cells


def _refuse_idle_assignments(job: JobSettings, assigned: Mapping[str, Any], source: str) -> None:
    for path in _list_leaves(assigned):
        for axis in job.axes:
            if axis.values and all(
                any(leaf == path or leaf.startswith(f"{path}.") for leaf in _list_leaves(name_backend(value.changes)))
                for value in axis.values
            ):
                raise ConfigurationError(
                    f"--set {path} would have no effect: axis {axis.name!r} of {source} sets it in each of its values; "
                    f"choose among them with --only '{axis.name}=...', or write a job file of your own"
                )


def _list_leaves(content: Mapping[str, Any], before: str = "") -> list[str]:
    """Name everything that is set in nested tables: `data.dataset`."""
    return [
        leaf
        for name, value in content.items()
        for leaf in (_list_leaves(value, f"{before}{name}.") if isinstance(value, Mapping) else [f"{before}{name}"])
    ]


def _lay_over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay settings over others; a backend that is named anew takes the place of the old one with all its changes."""
    changed = name_backend(changes)
    if "name" in changed.get("backend", {}):
        base = {**base, "backend": {}}
    return merge(base, changed)


def _make_cells(
    job: JobSettings, seeds: Sequence[int], labels: Labels, content: Mapping[str, Any], where: str
) -> list[Cell]:
    try:
        settings = read_settings({**content, "seed": seeds[0]}, preset=job.preset, source="settings")
        check_cell(settings)
        evaluations = list(_combine_evaluations(job, settings))
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    cells = []
    for seed in seeds:
        seeded = settings.model_copy(update={"seed": seed})
        key = training_key(seeded)
        units = tuple(
            EvaluationUnit({**labels, **more}, seed, key, backend, samples) for more, backend, samples in evaluations
        )
        cells.append(Cell(labels, seeded, units))
    return cells


def _combine_evaluations(job: JobSettings, settings: Settings) -> Iterable[tuple[Labels, BackendSettings, int | None]]:
    """Yield labels, backend and samples of every evaluation under every combination of conditions."""
    asked = job.evaluate or (None,)
    for item in asked:
        own: Labels = {EVALUATION: _label(item)} if item is not None and (len(asked) > 1 or item.label) else {}
        for values in itertools.product(*(axis.values for axis in job.conditions)):
            labels = {**own, **{axis.name: value.label for axis, value in zip(job.conditions, values)}}
            backend, shots, samples = _start(item, settings)
            for value in values:
                change = name_backend({"backend": value.backend})["backend"] if value.backend is not None else {}
                backend = change if "name" in change else merge(backend, change)
                shots = value.shots or shots
                samples = value.samples or samples
            try:
                yield labels, _with_shots(resolve_evaluation(backend), shots), samples
            except ConfigurationError as error:
                raise ConfigurationError(f"evaluation {describe(labels)}: {error}") from error


def _label(item: EvaluationSettings) -> str:
    return item.label or (item.backend if isinstance(item.backend, str) else str(item.backend.get("name")))


def _start(item: EvaluationSettings | None, settings: Settings) -> tuple[dict[str, Any], int | None, int | None]:
    """Return backend, shots and samples before conditions; without an `[[evaluate]]` the training's backend, exact."""
    if item is None:
        return settings.backend.model_dump(), 0, None
    backend = {"name": item.backend} if isinstance(item.backend, str) else dict(item.backend)
    return backend, item.shots, item.samples


def _with_shots(backend: BackendSettings, shots: int | None) -> BackendSettings:
    if shots is None:
        return backend
    if shots == 0 and backend.kind == "ibm":
        raise ConfigurationError(f"{backend.name} can't give exact values; give shots = 1024, say")
    return backend.model_copy(update={"shots": shots})


def _check_axes(job: JobSettings, study: StudySettings, source: str) -> None:
    """Refuse axes that name nothing, the same thing twice, or something reserved."""
    names = [axis.name for axis in job.axes] + [axis.name for axis in job.conditions]
    for name in names:
        if names.count(name) > 1 or name in ("seed", EVALUATION):
            why = "is there twice" if names.count(name) > 1 else "has a meaning of its own here"
            raise ConfigurationError(f"{source}: the axis name {name!r} {why}; give the axis another name")
    labels = [[str(value.label) for value in axis.values] for axis in job.axes]
    labels += [[str(value.label) for value in axis.values] for axis in job.conditions]
    for name, given in zip(names, labels):
        if not given:
            raise ConfigurationError(
                f"{source}: axis {name!r} has no values, so the grid is empty; give values = [{{label = ...}}]"
            )
        _refuse_twice(given, f"{source}: axis {name!r} has two values labelled")
    _refuse_twice([_label(item) for item in job.evaluate], f"{source}: two [[evaluate]] tables are called")
    known = [*names, *([EVALUATION] if len(job.evaluate) > 1 else [])]
    for name in (*([study.compare] if study.compare else []), *study.pool):
        if name not in known:
            there = f"{nearest(name, known)}; there are: {', '.join(known)}"
            raise ConfigurationError(f"{source}: [study] compare or pool names no axis {name!r}{there}")


def _refuse_twice(labels: Sequence[str], message: str) -> None:
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise ConfigurationError(f"{message} {twice[0]!r}; give each a label of its own")


def select(cells: Sequence[Cell], *, only: Iterable[str] = (), seeds: str | None = None) -> list[Cell]:
    """Keep the cells and evaluations that a call shall run now.

    Args:
        cells: all of them.
        only: `axis=label` texts; of several for one axis any fits, of several axes all must.
        seeds: such as `0-3` or `0,4`; all if `None`.

    Raises:
        ConfigurationError: an axis, label or seed is not in the study, or nothing is left.
    """
    wanted = _read_only(cells, only)
    chosen = None if seeds is None else _read_seeds(seeds, {cell.settings.seed for cell in cells})
    kept = []
    for cell in cells:
        if chosen is not None and cell.settings.seed not in chosen:
            continue
        units = tuple(
            unit
            for unit in cell.evaluations
            if all(str(unit.labels.get(axis)) in labels for axis, labels in wanted.items())
        )
        if units:
            kept.append(Cell(cell.labels, cell.settings, units))
    if not kept:
        raise ConfigurationError("no cell fits both --only and --seeds; --dry-run without them lists all")
    return kept


def _read_only(cells: Sequence[Cell], only: Iterable[str]) -> dict[str, set[str]]:
    known: dict[str, dict[str, None]] = {}
    for cell in cells:
        for unit in cell.evaluations:
            for axis, label in unit.labels.items():
                known.setdefault(axis, {})[str(label)] = None
    wanted: dict[str, set[str]] = {}
    for text in only:
        axis, equals, label = (part.strip() for part in text.partition("="))
        if not equals:
            raise ConfigurationError(f"--only {text!r}: write 'axis=label', e.g. --only 'data set=MNIST'")
        if axis not in known:
            raise ConfigurationError(
                f"--only: unknown axis {axis!r}{nearest(axis, known)}; there are: {', '.join(known)}"
            )
        if label not in known[axis]:
            raise ConfigurationError(
                f"--only: {axis} has no {label!r}{nearest(label, known[axis])}; there are: {', '.join(known[axis])}"
            )
        wanted.setdefault(axis, set()).add(label)
    return wanted


def _read_seeds(text: str, known: set[int]) -> set[int]:
    chosen: set[int] = set()
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise ConfigurationError(f"--seeds {text!r}: can't read {part.strip()!r}; write 0-3 or 0,4")
        found = known & set(range(int(first), int(last or first) + 1))
        if not found or int(last or first) > max(known):
            raise ConfigurationError(
                f"--seeds {text}: {part.strip()} is more than there is; the study has "
                f"{', '.join(map(str, sorted(known)))}"
            )
        chosen |= found
    return chosen
