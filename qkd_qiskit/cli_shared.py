"""What the commands share: the options that all have, and small words."""

from __future__ import annotations

from collections.abc import Callable

import click


def shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that every command which works has."""
    for option in (
        click.option("--quiet", is_flag=True, help="Show no progress."),
        click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON object to stdout."),
    ):
        command = option(command)
    return command


def percent(share: float, counts: list[int]) -> str:
    """Write a share with its counts."""
    return f"{share:.2%} ({counts[0]} of {counts[1]})"
