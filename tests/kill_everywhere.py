"""Kill an evaluation after its n-th ledger, HTTP or file call, for n = 1, 2, ... until it gets through; then resume it.

`python -m tests.kill_everywhere RUN FOLDER EVERY` prints a line of JSON for each n. It forks: what is expensive is
imported once, and nothing that starts threads has run before the fork.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests.adapters

import qkd_qiskit.execution.connection
import qkd_qiskit.execution.ledger
import qkd_qiskit.execution.runtime
import qkd_qiskit.pipeline.evaluation  # noqa: F401  all that is slow to import
from qkd_qiskit.cli import main
from qkd_qiskit.execution.waiting import Clock

NOTHING_LEFT = 99


class Countdown:
    """Kills this process after its n-th call."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def after(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            answer = function(*args, **options)
            self.tick()
            return answer

        return counted


def arm(calls: int) -> None:
    """Count every statement of the ledger, every request sent, every flush and rename of a file."""
    countdown = Countdown(calls)

    class Counted(sqlite3.Connection):
        def execute(self, *args: Any) -> Any:
            answer = super().execute(*args)
            countdown.tick()
            return answer

    connect = sqlite3.connect
    sqlite3.connect = lambda *args, **options: connect(*args, factory=Counted, **options)  # type: ignore[assignment]
    requests.adapters.HTTPAdapter.send = countdown.after(requests.adapters.HTTPAdapter.send)  # type: ignore[method-assign]
    os.replace, os.fsync = countdown.after(os.replace), countdown.after(os.fsync)


def in_child(arguments: list[str], output: Path, calls: int | None) -> int:
    """Run the command line in a fork; return its exit code, negative if killed."""
    child = os.fork()
    if child == 0:
        sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(sink, 1), os.dup2(sink, 2)
        warnings.simplefilter("ignore")
        Clock.sleep = lambda self, seconds: time.sleep(0.01)  # type: ignore[method-assign]
        if calls:
            arm(calls)
        try:
            main(arguments)
        except SystemExit as stop:
            os._exit(int(stop.code or 0))
        finally:
            sys.stderr.flush()
            os._exit(NOTHING_LEFT)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_and_resume(run: str, folder: Path, calls: int) -> dict[str, Any]:
    """Kill one evaluation after so many calls and finish it."""
    ledger, output = str(folder / f"{calls}.sqlite"), folder / f"{calls}.log"
    what = [run, "--backend", "ibm_manila", "--samples", "4", "--shots", str(100 + calls), "--ledger", ledger]
    what += ["--set", "settle_seconds=0", "--set", f"executions_per_job={3 * (100 + calls)}", "--mode", "batch"]
    killed = in_child(["evaluate", *what, "--yes", "--json"], output, calls)
    again = in_child(["jobs", "resume", "--all", "--json", "--ledger", ledger], output, None)
    finished = in_child(["evaluate", *what, "--yes", "--json"], output, None)
    states = sqlite3.connect(ledger).execute("SELECT state, tag FROM records ORDER BY number").fetchall()
    return {"calls": calls, "killed": killed, "resumed": again, "finished": finished, "records": states}


if __name__ == "__main__":
    run, folder, first, every = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    calls, story = first, {"killed": -signal.SIGKILL}
    while story["killed"] == -signal.SIGKILL:
        story = kill_and_resume(run, folder, calls)
        print(json.dumps(story), flush=True)
        calls += every
