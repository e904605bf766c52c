"""The sections about several trainings: accuracies, paired differences, curves over noise, shots, cost and epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qkd_qiskit.report.facets import MOST_FACETS, describe_labels, draw_facets
from qkd_qiskit.report.figures.canvas import Panel
from qkd_qiskit.report.figures.lines import Look
from qkd_qiskit.report.figures.rows import Mark, Row, draw_rows
from qkd_qiskit.report.numbers.intervals import ONE_SEED
from qkd_qiskit.report.parts import Drawing, Section
from qkd_qiskit.report.tables import decimals, fold, percent, points
from qkd_qiskit.report.wording import UNKNOWN, day

MOST_GROUPS = 30
BANDS = "Bands: 95 % intervals of the mean over seeds."
NO_BANDS = f"No bands: {ONE_SEED}."


def comparison_sections(numbers: dict[str, Any], name: str) -> list[Section]:
    """Draw what several trainings say together.

    Args:
        numbers: from `collect_comparison`, with `trainings_by_epoch` from `collect_trainings`.
        name: unique on the page.
    """
    sections = [
        _accuracy_section(numbers, f"{name}-accuracy"),
        _paired_section(numbers, f"{name}-paired"),
        condition_section(numbers, f"{name}-conditions"),
        _curves_section(numbers, f"{name}-epochs"),
    ]
    return [section for section in sections if section.drawings or section.missing]


def provenance(numbers: dict[str, Any]) -> list[str]:
    """List what every figure carries: seeds, samples, shots, backends, snapshot dates."""
    seeds, dates = numbers["seeds"], sorted({day(date) for date in numbers["dates"]})
    shots = ", ".join(f"{count:,}" if count else "exact" for count in numbers["shots"])
    return [
        f"n = {len(seeds)} seed{'s' * (len(seeds) != 1)} ({', '.join(map(str, seeds))})",
        f"{' or '.join(f'{count:,}' for count in numbers['samples'])} test images each",
        f"shots a sample: {shots}",
        f"backend {', '.join(numbers['backends'])}",
        f"calibration of {', '.join(dates)}" if dates else "no device calibration",
    ]


def _bands(numbers: dict[str, Any]) -> str:
    return BANDS if len(numbers["seeds"]) > 1 else NO_BANDS


def _interval(item: dict[str, Any], write: Any) -> str:
    return f"{write(item['interval'][0])} to {write(item['interval'][1])}" if item["interval"] else item["reason"]


def _label(item: dict[str, Any]) -> str:
    return describe_labels(item["labels"]) or item["backend"]


def _condition(item: dict[str, Any]) -> str:
    shots = f"{item['shots']:,} shots" if item["shots"] else "exact"
    return f"{item['backend']}, noise × {item['noise_scale']:g}, {shots}"


def _accuracy_section(numbers: dict[str, Any], name: str) -> Section:
    if not numbers["groups"]:
        return Section(name, "Accuracy", missing="Nothing has been evaluated yet.")
    by_label: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for item in numbers["groups"]:
        by_label.setdefault(_split(item, numbers["groups"]), []).append(item)
    rows: dict[str, list[Row]] = {}
    told = set()
    for (title, label), items in list(by_label.items())[:MOST_GROUPS]:
        calm, noisy = _pick_ends(items)
        told.add(_condition(noisy))
        marks = [Mark(calm, open=True)] if calm is not noisy else []
        rows.setdefault(title, []).append(Row(label, [*marks, Mark(noisy)]))
    where = "; ".join(sorted(told)) if len(told) < 4 else "its usual conditions"
    caption = f"Filled: {where}. Open: the least noise there is. Small dots: single seeds. "
    caption += "Bars: 95 % intervals of the mean over seeds." if len(numbers["seeds"]) > 1 else NO_BANDS
    if len(by_label) > MOST_GROUPS:
        caption += f" The first {MOST_GROUPS} of {len(by_label)} are drawn; the table has more."
    head = ["", "where", "seeds", "mean", "95 % interval", "by seed"]
    table = fold(
        head,
        [
            [
                _label(item),
                _condition(item),
                str(item["seeds"]),
                percent(item["mean"]),
                _interval(item, percent),
                " ".join(f"{100 * value:.1f}" for value in item["by_seed"].values()),
            ]
            for item in numbers["groups"]
        ],
    )
    panels = _draw_panels(name, "Test accuracies, mean over seeds", rows, difference=False)
    return Section(name, "Accuracy", "", [Drawing(panels, caption, provenance(numbers), large=True, table=table)])


def _split(item: dict[str, Any], items: Sequence[dict[str, Any]], last: str = "") -> tuple[str, str]:
    """Cut a label into the title of its drawing (the first axis, if there are two or more) and the rest."""
    labels = item["labels"]
    first = next(iter(labels), None)
    titles = {str(other["labels"].get(first)) for other in items}
    different = {str(other["labels"]) for other in items}
    alone = len(labels) < 2 and (not last or len({other.get("compared") for other in items}) < 2)
    if first is None or alone or not 1 < len(titles) < len(different):
        return "", " · ".join(filter(None, (describe_labels(labels), last))) or item["backend"]
    rest = {name: value for name, value in labels.items() if name != first}
    return describe_labels({first: labels[first]}), " · ".join(filter(None, (describe_labels(rest), last)))


def _draw_panels(name: str, words: str, rows: dict[str, list[Row]], *, difference: bool) -> list[Panel]:
    return [
        draw_rows(f"{name}-{place}", f"{words}{f', {title}' * bool(title)}:", own, difference=difference, title=title)
        for place, (title, own) in enumerate(rows.items())
    ]


def _pick_ends(items: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Pick the least noisy of some conditions and the one that is nearest to the device as it is."""
    calm = min(items, key=lambda item: (item["noise_scale"], item["shots"] > 0, -item["shots"]))
    noisy = min(items, key=lambda item: (abs(item["noise_scale"] - 1), item["noise_scale"] == 0, -item["shots"]))
    return calm, noisy


def _paired_section(numbers: dict[str, Any], name: str) -> Section:
    paired, title = numbers["paired"], "Distilled against plain"
    if paired is None or not paired["rows"]:
        if numbers["trainings"] < 2:
            return Section(name, title)
        reason = (
            "There is nothing to pair: no axis has a plain value (none or ce) beside a distilled one, with the same "
            "seed and settings."
        )
        return Section(name, title, missing=reason)
    known = [row for row in paired["rows"] if row["mean"] is not None]
    if not known:
        return Section(name, title, missing="No seed was trained both ways, so there is no pair.")
    by_label: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in known:
        against = f"{row['compared']} − {paired['reference']}"
        by_label.setdefault(_split(row, known, against), []).append(row)
    chosen = [(label, _pick_ends(items)[1]) for label, items in by_label.items()][:MOST_GROUPS]
    where = sorted({_condition(item) for _, item in chosen})
    rows: dict[str, list[Row]] = {}
    for (heading, label), item in chosen:
        rows.setdefault(heading, []).append(Row(label, [Mark(item)]))
    words = f"Paired differences of accuracy against {paired['reference']}"
    panels = _draw_panels(name, words, rows, difference=True)
    nearest = "; ".join(where) if len(where) < 4 else "at the noise nearest to the device's own"
    caption = (
        f"Test accuracy of each value of “{paired['axis']}” less that of “{paired['reference']}”, same seed, same "
        f"images, all else equal ({nearest}). "
        "Small dots: single seeds."
    )
    caption += " Bars: 95 % intervals of the mean." if len(numbers["seeds"]) > 1 else f" {NO_BANDS}"
    drawings = [
        Drawing(panels, caption, provenance(numbers), large=True, table=_paired_table(known, paired["reference"]))
    ]
    return Section(name, title, "", [*drawings, *_paired_over_noise(numbers, known, paired, name)])


def _paired_table(rows: Sequence[dict[str, Any]], reference: Any) -> Any:
    listed = [
        [
            f"{describe_labels(row['labels'])} · {row['compared']} − {reference}".removeprefix(" · "),
            _condition(row),
            str(row["seeds"]),
            points(row["mean"]),
            _interval(row, points),
            " ".join(points(value) for value in row["by_seed"].values()),
        ]
        for row in rows
    ]
    return fold(["", "where", "pairs", "points", "95 % interval", "by seed"], listed)


def _paired_over_noise(
    numbers: dict[str, Any], rows: Sequence[dict[str, Any]], paired: dict[str, Any], name: str
) -> list[Drawing]:
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["noise_scale"]):
        labels = {**row["labels"], paired["axis"]: row["compared"]}
        line = lines.setdefault(
            (*labels.items(), row["backend"], row["shots"]), {"labels": labels, "backend": row["backend"], "points": []}
        )
        line["points"].append({**row, "x": row["noise_scale"]})
    curves = [line for line in lines.values() if len({point["x"] for point in line["points"]}) > 1]
    if not curves:
        return []
    look = Look(
        f"{name}-noise",
        "Paired difference against noise",
        "noise scale (1: as calibrated)",
        f"points against {paired['reference']}",
        points=True,
        legend="upper left",
    )
    panels, left = draw_facets(curves, look, numbers["axes"])
    caption = f"The same difference as the noise grows; above 0, distilling wins. {_bands(numbers)}{_left_out(left)}"
    return [Drawing(panels, caption, provenance(numbers), table=_line_table(curves, "noise scale", points))]


def _left_out(count: int) -> str:
    return f" {MOST_FACETS} drawings are shown, {count} more are in report.json." if count else ""


def condition_section(numbers: dict[str, Any], name: str) -> Section:
    """Draw accuracy, contraction and calibration against noise, and accuracy against shots and QPU seconds."""
    drawings = [*_noise_drawings(numbers, name)]
    for key, what, label, write in (
        ("accuracy_by_shots", "shots", "shots a sample", lambda value: f"{value:,.0f}"),
        ("accuracy_by_qpu_seconds", "QPU seconds", "QPU seconds", lambda value: f"{value:,.1f}"),
    ):
        lines = numbers[key]
        if lines:
            look = Look(
                f"{name}-{key.replace('_', '-')}", f"Accuracy against {what}", label, "test accuracy", percent=True,
                logarithmic=True, legend="best",
            )  # fmt: skip
            panels, left = draw_facets(lines, look, numbers["axes"])
            caption = f"Accuracy against {what}. {_bands(numbers)}{_left_out(left)}"
            if what == "QPU seconds":
                caption += " Seconds are as charged where a device was used, else as estimated for one."
            table = _line_table(lines, what, percent, write)
            drawings.append(Drawing(panels, caption, provenance(numbers), table=table))
    title = "Noise, shots and cost"
    if drawings:
        return Section(name, title, "", drawings)
    return Section(name, title, missing=MISSING_CONDITIONS)


MISSING_CONDITIONS = (
    "Nothing to draw against: curves need evaluations of the same student at two or more noise scales, or at two or "
    "more numbers of shots (`evaluate --shots 256`, `--set noise_scale=2`)."
)


def _noise_drawings(numbers: dict[str, Any], name: str) -> list[Drawing]:
    drawings = []
    for key, y, look_at, legend in (
        ("accuracy", "test accuracy", "a cross where the mean is halfway from its start to chance", "lower left"),
        ("contraction", "slope of ⟨O⟩", "the slope of noisy against noiseless expectation values", "lower left"),
        ("calibration_error", "ECE", "the expected calibration error, before any calibration", "upper left"),
    ):
        lines = numbers["noise"][key]
        if not lines:
            continue
        shares, what = key == "accuracy", key.replace("_", " ").capitalize()
        look = Look(
            f"{name}-{key.replace('_', '-')}", f"{what} against noise", "noise scale (1: as calibrated)", y,
            percent=shares, legend=legend, lowest=None if key == "contraction" else 0.0,
        )  # fmt: skip
        panels, left = draw_facets(lines, look, numbers["axes"], chance=shares)
        caption = f"{what} against noise: {look_at}. {_bands(numbers)}{_left_out(left)}"
        table = _line_table(lines, "noise scale", percent if shares else decimals)
        drawings.append(Drawing(panels, caption, provenance(numbers), table=table))
    if numbers["noise"]["accuracy"]:
        drawings[0] = _with_summary(drawings[0], numbers["noise"]["accuracy"])
    return drawings


def _with_summary(drawing: Drawing, lines: Sequence[dict[str, Any]]) -> Drawing:
    """Put area and breaking point of each curve in front of its points."""
    summary = [
        [
            _label(line),
            "mean over the range",
            percent(line["area"]),
            f"breaking point {UNKNOWN if line['breaking_point'] is None else format(line['breaking_point'], '.2f')}",
            "",
        ]
        for line in lines
    ]
    assert drawing.table is not None
    table = fold(drawing.table.head, [*summary, *drawing.table.rows])
    return Drawing(drawing.panels, drawing.caption, drawing.provenance, table=table)


def _line_table(lines: Sequence[dict[str, Any]], quantity: str, write: Any, write_x: Any = lambda x: f"{x:g}") -> Any:
    rows = [
        [_label(line), write_x(point["x"]), write(point["mean"]), _interval(point, write), str(point["seeds"])]
        for line in lines
        for point in line["points"]
    ]
    return fold(["", quantity, "mean", "95 % interval", "seeds"], rows)


def _curves_section(numbers: dict[str, Any], name: str) -> Section:
    groups = numbers["trainings_by_epoch"]
    if not groups:
        return Section(name, "Training", missing="The trainings' metrics are not there (no run directories).")
    drawings = []
    for key, what, percent_, legend in (
        ("validation_accuracy", "Validation accuracy", True, "lower right"),
        ("task_loss", "Task part of the loss", False, "upper right"),
        ("distillation_loss", "Distillation part of the loss", False, "upper right"),
    ):
        lines = [_epoch_line(group, key) for group in groups]
        lines = [line for line in lines if len(line["points"]) > 1 and any(point["mean"] for point in line["points"])]
        if not lines:
            continue
        look = Look(
            f"{name}-{key.replace('_', '-')}", what, "epoch", what.lower(), percent=percent_, legend=legend, lowest=0.0
        )
        panels, left = draw_facets(lines, look, numbers["axes"])
        caption = f"{what} while training, each seed thin, mean thick. {_bands(numbers)}{_left_out(left)}"
        if key == "distillation_loss":
            caption += " T² KL to the teacher, before weighting; plain training has none."
        ends = [{**line, "points": [line["points"][0], line["points"][-1]]} for line in lines]
        table = _line_table(ends, "epoch", percent if percent_ else decimals)
        drawings.append(Drawing(panels, caption, provenance(numbers), table=table))
    return Section(name, "Training", "", drawings)


def _epoch_line(group: dict[str, Any], key: str) -> dict[str, Any]:
    series, points_ = group[key], []
    for place, epoch in enumerate(group["epochs"]):
        low, high = series["low"][place], series["high"][place]
        if series["mean"][place] is not None:
            seeds = {seed: values[place] for seed, values in series["by_seed"].items()}
            points_.append(
                {
                    "x": epoch,
                    "mean": series["mean"][place],
                    "interval": None if low is None else [low, high],
                    "reason": ONE_SEED,
                    "seeds": len(group["seeds"]),
                    "by_seed": seeds,
                }
            )
    return {"labels": group["labels"], "backend": "mean over seeds", "points": points_, "thin": True}
