"""`run`: a job file, be it a single run or a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from qkd_qiskit.cli_evaluate import ask_price, open_purse, show_evaluation
from qkd_qiskit.cli_shared import open_followers, shared_options, show_training, track_option


@click.command("run")
@click.argument("jobfile")
@click.option("--yes", is_flag=True, help="Pay for [[evaluate]] on IBM devices without being asked.")
@click.option("--out", type=click.Path(path_type=Path), help="Its directory.  [runs/<name of the job file>]")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting of its [train] table.")
@click.option("--dry-run", is_flag=True, help="Study: list cells and what is done already; run nothing.")
@click.option("--only", multiple=True, metavar="AXIS=LABEL", help="Study: run only these now; may be repeated.")
@click.option("--seeds", metavar="0-3", help="Study: run only these seeds now.")
@click.option("--workers", type=int, help="Study: processes on this machine; no number depends on it.  [the cores]")
@click.option("--cluster", metavar="ADDRESS", help="Study: tcp://host:port of a dask scheduler, or local:4.")
@track_option
@shared_options
def run_command(
    jobfile: str,
    yes: bool,
    out: Path | None,
    assignments: tuple[str, ...],
    tracker: str | None,
    quiet: bool,
    as_json: bool,
    **study: Any,
) -> None:
    """Run JOBFILE (a path, or a name from jobs/): train, evaluate, report. Run it again to go on after a stop.

    A file with [study] or [[axes]] is a study: every cell for every seed, in parallel, then tables.
    """
    from qkd_qiskit.pipeline.jobs import read_job

    is_study = read_job(jobfile)[0].is_study
    if is_study and tracker:
        raise click.UsageError(f"{jobfile} is a study: its trainings run side by side; --track follows a single run")
    listener = open_followers(quiet or as_json, tracker)
    if is_study:
        _run_study(jobfile, out, assignments, yes, listener, as_json, study)
        return
    given = [f"--{name.replace('_', '-')}" for name, value in study.items() if value]
    if given:
        raise click.UsageError(f"{jobfile} is a single run, not a study; leave out {', '.join(given)}")
    from qkd_qiskit.pipeline.jobs import run_job

    result = run_job(jobfile, out, assignments=assignments, listener=listener, confirmed=yes)
    if as_json:
        click.echo(json.dumps(result))
        return
    show_training(result["training"], False, is_last=not result["evaluations"])
    for evaluation in result["evaluations"]:
        show_evaluation(evaluation, False)
    if result["report"]:
        click.echo(f"report: {result['report']}")


def _run_study(
    jobfile: str,
    out: Path | None,
    assignments: tuple[str, ...],
    confirmed: bool,
    listener: Any,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    from qkd_qiskit.study.running import list_study, read_study, run_study

    chosen = {"assignments": assignments, "only": options["only"], "seeds": options["seeds"]}
    study = read_study(jobfile, out, **chosen)
    if options["dry_run"]:
        _show_plan(str(study.folder), list_study(study), as_json)
        return
    paying = any(unit.backend.kind == "ibm" for cell in study.chosen for unit in cell.evaluations)
    if options["workers"] and options["cluster"]:
        raise click.UsageError("--workers is for this machine, --cluster for another; give one of them")
    with open_purse(paying, None) as ledger:
        from qkd_qiskit.pipeline.spending import Spending

        purse = Spending(confirmed=confirmed, ledger=ledger, ask=ask_price)
        places = {"workers": options["workers"], "cluster": options["cluster"]}
        result = run_study(jobfile, out, **chosen, **places, listener=listener, spending=purse)
    if as_json:
        click.echo(json.dumps(result))
        return
    from qkd_qiskit.console import describe_seconds

    click.echo((study.folder / "table.md").read_text(encoding="utf-8"))
    click.echo(
        f"{result['units_done']} of {result['units']} evaluations of {result['cells']} cells, "
        f"{describe_seconds(result['seconds'])}; kept in {result['study']}"
    )
    if result["report"]:
        click.echo(f"report: {result['report']}")


def _show_plan(folder: str, cells: list[dict[str, Any]], as_json: bool) -> None:
    """Print what would be run."""
    units, done = sum(cell["units"] for cell in cells), sum(cell["units_done"] for cell in cells)
    trained = sum(cell["training"] == "done" for cell in cells)
    summary = {"study": folder, "cells": len(cells), "cells_trained": trained, "units": units, "units_done": done}
    if as_json:
        click.echo(json.dumps({**summary, "plan": cells}))
        return
    from qkd_qiskit.console import show_table

    names = list(dict.fromkeys(name for cell in cells for name in cell["labels"]))
    rows = [
        [
            *(str(cell["labels"].get(name, "")) for name in names),
            str(cell["seed"]),
            cell["key"][:8],
            cell["training"],
            f"{cell['units_done']} of {cell['units']}",
        ]
        for cell in cells
    ]
    show_table([*names, "seed", "cell", "training", "evaluations done"], rows)
    click.echo(f"\n{len(cells)} cells, {trained} trained; {units} evaluations, {done} done; in {folder}")
