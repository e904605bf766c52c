"""`evaluate` and `estimate`: where a student is measured, and what that costs first."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from qkd_qiskit.cli_shared import percent, shared_options


def _where_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what is evaluated where."""
    for option in reversed(
        (
            click.argument("run", required=False),
            click.option("--backend", required=True, help="Where to evaluate: see `qkd-qiskit backends`."),
            click.option("--samples", type=int, help="Test images, in equal parts from the classes.  [all]"),
            click.option("--shots", type=int, help="Measurements a sample.  [the backend's own]"),
            click.option(
                "--max-qpu-seconds",
                type=click.IntRange(1, 10_800),
                help="QPU seconds that it may cost.  [the backend's own]",
            ),
            click.option("--account", metavar="NAME", help="A saved IBM account.  [environment, or the default one]"),
            click.option("--ledger", type=click.Path(path_type=Path), help="Ledger of paid jobs.  [one per user]"),
            click.option(
                "--resilience", type=click.IntRange(0, 2), help="Error mitigation, 0 to 2.  [the backend's own]"
            ),
            click.option("--dd", type=click.Choice(["XX", "XpXm", "XY4"]), help="Dynamical decoupling.  [none]"),
            click.option("--twirl", is_flag=True, help="Twirl gates and measurements."),
            click.option("--zne", is_flag=True, help="Zero-noise extrapolation, three noise levels."),
            click.option(
                "--pea", is_flag=True, help="The same, amplifying learnt noise: first learns it, which is dear."
            ),
            click.option("--pec", is_flag=True, help="Probabilistic error cancellation: learns noise, dearer still."),
            click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="A backend setting."),
        )
    ):
        command = option(command)
    return command


@click.command()
@_where_options
@click.option("--mode", type=click.Choice(["auto", "session", "batch", "job"]), help="How a device is used.  [auto]")
@click.option("--recalibrate", type=int, help="Measure so many training images first, fit the head anew.  [0]")
@click.option("--yes", is_flag=True, help="Pay without being asked, up to --max-qpu-seconds.")
@click.option("--dry-run", is_flag=True, help="Say the price and submit nothing.")
@click.option("--no-wait", is_flag=True, help="Return after submission; `jobs resume` fetches the results.")
@click.option("--retry-failed", is_flag=True, help="Submit units again whose jobs failed.")
@shared_options
def evaluate(
    yes: bool,
    dry_run: bool,
    no_wait: bool,
    retry_failed: bool,
    mode: str | None,
    recalibrate: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Evaluate a trained student (RUN, or the latest) on a simulator, a fake device or an IBM device.

    An IBM device says its price first and asks; what was submitted is in the ledger, so Ctrl-C, a dropped connection
    or a closed laptop costs nothing: run the same command again, or `qkd-qiskit jobs resume --all`.
    """
    spending = {"confirmed": yes, "dry_run": dry_run, "wait": not no_wait, "retry_failed": retry_failed}
    asked = {"mode": mode, "recalibrate": recalibrate}
    changes = {name: value for name, value in asked.items() if value is not None}
    show_evaluation(_evaluate(options, changes, spending, as_json), as_json)


@click.command()
@_where_options
@shared_options
def estimate(as_json: bool, **options: Any) -> None:
    """Say what an evaluation on an IBM device would cost; nothing is submitted."""
    show_evaluation(_evaluate(options, {}, {"dry_run": True}, as_json), as_json)


def _evaluate(
    options: dict[str, Any], changes: dict[str, Any], spending: dict[str, Any], as_json: bool
) -> dict[str, Any]:
    from qkd_qiskit.config import merge, parse_assignments
    from qkd_qiskit.console import open_listener
    from qkd_qiskit.exceptions import ConfigurationError
    from qkd_qiskit.execution.profiles import resolve_backend
    from qkd_qiskit.runs import find_run

    given = parse_assignments(options["assignments"])
    nested = given.pop("backend", {})  # `backend.noise_scale=2` means the same as in `train`
    if not isinstance(nested, dict):
        raise click.UsageError(
            f"--set backend={nested}: name the backend with --backend, change it with --set key=value"
        )
    given = {**given, **nested, **changes}
    given = merge(given, _mitigation(options))
    settings = resolve_backend(options["backend"], given)
    if spending.get("dry_run") and settings.kind != "ibm":
        raise ConfigurationError(
            f"{settings.name} is a simulator and has no price; give an ibm_* device, or evaluate --backend "
            f"{settings.name} without --dry-run"
        )
    found = find_run(options["run"])
    with open_purse(settings.kind == "ibm", options["ledger"]) as ledger:  # before anything heavy: refuses at once
        from qkd_qiskit.pipeline.evaluation import evaluate_run
        from qkd_qiskit.pipeline.spending import Spending

        purse = Spending(**spending, account=options["account"], ledger=ledger, ask=ask_price)
        listener = open_listener(quiet=options["quiet"] or as_json)
        click.get_current_context().call_on_close(listener.close)
        return evaluate_run(
            found, settings, samples=options["samples"], shots=options["shots"], listener=listener, spending=purse
        )


def _mitigation(options: dict[str, Any]) -> dict[str, Any]:
    """Turn the flags that were given into settings."""
    detailed: dict[str, Any] = {"dynamical_decoupling": options["dd"]} if options["dd"] else {}
    detailed |= {"gate_twirling": True, "measure_twirling": True} if options["twirl"] else {}
    detailed |= {"zne": True} if options["zne"] or options["pea"] else {}
    detailed |= {"zne_amplifier": "pea"} if options["pea"] else {}
    detailed |= {"pec": True} if options["pec"] else {}
    named = {"max_qpu_seconds": options["max_qpu_seconds"], "resilience_level": options["resilience"]}
    given = {name: value for name, value in named.items() if value is not None}
    return {**given, **({"mitigation": detailed} if detailed else {})}


def open_purse(paying: bool, path: Path | None) -> Any:
    """Open the ledger if anything may be paid; a context manager."""
    import contextlib

    if not paying:
        return contextlib.nullcontext()
    from qkd_qiskit.execution.ledger import Ledger, default_ledger

    return Ledger(path or default_ledger())


def ask_price(price: Any) -> bool:
    """Show a price and ask, where there is somebody to ask."""
    import sys

    if not sys.stdin.isatty():
        return False
    for line in price.lines():
        click.echo(line, err=True)
    return click.confirm("submit?", default=False, err=True)


def _show_pending(result: dict[str, Any]) -> None:
    from qkd_qiskit.console import show_facts

    price = result["price"]
    left = "" if price["remaining"] is None else f"; the account has {price['remaining']:.0f} s left"
    facts = {
        "executions": f"{price['executions']:,} for {price['samples']} samples x {price['shots']:,} shots",
        "against QNN": f"{price['saving']:.0f} times fewer than EstimatorQNN.forward",
        "QPU seconds": f"{'at most about' if price['bounded'] else 'at least'} {price['seconds']:.0f}, stopped at "
        f"{math.ceil(price['reserve'])}, {price['budget']:.0f} allowed{left}",
        "jobs": ", ".join(result["job_ids"]) or f"{price['jobs']}, none submitted",
    }
    if result["would_be_refused"]:
        facts["would be refused"] = result["would_be_refused"].replace("\n", "; ")
    show_facts(f"{result['run']}: {result['state']}", facts)
    if result["state"] == "submitted":
        click.echo("fetch the results with `qkd-qiskit jobs resume --all`")


def _tell_work(result: dict[str, Any]) -> str:
    """Say what the executions are made of."""
    if not result["shots"]:
        return " (exact)"
    samples, shots = result["samples"], result["shots"]
    more = result["circuit_executions"] - samples * shots
    rest = f", and {more:,} for sentinels, mitigation or a new head" if more else ""
    return f" ({samples} samples x {shots} shots{rest})"


def show_evaluation(result: dict[str, Any], as_json: bool) -> None:
    """Print an evaluation's result, or where it stands if it has none yet."""
    if as_json:
        click.echo(json.dumps(result))
        return
    from qkd_qiskit.console import show_facts

    if "state" in result:
        _show_pending(result)
        return
    low, high = result["accuracy_interval"]
    counts, isa = result["counts"], result["isa"]
    total = counts["samples"]
    facts = {
        "accuracy": percent(result["accuracy"], [counts["correct"], total])
        + f", 95 % interval {low:.2%} to {high:.2%}",
        "noiseless": percent(result["noiseless_accuracy"], [counts["noiseless_correct"], total]) + ", the same samples",
        "agreement": f"{percent(result['agreement'], [counts['agreeing'], total])} classified alike",
        "circuit": f"depth {isa['depth']}, {isa['two_qubit_gates']} two-qubit gates, qubits {isa['measured_qubits']}",
        "work": f"{result['pubs']} PUB, {result['circuit_executions']:,} circuit executions" + _tell_work(result),
    }
    if result["qpu_seconds_estimated"] is not None:
        facts["QPU seconds"] = f"about {result['qpu_seconds_estimated']:.0f} on hardware" + (
            "" if result["qpu_seconds_charged"] is None else f", {result['qpu_seconds_charged']:.0f} charged"
        )
    if "recalibrated" in result:
        facts["head"] = f"fitted anew to {result['recalibrated']['images']} training images measured there"
    if result["job_ids"]:
        facts["jobs"] = ", ".join(result["job_ids"])
    if result.get("sentinels"):
        facts["sentinels"] = result["sentinels"]["line"]
    if result.get("calibration_drifted"):
        facts["calibration"] = "changed while the evaluation ran; both snapshots are in calibration.json"
    show_facts(f"{result['run']} on {result['backend']}", facts)
    click.echo(f"kept in {result['folder']}")
