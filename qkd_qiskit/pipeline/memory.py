"""What a process that does many runs keeps between them: images, teachers, compiled circuits.

Nothing is kept unless somebody asks for it with `keep_between_runs`; then the newest few of each kind are.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import TypeVar

Value = TypeVar("Value")

MOST = {"data": 2, "teacher": 2, "circuit": 64}
"""How many of a kind are kept: a data set takes up to 0.4 GB, a teacher as much."""

_kept: dict[str, OrderedDict[Hashable, object]] = {}
_keeping = False


@contextlib.contextmanager
def keep_between_runs() -> Iterator[None]:
    """Keep what is loaded inside the block, for later blocks of this process as well."""
    global _keeping
    before, _keeping = _keeping, True
    try:
        yield
    finally:
        _keeping = before


def forget() -> None:
    """Give back what is kept."""
    _kept.clear()


def remember(kind: str, key: Hashable, make: Callable[[], Value]) -> Value:
    """Return what was made for this key before, or make it.

    Args:
        kind: one of `MOST`.
        key: everything that the value depends on.
        make: makes it.
    """
    if not _keeping:
        return make()
    shelf = _kept.setdefault(kind, OrderedDict())
    if key not in shelf:
        shelf[key] = make()
    shelf.move_to_end(key)
    while len(shelf) > MOST[kind]:
        shelf.popitem(last=False)
    return shelf[key]  # type: ignore[return-value]
