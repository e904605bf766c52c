"""The report of several runs and studies on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qkd_qiskit.exceptions import RunError
from qkd_qiskit.files import read_json
from qkd_qiskit.report import wording
from qkd_qiskit.report.comparison_page import comparison_sections
from qkd_qiskit.report.facets import describe_labels
from qkd_qiskit.report.numbers.comparison import collect_comparison
from qkd_qiskit.report.numbers.records import Record, list_evaluations, list_outcomes, name_runs
from qkd_qiskit.report.numbers.report import collect_report
from qkd_qiskit.report.numbers.trainings import collect_trainings
from qkd_qiskit.report.page import run_sections
from qkd_qiskit.report.parts import Section, fill_page
from qkd_qiskit.report.reading import StoredRun, read_run
from qkd_qiskit.runs import RunDirectory, describe_environment, is_study
from qkd_qiskit.study.outcomes import load_outcomes

SCHEMA = "qkd_qiskit comparison report 1"
MOST_DETAILED = 3
"""So many runs are shown in full; the others have a report of their own."""


def collect_several(folders: Sequence[Path]) -> dict[str, Any]:
    """Collect the numbers behind a page of several runs and studies.

    Raises:
        RunError: a folder is neither a run nor a study, is empty, or holds a damaged file.
    """
    studies = [_collect_study(folder) for folder in folders if is_study(folder)]
    runs = [read_run(RunDirectory(folder)) for folder in folders if not is_study(folder)]
    _refuse_twice(runs)
    return {
        "schema": SCHEMA,
        "sources": [
            {"name": folder.resolve().name, "kind": "study" if is_study(folder) else "run"} for folder in folders
        ],
        "studies": studies,
        "runs": _collect_runs(runs) if runs else None,
        "details": [_collect_detail(run) for run in runs[:MOST_DETAILED]],
        "runs_without_details": [run.name for run in runs[MOST_DETAILED:]],
        "versions": describe_environment()["versions"],
    }


def _refuse_twice(runs: Sequence[StoredRun]) -> None:
    names = [run.name for run in runs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RunError(f"two of the runs are called {twice[0]!r}; name each run once, or rename one of the folders")


def _collect_study(folder: Path) -> dict[str, Any]:
    known, outcomes = _read_study(folder).get("units"), load_outcomes(folder)
    own = [item for item in outcomes if known is None or item.key in set(known)]
    records = list_outcomes(own, folder)
    if not records:
        raise RunError(f"{folder} has no outcome yet (units/ is empty); `qkd-qiskit run` on its job file makes them")
    facts = _read_study(folder)
    order = {**facts.get("axes", {}), **facts.get("conditions", {})}
    records.sort(key=lambda item: ([_place(order.get(name, ()), item.labels.get(name)) for name in order], item.seed))
    compared = (facts.get("study") or {}).get("compare")
    numbers = _collect(folder.resolve().name, records, compared)
    return {**numbers, "description": facts.get("description", ""), "left_out": len(outcomes) - len(own)}


def _place(values: Sequence[Any], value: Any) -> int:
    return list(values).index(value) if value in values else len(values)


def _read_study(folder: Path) -> dict[str, Any]:
    """Read `study.json`: the axes in their order, and which one is compared; empty if it is not there."""
    path = folder / "study.json"
    content = read_json(path) if path.exists() else {}
    return content if isinstance(content, dict) else {}


def _collect(name: str, records: Sequence[Record], compare: str | None = None) -> dict[str, Any]:
    numbers = collect_comparison(records, compare=compare)
    dates = numbers["dates"] or _read_dates(records)
    return {"name": name, **numbers, "dates": dates, "trainings_by_epoch": collect_trainings(records)}


def _read_dates(records: Sequence[Record]) -> list[str]:
    """Read the snapshot dates of the devices whose noise the trainings saw."""
    found = set()
    for folder in {item.folder for item in records if item.folder is not None}:
        path = folder / "environment.json"
        content = read_json(path) if path.exists() else {}
        found.add((content.get("calibration") or {}).get("date"))
    return sorted(date for date in found if date)


def _collect_runs(runs: Sequence[StoredRun]) -> dict[str, Any]:
    """Collect what was evaluated, and say of all runs, also of those that were not, how they differ."""
    numbers = _collect("runs", list_evaluations(runs))
    labels = name_runs(runs)
    axes = {name: list(dict.fromkeys(own[name] for own in labels.values())) for name in next(iter(labels.values()))}
    return {
        **numbers,
        "axes": {**axes, **numbers["axes"], **axes},
        "trainings": len(runs),
        "training_seeds": sorted({run.settings.seed for run in runs}),
        "not_evaluated": [run.name for run in runs if not run.evaluations],
        "labels": {run.name: {**labels[run.name], "seed": run.settings.seed} for run in runs},
    }


def _collect_detail(run: StoredRun) -> dict[str, Any]:
    """Collect a run's own numbers, with figures of its last noisy evaluation only."""
    numbers = collect_report(run, most_evaluations=1)
    return {**numbers, "environment": {"versions": run.environment.get("versions")}}


def render_several(numbers: dict[str, Any]) -> str:
    """Draw the page of `collect_several`."""
    sections: list[Section] = []
    for place, study in enumerate(numbers["studies"]):
        sections += [_chapter(f"s{place}", f"Study {study['name']}", describe_study(study))]
        sections += comparison_sections(study, f"s{place}")
    if numbers["runs"]:
        sections += [_chapter("runs", "The runs together", describe_study(numbers["runs"]))]
        sections += comparison_sections(numbers["runs"], "runs")
    for place, detail in enumerate(numbers["details"]):
        sections += [_chapter(f"r{place}", f"Run {detail['run']}", wording.lead(detail))]
        own = run_sections(detail, f"r{place}-")
        sections += [section for section in own if not section.name.endswith(("conditions", "settings"))]
    return fill_page(
        sections,
        title=title(numbers),
        run=", ".join(source["name"] for source in numbers["sources"]),
        lead=" ".join(lead(part) for part in comparisons(numbers)),
        notes=notes(numbers),
        schema=numbers["schema"],
        version=numbers["versions"].get("qkd_qiskit"),
    )


def _chapter(name: str, heading: str, intro: str) -> Section:
    return Section(name, heading, intro, level=1)


def comparisons(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    """List the parts that compare: each study, then the runs."""
    return [*numbers["studies"], *([numbers["runs"]] if numbers["runs"] else [])]


def title(numbers: dict[str, Any]) -> str:
    """Name the page by what is on it."""
    kinds = [source["kind"] for source in numbers["sources"]]
    said = []
    for kind, plural in (("study", "studies"), ("run", "runs")):
        count = kinds.count(kind)
        said += [f"{count} {kind if count == 1 else plural}"] if count else []
    return numbers["sources"][0]["name"] if len(kinds) == 1 else " and ".join(said) + " compared"


def describe_study(numbers: dict[str, Any]) -> str:
    """Say what was varied."""
    varied = "; ".join(
        f"{name}: {', '.join(map(str, values[:8]))}{' …' if len(values) > 8 else ''}"
        for name, values in numbers["axes"].items()
        if len(values) > 1
    )
    seeds = numbers.get("training_seeds", numbers["seeds"])
    about = f"{numbers['description']}. " if numbers.get("description") else ""
    return (
        f"{about}{_count(numbers['trainings'], 'training')}, {_count(numbers['evaluations'], 'evaluation')}, "
        f"{_count(len(seeds), 'seed')}. Varied: {varied or 'nothing but the seed'}."
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def lead(numbers: dict[str, Any]) -> str:
    """Say which pairs differ for certain."""
    paired = numbers["paired"]
    rows = [row for row in (paired or {"rows": []})["rows"] if row["mean"] is not None]
    if not paired or not rows:
        return ""
    bounded = [row for row in rows if row["interval"]]
    if not bounded:
        return f"{numbers['name']}: paired differences are of one seed, so nothing is said about their certainty."
    better = sum(row["interval"][0] > 0 for row in bounded)
    worse = sum(row["interval"][1] < 0 for row in bounded)
    best = max(bounded, key=lambda row: row["interval"][0])
    told = f"{describe_labels(best['labels'])}, {best['compared']}".removeprefix(", ")
    return (
        f"{numbers['name']}: of {len(bounded)} paired comparisons with {paired['axis']} {paired['reference']}, "
        f"{better} have an interval above 0 and {worse} one below. The interval that lies highest is of "
        f"{wording.points(best['mean'])} points ({told}, noise × {best['noise_scale']:g})."
    )


def notes(numbers: dict[str, Any]) -> list[str]:
    """List what a reader must know before believing a figure."""
    said = []
    if any(len(part["seeds"]) > 1 for part in comparisons(numbers)):
        said.append(
            "Intervals (95 %) are of the mean over seeds: Student's t of accuracies, an expanded bootstrap of paired "
            "differences. They are not adjusted for the number of comparisons: of twenty true zeros one is expected to "
            "look like a difference."
        )
    for part in comparisons(numbers):
        if part.get("left_out"):
            said.append(
                f"{part['name']}: {_count(part['left_out'], 'evaluation')} of other settings lie in its folder (the "
                "job file changed) and are left out."
            )
        if 1 < len(part["seeds"]) < 6 and part["paired"]:
            most = 100 - 200 / 2 ** len(part["seeds"])
            said.append(
                f"{part['name']}: an interval of a paired difference over {len(part['seeds'])} seeds lies between two "
                f"of their differences and covers {most:.0f} % at most, whatever its name says."
            )
        if len(part["seeds"]) == 1:
            said.append(f"{part['name']}: one seed ({part['seeds'][0]}), so no intervals.")
    for name in (numbers["runs"] or {}).get("not_evaluated", ()):
        said.append(f"{name} has no finished evaluation, so it is in no comparison of accuracies here.")
    if numbers["runs_without_details"]:
        listed = ", ".join(numbers["runs_without_details"])
        said.append(f"Compared, but without figures of their own here (`qkd-qiskit report RUN` makes them): {listed}.")
    if not numbers["details"]:
        said.append("Expectation values, confusion matrices, circuit and layout are in the report of each single run.")
    return said
