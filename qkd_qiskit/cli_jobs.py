"""`jobs`: the ledger of paid jobs, and coming back to them; `doctor`: whether everything is in place."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import click

from qkd_qiskit.cli_shared import shared_options
from qkd_qiskit.exceptions import AccountError, ConfigurationError, InterruptedRunError, LedgerError, QkdError

LEDGER = click.option("--ledger", type=click.Path(path_type=Path), help="Ledger of paid jobs.  [one per user]")
ACCOUNT = click.option("--account", metavar="NAME", help="A saved IBM account.  [environment, or the default one]")


@click.group(invoke_without_command=True)
@LEDGER
@click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON object to stdout.")
@click.pass_context
def jobs(context: click.Context, ledger: Path | None, as_json: bool) -> None:
    """List the paid jobs of the ledger; show, resume, wait for or cancel them."""
    context.obj = ledger
    if context.invoked_subcommand is None:
        _list(ledger, as_json)


def _open(context: click.Context, ledger: Path | None, *, exclusive: bool = True) -> Any:
    """Open a ledger that is there: only paying makes one."""
    from qkd_qiskit.execution.ledger import Ledger, default_ledger

    path = ledger or context.obj or default_ledger()
    if not path.exists():
        raise LedgerError(f"there is no ledger {path}, so no job was submitted with it; name another with --ledger")
    return Ledger(path, exclusive=exclusive)


def _open_if_any(context: click.Context, ledger: Path | None, everything: bool) -> Any:
    """Open a ledger; `None` in its place if all is asked for and there is none yet: then there is nothing to do."""
    from qkd_qiskit.execution.ledger import default_ledger

    path = ledger or context.obj or default_ledger()
    return contextlib.nullcontext() if everything and not path.exists() else _open(context, ledger)


def _list(given: Path | None, as_json: bool) -> None:
    from qkd_qiskit.execution.ledger import Ledger, default_ledger

    path, rows = given or default_ledger(), []
    if path.exists():
        with Ledger(path, exclusive=False) as ledger:
            rows = [(record, ledger.evaluation(record.evaluation) or {}) for record in ledger.records()]
    if not rows and not as_json:
        click.echo(f"no jobs: the ledger {path} is empty" if path.exists() else f"no jobs: there is no ledger {path}")
        return
    if as_json:
        listed = [{**vars(record), "run": row.get("run"), "backend": row.get("backend")} for record, row in rows]
        click.echo(json.dumps({"jobs": listed}))
        return
    from qkd_qiskit.console import describe_seconds, show_table

    table = [
        [
            str(record.number),
            Path(row.get("run", "")).name or "-",
            row.get("backend", "-"),
            record.job_id or "-",
            record.state.lower(),
            describe_seconds(max(0.0, time.time() - record.created)),
            f"{record.estimated:.0f}",
            "-" if record.charged is None else f"{record.charged:.0f}",
        ]
        for record, row in rows
    ]
    show_table(["id", "run", "backend", "job", "state", "age", "QPU s estimated", "charged"], table)


def _find(ledger: Any, name: str) -> list[Any]:
    """Find records by number, job id, or the beginning of an evaluation's name."""
    records = ledger.records()
    found = [r for r in records if name in (str(r.number), r.job_id)] or [
        r for r in records if len(name) >= 4 and r.evaluation.startswith(name)
    ]
    if not found:
        raise ConfigurationError(f"the ledger {ledger.path} has no job {name!r}; `qkd-qiskit jobs` lists them")
    return found


@jobs.command()
@click.argument("name", metavar="ID")
@LEDGER
@shared_options
@click.pass_context
def show(context: click.Context, name: str, ledger: Path | None, quiet: bool, as_json: bool) -> None:
    """Show all that is known about a job: ID is its number, its job id, or an evaluation's."""
    from qkd_qiskit.console import show_facts

    with _open(context, ledger, exclusive=False) as opened:
        found = [(record, opened.events(record)) for record in _find(opened, name)]
        asked = {record.evaluation: opened.evaluation(record.evaluation) or {} for record, _ in found}
    if as_json:
        click.echo(json.dumps({"jobs": [{**vars(record), "events": events} for record, events in found]}))
        return
    for record, events in found:
        show_facts(f"job {record.number}", _describe(record, asked[record.evaluation]))
        for moment, what in events:
            click.echo(f"    {_moment(moment)}  {what}")


def _describe(record: Any, row: dict[str, Any]) -> dict[str, str]:
    """Say what a record is of, in words and with units; what is not known is left out."""
    request = row.get("request", {})
    shots = request.get("shots") or request.get("backend", {}).get("shots")
    charged = "not yet told" if record.charged is None else f"{record.charged:.0f} s charged"
    facts = {
        "run": row.get("run"),
        "backend": row.get("backend"),
        "samples": (request["samples"] or "all") if "samples" in request else None,
        "shots": shots,
        "state": record.state.lower(),
        "job": record.job_id,
        "mode": f"{record.mode} {record.session_id or ''}".strip() if record.mode else None,
        "QPU time": f"about {record.estimated:.1f} s estimated, stopped at {record.reserved:.1f} s, {charged}",
        "reason": record.reason,
        "tag": record.tag,
        "try": record.replica + 1,
        "evaluation": record.evaluation[:12],
        "unit": record.unit[:12],
        "created": _moment(record.created),
        "changed": _moment(record.changed),
    }
    return {name: str(value) for name, value in facts.items() if value is not None}


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


@jobs.command()
@click.argument("name", metavar="[ID]", required=False)
@click.option("--all", "everything", is_flag=True, help="All evaluations that have no result yet.")
@click.option("--retry-failed", is_flag=True, help="Submit units again whose jobs failed or were cancelled; asks.")
@click.option("--yes", is_flag=True, help="Pay for that without being asked.")
@LEDGER
@ACCOUNT
@shared_options
@click.pass_context
def resume(
    context: click.Context, name: str | None, everything: bool, ledger: Path | None, as_json: bool, **options: Any
) -> None:
    """Finish evaluations: adopt their jobs, submit what was confirmed and is missing, wait, fetch, write the result."""
    _resume(context, name, everything, ledger, as_json, **options)


@jobs.command()
@click.argument("name", metavar="[ID]", required=False)
@LEDGER
@ACCOUNT
@shared_options
@click.pass_context
def wait(context: click.Context, name: str | None, ledger: Path | None, as_json: bool, **options: Any) -> None:
    """Wait for the results of one evaluation, or of all, and write them."""
    _resume(context, name, name is None, ledger, as_json, retry_failed=False, yes=False, **options)


def _resume(
    context: click.Context,
    name: str | None,
    everything: bool,
    ledger: Path | None,
    as_json: bool,
    *,
    retry_failed: bool,
    yes: bool,
    account: str | None,
    quiet: bool,
) -> None:
    from qkd_qiskit.cli_evaluate import show_evaluation
    from qkd_qiskit.console import open_listener

    if (name is None) != everything:
        raise ConfigurationError("give an ID or --all; `qkd-qiskit jobs` lists them")
    if yes and not retry_failed:
        raise ConfigurationError("--yes pays for what --retry-failed submits again; give both, or leave it out")
    results: list[dict[str, Any]] = []
    failures: list[QkdError] = []
    with _open_if_any(context, ledger, everything) as opened:
        records = (opened.records() if opened else []) if everything else _find(opened, name or "")
        for evaluation in dict.fromkeys(record.evaluation for record in records):
            if everything and _is_settled(opened, evaluation, retry_failed):
                continue
            listener = open_listener(quiet=quiet or as_json)
            try:
                results += _finish(opened, evaluation, retry_failed, yes, account, listener)
            except (InterruptedRunError, AccountError):  # it is the same for all the others
                raise
            except QkdError as error:
                failures.append(error)
                click.echo(f"evaluation {evaluation[:12]}: {error}", err=True)
    if as_json:
        errors = [{"error": str(error), "exit_code": error.exit_code} for error in failures]
        click.echo(json.dumps({"evaluations": results, "failed": len(failures), "errors": errors}))
    elif not results and not failures:
        click.echo("nothing to resume")
    for result in [] if as_json else results:
        show_evaluation(result, False)
    if failures:
        context.exit(failures[0].exit_code)


def _is_settled(ledger: Any, evaluation: str, retry_failed: bool) -> bool:
    """Whether nothing is open, and it is finished, or you called it off, or its run is gone (old runs may be)."""
    from qkd_qiskit.execution.ledger import BY_USER, OPEN_STATES
    from qkd_qiskit.runs import RunDirectory

    records = ledger.records(evaluation)
    if any(record.state in OPEN_STATES for record in records):
        return False
    request = (ledger.evaluation(evaluation) or {"request": {}})["request"]
    run = RunDirectory(Path(request.get("run", "")))
    if not run.path.is_dir():
        return True
    newest = {record.unit: record for record in records}
    if not retry_failed and any(record.reason == BY_USER for record in newest.values()):
        click.echo(f"evaluation {evaluation[:12]}: you cancelled it; --retry-failed pays for it once more", err=True)
        return True
    name = f"{request.get('backend', {}).get('name')}-{evaluation[:12]}"
    return (run.evaluations / name / "result.json").exists()


def _finish(
    ledger: Any, evaluation: str, retry_failed: bool, yes: bool, account: str | None, listener: Any
) -> list[dict[str, Any]]:
    """Finish one evaluation from what the ledger knows of it."""
    row = ledger.evaluation(evaluation) or {"request": {}}
    request = row["request"]
    if not request:
        raise ConfigurationError("it was made from Python without a run directory; finish it there")
    from qkd_qiskit.cli_evaluate import ask_price
    from qkd_qiskit.config import BackendSettings, validate
    from qkd_qiskit.pipeline.evaluation import evaluate_run
    from qkd_qiskit.pipeline.spending import Spending
    from qkd_qiskit.runs import RunDirectory

    settings = validate(BackendSettings, {**request["backend"], "max_qpu_seconds": int(row["budget"])}, "ledger")
    spending = Spending(ledger=ledger, confirmed=yes, ask=ask_price, retry_failed=retry_failed, account=account)
    run = RunDirectory(Path(request["run"]))
    return [
        evaluate_run(
            run, settings, samples=request["samples"], shots=request["shots"], listener=listener, spending=spending
        )
    ]


@jobs.command()
@click.argument("name", metavar="ID")
@LEDGER
@ACCOUNT
@shared_options
@click.pass_context
def cancel(
    context: click.Context, name: str, ledger: Path | None, account: str | None, quiet: bool, as_json: bool
) -> None:
    """Cancel a job that has not run, or all jobs of an evaluation."""
    with _open(context, ledger) as opened:
        open_ones = [r for r in _find(opened, name) if r.state in ("INTENT", "SUBMITTED")]
        from qkd_qiskit.execution.cancelling import cancel_records

        outcome = cancel_records(opened, open_ones, account, lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps({"cancelled": outcome}))
    else:
        click.echo(f"{len(outcome)} job(s) cancelled")


@click.command()
@LEDGER
@ACCOUNT
@click.option("--timeout", type=click.FloatRange(0.1), metavar="SECONDS", help="How long the account may take.  [4]")
@shared_options
@click.pass_context
def doctor(
    context: click.Context, ledger: Path | None, account: str | None, timeout: float | None, quiet: bool, as_json: bool
) -> None:
    """Check versions, disk, ledger and account: plan, devices, time left. Works without an account, in seconds."""
    from qkd_qiskit.execution.doctor import ACCOUNT_SECONDS, examine

    findings, code = examine(ledger, account, timeout or ACCOUNT_SECONDS)
    if as_json:
        click.echo(json.dumps(findings))
    else:
        from qkd_qiskit.console import show_facts

        show_facts("qkd-qiskit doctor", findings)
    context.exit(code)
