"""How long a study took: a line in `sittings.jsonl` for each phase of each call that worked on it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qkd_qiskit.files import append_json_line

NAME = "sittings.jsonl"


class Sitting:
    """One call of `run_study` that had something to do.

    Args:
        folder: of the study.
        where: what did the work, in words.
        workers: processes side by side.
    """

    def __init__(self, folder: Path, *, where: str, workers: int) -> None:
        self._path = folder / NAME
        self._facts = {"where": where, "workers": workers, "cores": os.cpu_count()}

    @contextlib.contextmanager
    def measure(self, what: str, pieces: int) -> Iterator[None]:
        """Time a phase and write it down, however it ends.

        Args:
            what: `teachers` or `cells`.
            pieces: that are to be done; nothing is written for none.
        """
        began, clock, ended = datetime.now(UTC), time.perf_counter(), "interrupted"
        try:
            yield
            ended = "done"
        finally:
            if pieces:
                facts = {"what": what, "pieces": pieces, "seconds": time.perf_counter() - clock, "ended": ended}
                append_json_line(self._path, {"began": began.isoformat(timespec="seconds"), **facts, **self._facts})


def read_sittings(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of all sittings of a study, the oldest first; a line that was cut off by a kill is left out."""
    path = Path(folder) / NAME
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found
