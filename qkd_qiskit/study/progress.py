"""How far a study is: rate and time left over all its cells."""

from __future__ import annotations

import time

from qkd_qiskit.console import describe_seconds
from qkd_qiskit.listening import Listener
from qkd_qiskit.study.working import Done


class Progress:
    """Counts finished work and tells a listener.

    Args:
        what: is done, in the plural.
        total: pieces.
        workers: that do it side by side.
        listener: is told.
    """

    def __init__(self, what: str, total: int, workers: int, listener: Listener) -> None:
        self._what = f"{what} ({workers} worker{'s' if workers > 1 else ''})"
        self._total = total
        self._listener = listener
        self._done = 0
        self._began = time.monotonic()
        listener.progress(self._what, 0, total)

    def add(self, done: Done) -> None:
        """Count a piece of work, tell rate and time left."""
        self._done += 1
        elapsed = time.monotonic() - self._began
        left = elapsed / self._done * (self._total - self._done)
        detail = f"{60 * self._done / max(elapsed, 1e-9):.1f} a minute, {describe_seconds(left)} left"
        self._listener.progress(self._what, self._done, self._total, detail)
