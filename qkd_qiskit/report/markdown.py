"""The short text for a pull request."""

from __future__ import annotations

from typing import Any

from qkd_qiskit.report import tables, wording

MOST_ROWS = 40
"""Of a table of several runs; a pull request is no place for hundreds."""


def render_markdown(numbers: dict[str, Any]) -> str:
    """Write title, result, tables of accuracies, backends and circuits, and what to know about them."""
    parts = [f"## {_escape(wording.title(numbers))}", _escape(wording.lead(numbers))]
    if numbers["accuracies"]:
        parts.append(_table(*wording.accuracy_table(numbers)))
    if numbers["evaluations"]:
        parts.append(_table(*_evaluation_table(numbers)))
    if numbers["isa"]:
        parts.append(_table(*wording.isa_table(numbers)))
    parts.append("\n".join(f"- {_escape(note)}" for note in wording.notes(numbers)))
    revision = (numbers["environment"].get("git_revision") or "unknown")[:12]
    parts.append(f"Run `{numbers['run']}`, revision {revision}; every number is in `report.json`.")
    return "\n\n".join(part for part in parts if part) + "\n"


def render_several_markdown(numbers: dict[str, Any]) -> str:
    """Write title, results and the tables of accuracies and paired differences of several runs and studies."""
    from qkd_qiskit.report import several

    parts = [f"## {_escape(several.title(numbers))}"]
    for part in several.comparisons(numbers):
        parts += [f"### {_escape(part['name'])}", _escape(several.describe_study(part)), _escape(several.lead(part))]
        parts += [_rows_table(part["groups"], "accuracy, %", tables.percent)]
        if part["paired"] and part["paired"]["rows"]:
            paired = part["paired"]
            parts.append(f"Paired differences against {_escape(str(paired['reference']))}, in points:")
            parts.append(_rows_table(paired["rows"], "difference", tables.points))
    parts.append("\n".join(f"- {_escape(note)}" for note in several.notes(numbers)))
    parts.append("Every number is in `report.json`.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _rows_table(rows: list[dict[str, Any]], what: str, write: Any) -> str:
    listed = []
    for row in rows[:MOST_ROWS]:
        labels = " · ".join([*map(str, row["labels"].values()), *([str(row["compared"])] if "compared" in row else [])])
        interval = f"{write(row['interval'][0])} to {write(row['interval'][1])}" if row["interval"] else row["reason"]
        where = f"{row['backend']}, noise × {row['noise_scale']:g}, {row['shots'] or 'no'} shots"
        listed.append([labels or row["backend"], where, str(row["seeds"]), write(row["mean"]), interval])
    table = _table(["", "where", "seeds", what, "95 % interval"], listed)
    return table + (f"\n\n{len(rows) - MOST_ROWS} more rows are in `report.json`." if len(rows) > MOST_ROWS else "")


def _evaluation_table(numbers: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for item in numbers["evaluations"]:
        fit, reliability = item["expectations"], item["reliability"]
        rows.append(
            [
                item["title"],
                _decimals(fit["slope"]),
                _decimals(fit["r_squared"]),
                _decimals(reliability["noiseless"]["expected_calibration_error"]),
                _decimals(reliability["backend"]["expected_calibration_error"]),
            ]
        )
    return ["backend", "contraction", "R²", "ECE noiseless", "ECE on the backend"], rows


def _decimals(value: float | None) -> str:
    return wording.UNKNOWN if value is None else f"{value:.3f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines)


def _escape(text: str) -> str:
    """Keep names that a user chose from being read as markup."""
    return text.replace("\n", " ").replace("|", "\\|").replace("<", "&lt;")
