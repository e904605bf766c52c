"""The short text for a pull request."""

from __future__ import annotations

from typing import Any

from qkd_qiskit.report import wording


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
