"""How long a study took: an entry in `sittings.json` for each phase of each call that worked on it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qkd_qiskit.files import read_json, write_json

NAME = "sittings.json"


class Sitting:
    """One call of `run_study` that had something to do.

    Args:
        folder: of the study.
        where: what did the work, in words.
        workers: processes side by side.
    """

    def __init__(self, folder: Path, *, where: str, workers: int) -> None:
        self._folder, self._where, self._workers = folder, where, workers

    @contextlib.contextmanager
    def measure(self, what: str, pieces: int) -> Iterator[None]:
        """Time a phase. Its entry is there from the start: after a kill it stays `killed`, without seconds.

        Args:
            what: `teachers` or `cells`.
            pieces: that are to be done; nothing is written for none.
        """
        if not pieces:
            yield
            return
        facts = {"what": what, "pieces": pieces, "where": self._where, "workers": min(self._workers, pieces)}
        entry = {"began": datetime.now(UTC).isoformat(timespec="seconds"), **facts, "cores": os.cpu_count()}
        before, clock, ended = read_sittings(self._folder), time.perf_counter(), "interrupted"
        write_json(self._folder / NAME, [*before, {**entry, "ended": "killed"}])
        try:
            yield
            ended = "finished"
        finally:
            done = {**entry, "ended": ended, "seconds": time.perf_counter() - clock}
            write_json(self._folder / NAME, [*before, done])


def read_sittings(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of all sittings of a study, the oldest first."""
    path = Path(folder) / NAME
    return read_json(path) if path.exists() else []
