"""Choosing by name, with an error that lists what there is and names the nearest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from qkd_qiskit.exceptions import ConfigurationError

Value = TypeVar("Value")


def choose(kind: str, name: str, choices: Mapping[str, Value]) -> Value:
    """Look a name up.

    Args:
        kind: what is being chosen, for the message ("encoding").
        name: what the user typed.
        choices: everything there is.

    Raises:
        ConfigurationError: there is no such name; the message lists the choices and names the nearest one.
    """
    if name not in choices:
        raise ConfigurationError(f"unknown {kind} {name!r}{nearest(name, choices)}; there are: {_list(choices)}")
    return choices[name]


def _list(choices: Iterable[str], most: int = 16) -> str:
    names = list(choices)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return `" (did you mean 'x'?)"` for the most similar choice, or an empty string."""
    found = difflib.get_close_matches(str(name), list(choices), n=1, cutoff=0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""
