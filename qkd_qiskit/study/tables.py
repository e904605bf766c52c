"""A study's tables: Markdown to read, CSV to compute with, and all numbers behind both as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from qkd_qiskit.config import StudySettings
from qkd_qiskit.files import write_atomically, write_json
from qkd_qiskit.study.comparing import MEASURES, summarise
from qkd_qiskit.study.outcomes import Outcome
from qkd_qiskit.study.units import EvaluationUnit

CELL_COLUMNS = ("n", "mean", "median", "sd", "min", "dead", "missing")
MOST_NAMED = 8
"""Rows without an outcome that are named."""
COMPARISON_COLUMNS = ("n", "mean difference", "95 % interval", "median difference", "95 % interval", "p", "Holm p")


def write_tables(
    folder: Path, outcomes: Sequence[Outcome], units: Iterable[EvaluationUnit], settings: StudySettings
) -> dict[str, Any]:
    """Write `table.md`, `table.csv` and `statistics.json` of a study.

    Args:
        folder: of the study.
        outcomes: what there is.
        units: all that belong to the study.
        settings: its `[study]` table.

    Returns:
        The content of `statistics.json`.

    Raises:
        RunError: a file can't be written.
    """
    statistics = summarise(outcomes, units, settings)
    write_json(folder / "statistics.json", statistics)
    _write(folder / "table.md", format_markdown(statistics))
    _write(folder / "table.csv", format_csv(statistics))
    return statistics


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda aside: _write_text(aside, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def format_markdown(statistics: dict[str, Any]) -> str:
    """Write all tables as Markdown; accuracies and differences in percent and points.

    Args:
        statistics: from `summarise`.
    """
    names = _names(statistics["cells"])
    known = [cell for cell in statistics["cells"] if cell["n"]]
    rows = [[*_labels(cell, names), *_cell_texts(cell)] for cell in known]
    parts = ["Test accuracy in % over the seeds.", _markdown([*names, *CELL_COLUMNS], rows) if rows else ""]
    parts.append(_name_the_empty(statistics["cells"]))
    for key, title in (("comparisons", "{}: each value against {!r}"), ("pooled", "the same, averaged over {}")):
        items = [item for item in statistics[key] if item["n"] or item.get("unpaired")]
        if without := len(statistics[key]) - len(items):
            what = "comparisons" if key == "comparisons" else "averages"
            parts.append(f"{without} of {len(statistics[key])} {what} are left out: no seed has what they need.")
        if items:
            what = (
                title.format(statistics["compare"], items[0]["against"])
                if key == "comparisons"
                else title.format(", ".join(statistics["pool"]))
            )
            parts += [f"Differences in points, paired over seeds; {what}."]
            parts += [_comparison_table(items, statistics["compare"] if key == "comparisons" else None)]
            parts += [_footnote(items), _name_the_equal(items, statistics["compare"])]
    parts += _write_curves(statistics["curves"], statistics["compare"])
    return "\n\n".join(part for part in parts if part) + "\n"


def _write_curves(curves: dict[str, Any] | None, compare: str | None) -> list[str]:
    """Write areas, breaking points and the comparison of areas."""
    if curves is None:
        return []
    start, end = curves["range"]
    known = [curve for curve in curves["curves"] if curve["n"]]
    names = _names(known)
    rows = [[*_labels(curve, names), *_curve_texts(curve)] for curve in known]
    what = f"Accuracy in % over {curves['axis']} from {start:g} to {end:g}"
    parts = [
        f"{what}: mean over that range (area under the curve), and where the mean accuracy is halfway to chance.",
        _markdown([*names, "n", "area", "95 % interval", "breaking point", "by seed"], rows),
    ]
    items = curves["comparisons"]
    if items:
        names = _names(items)
        rows = [[*_labels(item, names), str(item[compare]), *_paired_texts(item)] for item in items]
        parts += [
            f"Differences in area in points, paired over seeds; {compare}: each value against {items[0]['against']!r}.",
            _markdown([*names, str(compare), *COMPARISON_COLUMNS], rows),
            _footnote(items),
        ]
    return parts


def _curve_texts(curve: dict[str, Any]) -> list[str]:
    interval, points = curve["area_interval"], curve["breaking_points"].values()
    reached = sorted(point for point in points if point is not None)
    by_seed = " to ".join(dict.fromkeys(f"{point:.2f}" for point in (reached[0], reached[-1]))) if reached else "-"
    never = len(points) - len(reached)
    return [
        str(curve["n"]),
        _percent(curve["area"]),
        "refused" if interval is None else f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}",
        "not reached" if curve["breaking_point"] is None else f"{curve['breaking_point']:.2f}",
        by_seed + (f", {never} not reached" if never and reached else ""),
    ]


def _comparison_table(items: Sequence[dict[str, Any]], axis: str | None) -> str:
    """Write a comparison a line; `axis` is what is compared, `None` where it is averaged over."""
    names = _names(items)
    own = [axis] if axis else []
    dead = ["dead (against)"] if axis else []
    rows = []
    for item in items:
        texts = [*_labels(item, names), *(str(item[name]) for name in own), *_paired_texts(item)]
        rows.append([*texts, *([f"{item['dead']} ({item['dead_against']})"] if dead else [])])
    return _markdown([*names, *own, *COMPARISON_COLUMNS, *dead], rows)


def _name_the_empty(cells: Sequence[dict[str, Any]]) -> str:
    """Name rows without an outcome: a cell that failed must not vanish among those that were not run."""
    empty = [", ".join(map(str, cell["labels"].values())) for cell in cells if not cell["n"]]
    if not empty:
        return ""
    more = f"; and {len(empty) - MOST_NAMED} more" if len(empty) > MOST_NAMED else ""
    return (
        f"{len(empty)} of {len(cells)} rows have no outcome (not run yet, or failed) and are left out: "
        f"{'; '.join(empty[:MOST_NAMED])}{more}."
    )


def _name_the_equal(items: Sequence[dict[str, Any]], compare: str) -> str:
    """Name what these seeds can't tell from the reference; that is no proof of being equal."""
    undecided = []
    for item in items:
        interval = item["mean_interval"]
        if interval is not None and interval[0] <= 0 <= interval[1]:
            undecided.append(item)
    names = []
    for item in undecided:
        labels = {**item["labels"], **({compare: item[compare]} if compare in item else {})}
        names.append(", ".join(f"{name} {label}" if _is_number(label) else label for name, label in labels.items()))
    if not names:
        return ""
    return f"Not told apart (the interval of the mean covers 0), {len(names)} of {len(items)}: {'; '.join(names)}."


def _is_number(label: Any) -> bool:
    return isinstance(label, int | float)


def _footnote(items: Sequence[dict[str, Any]]) -> str:
    """Say what the numbers can't say."""
    lines = []
    refused = sorted({item["refused"] for item in items if item["refused"]})
    lines += [f"No interval: {reason}." for reason in refused]
    smallest = max((item["smallest_p"] for item in items if item["smallest_p"]), default=None)
    if smallest is not None and smallest > 0.05 / len(items):
        lines.append(
            f"With so few seeds p can't be below {smallest:.2g}, and {len(items)} comparisons are corrected for: "
            "the test can't find even a large difference significant."
            if smallest * len(items) > 0.05
            else f"p can't be below {smallest:.2g} here."
        )
    fewest = min((item["n"] for item in items if item["n"] > 1), default=6)
    if fewest < 6:
        most = 100 - 200 / 2**fewest
        lines.append(
            f"An interval of {fewest} seeds lies between two of their differences and covers {most:.0f} % at most."
        )
    unpaired = sum(len(item.get("unpaired", [])) for item in items)
    if unpaired:
        lines.append(f"{unpaired} outcomes have no partner of the same seed and are not in these differences.")
    return " ".join(lines)


def format_csv(statistics: dict[str, Any]) -> str:
    """Write the cells as CSV: labels, shares and counts, 95 % intervals over the seeds; one line a cell.

    Args:
        statistics: from `summarise`.
    """
    names = _names(statistics["cells"])
    numbers = (
        "n", "mean", "median", "sd", "min", "max", "dead", "correct", "samples", "validation", *MEASURES, "seconds",
    )  # fmt: skip
    intervals = ("mean", *MEASURES)
    ends = [f"{name} {end}" for name in intervals for end in ("from", "to")]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = [f"{name} (measured)" if name in names else name for name in numbers]  # an axis may be called loss, too
    writer.writerow([*names, *columns, *ends, "missing", "by_seed"])
    for cell in statistics["cells"]:
        by_seed = " ".join(f"{seed}:{correct}/{samples}" for seed, correct, samples in cell.get("by_seed", []))
        values = ["" if cell.get(name) is None else cell[name] for name in numbers]
        known = [cell.get(f"{name}_interval") or ("", "") for name in intervals]
        limits = [end for interval in known for end in interval]
        writer.writerow([*_labels(cell, names), *values, *limits, " ".join(map(str, cell["missing"])), by_seed])
    return stream.getvalue()


def _names(items: Iterable[dict[str, Any]]) -> list[str]:
    """Return the axes that occur, in their order."""
    return list(dict.fromkeys(name for item in items for name in item["labels"]))


def _labels(item: dict[str, Any], names: Sequence[str]) -> list[str]:
    return [str(item["labels"].get(name, "")) for name in names]


def _cell_texts(cell: dict[str, Any]) -> list[str]:
    missing = str(len(cell["missing"])) if cell["missing"] else ""
    shares = [_percent(cell[name]) for name in ("mean", "median", "sd", "min")]
    return [str(cell["n"]), *shares, str(cell["dead"]), missing]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"


def _paired_texts(item: dict[str, Any]) -> list[str]:
    texts = [str(item["n"])]
    for name in ("mean", "median"):
        value, interval = item[name], item[f"{name}_interval"]
        texts.append("-" if value is None else f"{100 * value:+.2f}")
        texts.append("refused" if interval is None else f"{100 * interval[0]:+.2f} to {100 * interval[1]:+.2f}")
    return [*texts, *("-" if item[name] is None else f"{item[name]:.3g}" for name in ("p", "holm_p"))]


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
