"""Turn a finished study into a page and a table of `docs/results/`: `python benchmarks/publish.py runs/paper_v1`.

Everything on the page comes from the study's folder; what it means is said in `docs/results/README.md`.
"""

from __future__ import annotations

import statistics as statistics_
from collections import Counter
from pathlib import Path
from typing import Any

import click

from qkd_qiskit.config import JobSettings, StudySettings
from qkd_qiskit.console import describe_seconds
from qkd_qiskit.exceptions import QkdError
from qkd_qiskit.files import read_json, write_atomically
from qkd_qiskit.shipped import list_files
from qkd_qiskit.study.comparing import summarise
from qkd_qiskit.study.grid import expand, select
from qkd_qiskit.study.outcomes import Outcome, load_outcomes
from qkd_qiskit.study.sittings import read_sittings
from qkd_qiskit.study.tables import format_csv, format_markdown
from qkd_qiskit.study.units import Cell, EvaluationUnit

SHOWN = ("qkd_qiskit", "qiskit", "qiskit-aer", "qiskit-machine-learning", "torch")


@click.command(help=__doc__)
@click.argument("study", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--title", help="The page's heading; the job file's description if not given.")
@click.option("--only", multiple=True, metavar="AXIS=LABEL", help="As the study was run, for the command on the page.")
@click.option("--seeds", help="As the study was run, for the command on the page.")
@click.option("--page", help="The page's file name; the study's if not given. For one of several parts of a study.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/results"), show_default=True)
def publish(
    study: Path, title: str | None, only: tuple[str, ...], seeds: str | None, page: str | None, out: Path
) -> None:
    """Write `OUT/PAGE.md` and `OUT/PAGE.csv` of a study."""
    try:
        record = read_json(study / "study.json")
        outcomes = load_outcomes(study)
    except QkdError as error:
        raise click.ClickException(
            f"{error}\n(a page is made of a study's folder, as `qkd-qiskit run` leaves it)"
        ) from None
    if not outcomes:
        raise click.ClickException(f"{study} has no outcomes yet; run the study first")
    try:
        cells = expand(JobSettings.model_validate(record["job"]), record["name"])
        units = [unit for cell in select(cells, only=only, seeds=seeds) for unit in cell.evaluations]
    except QkdError as error:
        raise click.ClickException(str(error)) from None
    wanted = {unit.key for unit in units}
    outcomes = [item for item in outcomes if item.key in wanted]
    check_command(study, record, cells, units, outcomes)
    statistics = summarise(outcomes, units, StudySettings(**record["study"]))
    name = record["name"]
    file = f"jobs/{name}.toml" if name in list_files("jobs") else f"{name}.toml"
    page = page or name
    restricted = [*(f" --only '{item}'" for item in only), *([f" --seeds {seeds}"] if seeds else [])]
    part = "".join(restricted)
    data = "QKD_DATA_DIR=/path/to/data " if any(cell.settings.data.dataset != "digits" for cell in cells) else ""
    command = f"{data}qkd-qiskit run {name if '/' in file else file}{part}"
    work = describe_work(study, len(units), outcomes, part=bool(part))
    parts = [
        f"# {title or record['description']}",
        f"    {command}\n    python benchmarks/publish.py runs/{name}{part}{f' --page {page}' * (page != name)}",
        f"The job file is `{file}`: {record['description']}. {work}",
        f"{describe_versions(outcomes)} `{page}.csv` has counts by seed, losses, calibration errors and seconds, too.",
        format_markdown(statistics).rstrip(),
    ]
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / f"{page}.md", "\n\n".join(parts) + "\n")
    write_text(out / f"{page}.csv", format_csv(statistics))
    click.echo(f"{out / page}.md, {page}.csv")


def check_command(
    study: Path, record: dict[str, Any], cells: list[Cell], units: list[EvaluationUnit], outcomes: list[Outcome]
) -> None:
    """Find out whether the command on the page makes what is on it: these units, of all these cells.

    Raises:
        ClickException: the study was run with other settings than its job file has, or is not finished.
    """
    if [unit.key for cell in cells for unit in cell.evaluations] != record["units"]:
        raise click.ClickException(
            f"{study} was run with --set (or by a version with other defaults), which the page's command would leave "
            "out; write the settings into a job file and run that"
        )
    missing = len({unit.key for unit in units} - {outcome.key for outcome in outcomes})
    if missing:
        raise click.ClickException(
            f"{missing} of {len(units)} evaluations are missing in {study}; run it again to finish it, or say with "
            "--only and --seeds which part was run"
        )


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    write_atomically(path, lambda aside: _write(aside, text))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def describe_work(study: Path, wanted: int, outcomes: list[Outcome], *, part: bool) -> str:
    """Say how much was done and how long it took, on what; a part may share its folder with others."""
    trainings = {item.training: item.seconds for item in outcomes}
    others = " (of all parts in the folder)" if part else ""
    parts = [f"{len(outcomes)} of {wanted} evaluations of {len(trainings)} trainings"]
    for what in ("teachers", "cells"):
        those = [item for item in read_sittings(study) if item["what"] == what]
        timed = [item for item in those if "seconds" in item]
        if timed:
            places = ", ".join(dict.fromkeys(item["where"] for item in those))
            sittings = f", in {len(those)} sittings" if len(those) > 1 else ""
            killed = f", {len(those) - len(timed)} of them killed and not counted" if len(those) > len(timed) else ""
            seconds = describe_seconds(sum(item["seconds"] for item in timed))
            parts.append(f"{what}{others} {seconds} with {places} on {timed[-1]['cores']} cores{sittings}{killed}")
    median = statistics_.median(trainings.values())
    return f"{'; '.join(parts)}; a training took {median:.0f} s of a worker, in the median."


def describe_versions(outcomes: list[Outcome]) -> str:
    """Name the versions that computed the outcomes; more than one set is said."""
    sets = Counter(
        tuple((name, item.versions.get(name)) for name in SHOWN if name in item.versions) for item in outcomes
    )
    texts = [", ".join(f"{name} {version}" for name, version in versions) for versions in sets]
    return f"Versions: {' and '.join(texts)}."


if __name__ == "__main__":
    publish()
