"""Runs and studies compared: means over seeds, paired differences, curves over noise, shots and cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from qkd_qiskit.report.numbers.intervals import describe_mean
from qkd_qiskit.report.numbers.records import Record
from qkd_qiskit.study.curves import find_breaking_point, measure_area
from qkd_qiskit.study.statistics import compare_paired

PLAIN = ("none", "ce", "plain", "no teacher", "without", "without teacher")
"""Labels that say that nothing is distilled."""
COMPARED = ("loss", "teacher", "distillation", "training")
"""Names of axes along which distilling is switched on and off."""
DEVICE_SCALE = 1.0


def collect_comparison(records: Sequence[Record], *, compare: str | None = None) -> dict[str, Any]:
    """Collect what several trainings say together.

    Args:
        records: of one study, or of several runs.
        compare: the axis whose values are compared with its first one; found by its name and labels if `None`.
    """
    shared = {name for name, values in find_axes(records).items() if len(values) < 2}
    scales, shots = find_condition(records, "noise_scale"), find_condition(records, "shots")
    hidden = shared | find_repeated(records) | ({scales} if scales else set()) | ({shots} if shots else set())
    axis, reference = choose_compared(records, compare)
    return {
        "axes": {name: values for name, values in find_axes(records).items() if name not in {*shared, scales, shots}},
        "shared": {name: records[0].labels[name] for name in sorted(shared)} if records else {},
        "trainings": len({item.training for item in records}),
        "evaluations": len(records),
        "seeds": sorted({item.seed for item in records}),
        "samples": sorted({item.samples for item in records}),
        "shots": sorted({item.shots for item in records}),
        "backends": list(dict.fromkeys(item.backend for item in records)),
        "dates": sorted({item.date for item in records if item.date}),
        "groups": collect_groups(records, hidden),
        "paired": collect_paired(records, axis, reference, hidden),
        "noise": {
            name: collect_lines(records, hidden, "noise_scale", value)
            for name, value in (
                ("accuracy", _accuracy),
                ("contraction", lambda item: item.contraction),
                ("calibration_error", lambda item: item.calibration_error),
            )
        },
        "accuracy_by_shots": collect_lines([item for item in records if item.shots], hidden, "shots", _accuracy),
        "accuracy_by_qpu_seconds": collect_cost(records, hidden),
    }


def _accuracy(item: Record) -> float:
    return item.accuracy


def find_axes(records: Iterable[Record]) -> dict[str, list[Any]]:
    """List the labels' names, each with its values in the order in which they come."""
    axes: dict[str, dict[Any, None]] = {}
    for item in records:
        for name, value in item.labels.items():
            axes.setdefault(name, {})[value] = None
    return {name: list(values) for name, values in axes.items()}


def find_repeated(records: Sequence[Record]) -> set[str]:
    """Find the axes that are another name for one before them, such as the teacher where only one loss has one."""
    axes, repeated = {name: values for name, values in find_axes(records).items() if len(values) > 1}, set()
    for place, name in enumerate(axes):
        for earlier in list(axes)[:place]:
            pairs = {(item.labels.get(earlier), item.labels.get(name)) for item in records}
            if len(pairs) == len(axes[name]) == len(axes[earlier]) and earlier not in repeated:
                repeated.add(name)
    return repeated


def find_condition(records: Sequence[Record], quantity: str) -> str | None:
    """Find the axis that is another name for a quantity: each of its labels has one value, and each value one label."""
    for name, values in find_axes(records).items():
        pairs = {(item.labels.get(name), getattr(item, quantity)) for item in records}
        if len(values) > 1 and len(pairs) == len(values) == len({number for _, number in pairs}):
            return name
    return None


def choose_compared(records: Sequence[Record], compare: str | None) -> tuple[str | None, Any]:
    """Choose the compared axis and its reference; both `None` if nothing says which labels are plain training."""
    axes = find_axes(records)
    if compare in axes and len(axes[compare]) > 1:
        return compare, _plain_label(axes[compare]) or axes[compare][0]
    for name in COMPARED:
        plain = _plain_label(axes.get(name, ()))
        if plain is not None and len(axes[name]) > 1:
            return name, plain
    return None, None


def _plain_label(values: Iterable[Any]) -> Any:
    return next((value for value in values if _is_plain(value)), None)


def _visible(item: Record, hidden: set[str]) -> dict[str, Any]:
    return {name: value for name, value in item.labels.items() if name not in hidden}


def _gather(records: Iterable[Record], key: Callable[[Record], tuple[Any, ...]]) -> dict[tuple[Any, ...], list[Record]]:
    """Group records; of one seed the first is taken."""
    groups: dict[tuple[Any, ...], dict[int, Record]] = {}
    for item in records:
        groups.setdefault(key(item), {}).setdefault(item.seed, item)
    return {name: [group[seed] for seed in sorted(group)] for name, group in groups.items()}


def collect_groups(records: Sequence[Record], hidden: set[str]) -> list[dict[str, Any]]:
    """List every combination of labels, noise and shots with its mean accuracy over the seeds."""
    keyed = _gather(
        records, lambda item: (*_visible(item, hidden).items(), ("", item.backend, item.noise_scale, item.shots))
    )
    return [
        {
            "labels": _visible(group[0], hidden),
            **_conditions(group[0]),
            **_describe(group, _accuracy),
            "samples": sum(item.samples for item in group) // len(group),
        }
        for group in keyed.values()
    ]


def _conditions(item: Record) -> dict[str, Any]:
    return {"backend": item.backend, "noise_scale": item.noise_scale, "shots": item.shots}


def _describe(group: Sequence[Record], value: Callable[[Record], float | None]) -> dict[str, Any]:
    by_seed = {item.seed: value(item) for item in group}
    known = {seed: number for seed, number in by_seed.items() if number is not None}
    return {
        **describe_mean(list(known.values()), share=value is _accuracy),
        "by_seed": {str(seed): number for seed, number in known.items()},
    }


def collect_paired(
    records: Sequence[Record], axis: str | None, reference: Any, hidden: set[str]
) -> dict[str, Any] | None:
    """Subtract, seed by seed, the reference's accuracy from that of each other value of the compared axis."""
    if axis is None:
        return None
    left_out = {axis, *find_followers(records, axis)}
    if is_condition(records, axis):  # then noise and shots may be what its values change
        left_out |= {"noise_scale", "shots"}
    partner = {_pair_key(item, left_out): item for item in records if item.labels.get(axis) == reference}
    others = [item for item in records if item.labels.get(axis) != reference]

    def key(item: Record) -> tuple[Any, ...]:
        return (*_visible(item, hidden).items(), ("", item.backend, item.noise_scale, item.shots))

    rows = []
    for group in _gather(others, key).values():
        differences = {
            item.seed: item.accuracy - partner[_pair_key(item, left_out)].accuracy
            for item in group
            if _pair_key(item, left_out) in partner
        }
        rows.append(
            {
                "labels": _visible(group[0], hidden | left_out),
                "compared": group[0].labels[axis],
                **_conditions(group[0]),
                **describe_paired(list(differences.values())),
                "by_seed": {str(seed): value for seed, value in differences.items()},
            }
        )
    return {"axis": axis, "reference": reference, "rows": rows}


def describe_paired(differences: Sequence[float]) -> dict[str, Any]:
    """Describe paired differences as a study's own tables do: mean, bootstrap interval, p of the sign-flip test."""
    found = compare_paired(differences)
    interval = list(found.mean_interval) if found.mean_interval else None
    return {"seeds": found.n, "mean": found.mean, "interval": interval, "reason": found.refused or None, "p": found.p}


def _pair_key(item: Record, left_out: set[str]) -> tuple[Any, ...]:
    rest = tuple((name, value) for name, value in item.labels.items() if name not in left_out)
    own = tuple(getattr(item, name) for name in ("noise_scale", "shots") if name not in left_out)
    return (*rest, item.seed, *own)


def is_condition(records: Iterable[Record], axis: str) -> bool:
    """Return whether an axis is one of evaluation: a training has several of its labels."""
    labels: dict[str, set[Any]] = {}
    for item in records:
        labels.setdefault(item.training, set()).add(item.labels.get(axis))
    return any(len(found) > 1 for found in labels.values())


def find_followers(records: Sequence[Record], axis: str) -> set[str]:
    """Find the axes that say no more than whether there is a teacher, as the compared one does, and can't be paired."""
    return {
        name
        for name in ("loss", "teacher")
        if name != axis
        and all(_is_plain(item.labels.get(name)) == _is_plain(item.labels.get(axis)) for item in records)
    }


def _is_plain(value: Any) -> bool:
    return str(value).lower() in PLAIN


def collect_lines(
    records: Sequence[Record], hidden: set[str], quantity: str, value: Callable[[Record], float | None]
) -> list[dict[str, Any]]:
    """List curves of a value against noise scale or shots, each with at least two points.

    Returns:
        `labels`, `chance`, and `points` with `x`, mean, interval and the value of each seed; for accuracy over noise
        also `area` (the mean over the range, by trapezoids) and `breaking_point` (where the mean is halfway to chance).
    """
    other = "shots" if quantity == "noise_scale" else "noise_scale"
    keyed: dict[tuple[Any, ...], list[Record]] = {}
    for item in records:
        keyed.setdefault((*_visible(item, hidden).items(), ("", item.backend, getattr(item, other))), []).append(item)
    lines = []
    for group in keyed.values():
        groups = _gather(group, lambda item: (getattr(item, quantity),))
        points = [{"x": x, **_describe(items, value)} for (x,), items in sorted(groups.items())]
        points = [point for point in points if point["mean"] is not None]
        if len(points) > 1:
            chance = 1 / group[0].num_classes
            lines.append(
                {
                    "labels": _visible(group[0], hidden),
                    "backend": group[0].backend,
                    other: getattr(group[0], other),
                    "chance": chance,
                    "points": points,
                    "area": measure_area(points),
                    "breaking_point": find_breaking_point(points, chance),
                }
            )
    return lines


def collect_cost(records: Sequence[Record], hidden: set[str]) -> list[dict[str, Any]]:
    """List accuracy against QPU seconds, one point for each number of shots; curves with one point are left out."""
    paid = [item for item in records if item.qpu_seconds and item.shots]
    keyed: dict[tuple[Any, ...], list[Record]] = {}
    for item in paid:
        keyed.setdefault((*_visible(item, hidden).items(), ("", item.backend, item.noise_scale)), []).append(item)
    lines = []
    for group in keyed.values():
        points = []
        for (shots, samples), items in _gather(group, lambda item: (item.shots, item.samples)).items():
            seconds = sum(item.qpu_seconds or 0 for item in items) / len(items)
            points.append({"x": seconds, "shots": shots, "samples": samples, **_describe(items, _accuracy)})
        points.sort(key=lambda point: point["x"])
        if len(points) > 1:
            lines.append({"labels": _visible(group[0], hidden), "backend": group[0].backend, "points": points})
    return lines
