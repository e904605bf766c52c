"""What the commands share: the options that all have, and small words."""

from __future__ import annotations

from collections.abc import Callable

import click


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


def percent(share: float, counts: list[int]) -> str:
    """Write a share with its counts."""
    return f"{share:.2%} ({counts[0]} of {counts[1]})"
