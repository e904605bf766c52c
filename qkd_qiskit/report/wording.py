"""The sentences and table cells that page and pull-request text share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

UNKNOWN = "–"


def title(numbers: dict[str, Any]) -> str:
    """Name the run by what it is of."""
    facts = numbers["facts"]
    origin = f"distilled from {facts['teacher']}" if facts["teacher"] else "trained without a teacher"
    return f"{facts['dataset']}, {facts['qubits']}-qubit {facts['student']} student {origin}"


def lead(numbers: dict[str, Any]) -> str:
    """Say in a sentence or two what came out."""
    said = []
    trained = next((row for row in numbers["accuracies"] if row["kind"] == "training"), None)
    teacher = next((row for row in numbers["accuracies"] if row["kind"] == "teacher"), None)
    if trained:
        compared = f"; its teacher has {teacher['accuracy']:.1%}" if teacher else ""
        said.append(
            f"In its training conditions ({trained['backend']}) the student classifies {trained['correct']:,} of "
            f"{trained['samples']:,} test images correctly: {percent(trained)}{compared}."
        )
    noisy = [item for item in numbers["evaluations"] if not item["ideal"]]
    if noisy:
        item = noisy[-1]
        row = next(
            row for row in numbers["accuracies"] if row["kind"] == "backend" and row["evaluation"] == item["name"]
        )
        against = item["against_noiseless"]
        said.append(
            f"On {item['title']} ({row['samples']:,} images, {count_shots(row['shots'])}) it has {percent(row)}; that "
            f"is {points(against['difference'])} points against the same images without noise "
            f"({_interval_points(against['interval'])})."
        )
    return " ".join(said)


def percent(row: dict[str, Any]) -> str:
    """Write an accuracy with its interval."""
    low, high = row["interval"]
    return f"{row['accuracy']:.1%} (95\u00a0% interval {low:.1%} to {high:.1%})"


def points(difference: float) -> str:
    """Write a difference of accuracies in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def _interval_points(interval: Sequence[float]) -> str:
    return f"95\u00a0% interval {points(interval[0])} to {points(interval[1])}"


def notes(numbers: dict[str, Any]) -> list[str]:
    """List what a reader must know before believing a figure."""
    said = []
    done, planned = len(numbers["training"]["epochs"]) if numbers["training"] else 0, numbers["settings"]["training"]
    if not numbers["finished"]:
        said.append(
            f"The training has not ended: {done} of {planned['epochs']} epochs. Its test accuracy and its teacher's "
            "are measured at the end and are left out."
        )
    for name in numbers["unfinished_evaluations"]:
        said.append(f"The evaluation {name} has not ended and is left out.")
    if numbers["evaluations_without_figures"]:
        listed = ", ".join(numbers["evaluations_without_figures"])
        said.append(f"Listed among the accuracies and circuits, but too many for figures of their own: {listed}.")
    for item in numbers["evaluations"]:
        if not item["of_best_checkpoint"]:
            said.append(f"The evaluation {item['name']} is of an earlier checkpoint than the best one there is now.")
    if not numbers["accuracies"]:
        said.append("There is no accuracy yet.")
    said.append(
        f"One seed ({numbers['facts']['seed']}): the intervals are of the finite number of test images, not of "
        "repeated trainings."
    )
    return said


def provenance(numbers: dict[str, Any], *parts: str, backend: str = "", dates: Iterable[str | None] = ()) -> list[str]:
    """List what every figure carries: samples and shots (in `parts`), backend, seeds, snapshot date."""
    facts = numbers["facts"]
    days = sorted({day(date) for date in dates if date})
    calibration = f"calibration of {', '.join(days)}" if days else "no device calibration"
    return [*parts, f"backend {backend or facts['backend']}", f"1 seed ({facts['seed']})", calibration]


def count_shots(shots: int | None) -> str:
    """Write a number of shots."""
    return f"{shots:,} shots a sample" if shots else "exact, no shots"


def day(date: str | None) -> str:
    """Write the day of an ISO date."""
    return date[:10] if date else UNKNOWN


def pair_rows(accuracies: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Put each backend's row with its noiseless one of the same samples; other rows stand alone."""
    noiseless = {row["evaluation"]: row for row in accuracies if row["kind"] == "noiseless"}
    paired = {row["evaluation"] for row in accuracies if row["kind"] == "backend"}
    return [
        (row, noiseless.get(row["evaluation"]) if row["kind"] == "backend" else None)
        for row in accuracies
        if not (row["kind"] == "noiseless" and row["evaluation"] in paired)
    ]


def accuracy_table(numbers: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the accuracies."""
    against = {item["name"]: item["against_noiseless"] for item in numbers["evaluations"]}
    rows = []
    for row, noiseless in pair_rows(numbers["accuracies"]):
        lost = against.get(row["evaluation"]) if noiseless else None
        low, high = row["interval"]
        rows.append(
            [
                row["name"],
                f"{row['accuracy']:.1%}",
                f"{low:.1%} to {high:.1%}",
                f"{row['correct']:,} / {row['samples']:,}",
                UNKNOWN if row["shots"] is None else f"{row['shots']:,}" if row["shots"] else "exact",
                f"{noiseless['accuracy']:.1%}" if noiseless else UNKNOWN,
                f"{points(lost['difference'])} ({_short_interval(lost['interval'])})" if lost else UNKNOWN,
            ]
        )
    return ["", "accuracy", "95 % interval", "correct", "shots", "noiseless", "points lost or gained"], rows


def _short_interval(interval: Sequence[float]) -> str:
    return f"{points(interval[0])} to {points(interval[1])}"


def isa_table(numbers: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the compiled circuits; equal ones are listed once."""
    head = ["circuit for", "used by", "depth", "two-qubit gates", "two-qubit depth", "est. success", "layout"]
    used: dict[tuple[str, ...], list[str]] = {}
    for row in numbers["isa"]:
        success = row["estimated_success"]
        key = (
            row["device"] or "ideal simulator",
            *(number(row[name]) for name in ("depth", "two_qubit_gates", "two_qubit_depth")),
            UNKNOWN if success is None else f"{success:.3f}",
            ", ".join(map(str, row["qubits"] or [])) or UNKNOWN,
            day(row["calibration_date"]),
            (row["calibration_sha256"] or UNKNOWN)[:12],
        )
        name = "training" if row["used_for"] == "training" else row["backend"]
        used.setdefault(key, []).append(name)
    rows = [[key[0], ", ".join(dict.fromkeys(names)), *key[1:]] for key, names in used.items()]
    return [*head, "calibration", "SHA-256"], rows


def number(value: Any) -> str:
    """Write a number with separators, or that it is not known."""
    return UNKNOWN if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def flatten(content: dict[str, Any], prefix: str = "") -> list[list[str]]:
    """List nested settings as `section.key`, value."""
    rows: list[list[str]] = []
    for key, value in content.items():
        if isinstance(value, dict):
            rows += flatten(value, f"{prefix}{key}.")
        else:
            rows.append([f"{prefix}{key}", UNKNOWN if value is None or value == "" else str(value)])
    return rows
