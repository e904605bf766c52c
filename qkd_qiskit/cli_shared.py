"""What the commands share: the options that all have, and small words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from qkd_qiskit.listening import Listener


def note_json(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    """Let the outermost group know, so that an error is one JSON object as well."""
    if value:
        ctx.find_root().obj = "json"
    return value


def shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that every command which works has."""
    for option in (
        click.option("--quiet", is_flag=True, help="Show no progress."),
        click.option(
            "--json", "as_json", is_flag=True, callback=note_json, help="Print exactly one JSON object to stdout."
        ),
    ):
        command = option(command)
    return command


def track_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add the option that exports a training's metrics while it runs."""
    return click.option(
        "--track",
        "tracker",
        type=click.Choice(["tensorboard", "mlflow"]),
        help="Also send each epoch there; metrics.jsonl stays the truth.",
    )(command)


def open_followers(quiet: bool, tracker: str | None) -> Listener:
    """Open who follows a training: the terminal, and a tracker if one is asked for; both close with the command."""
    from qkd_qiskit.console import open_listener

    listener = open_listener(quiet=quiet)
    if tracker:
        from qkd_qiskit.tracking import track

        listener = track(listener, tracker)
    click.get_current_context().call_on_close(listener.close)
    return listener


def percent(share: float, counts: list[int]) -> str:
    """Write a share with its counts."""
    return f"{share:.2%} ({counts[0]} of {counts[1]})"


def show_training(result: dict[str, Any], as_json: bool, *, is_last: bool = True) -> None:
    """Print what came of a training and, if nothing follows by itself, what to type next."""
    if as_json:
        click.echo(json.dumps(result))
        return
    from qkd_qiskit.config.job import DEAD_BELOW
    from qkd_qiskit.console import describe_seconds, show_facts

    teacher = result["teacher_test_accuracy"]
    show_facts(
        f"trained {result['run']}",
        {
            "test accuracy": percent(result["test_accuracy"], result["test_counts"]),
            "validation accuracy": percent(result["validation_accuracy"], result["validation_counts"]),
            "teacher": "none" if teacher is None else percent(teacher, result["teacher_test_counts"]),
            "epochs": f"{result['epochs']}, best {result['best_epoch']}",
            "time": f"{describe_seconds(result['seconds'])} in all, epochs at {result['samples_per_second']:.0f}/s",
        },
    )
    if result["test_accuracy"] < DEAD_BELOW / len(result["classes"]):
        click.echo(
            f"warning: test accuracy below {DEAD_BELOW} times chance ({1 / len(result['classes']):.1%}): this student "
            "has learnt little. Try another --seed; docs/results/README.md has what cures such seeds",
            err=True,
        )
    if is_last and result.get("isa"):  # a classical control has no circuit that a backend could run
        click.echo(f"next: qkd-qiskit evaluate {result['run']} --backend fake_brisbane")
