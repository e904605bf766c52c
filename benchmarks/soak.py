"""A thousand paid jobs through the real client with every fault at 5 %: `python benchmarks/soak.py [UNITS] [SEED ...]`.

For each seed (0 to 9 unless given): how many jobs were planned, how many the server created, how many runs of the
command it took, and how long. All pauses are skipped. It exits with 1 unless created equals planned for every seed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from urllib3.util.retry import Retry

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from qkd_qiskit import load_placed, read_settings, resolve_backend, train_run
from qkd_qiskit.exceptions import QkdError
from qkd_qiskit.execution.ledger import Ledger
from qkd_qiskit.execution.waiting import Clock
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.hardware import HardwareEvaluation
from qkd_qiskit.pipeline.spending import Collected, Spending
from qkd_qiskit.runs import RunDirectory
from tests.runtime_server import RuntimeServer

PROBABILITY, SHOTS, MOST_RUNS = 0.05, 4, 20


class FastClock(Clock):
    """Sleeping moves the time and takes none."""

    ahead = 0.0

    def now(self) -> float:
        """Return real time and what was slept."""
        return time.monotonic() + self.ahead

    def sleep(self, seconds: float) -> None:
        """Move the time."""
        self.ahead += seconds


def train_student(folder: Path) -> RunDirectory:
    content = {
        "data": {"classes": "0-1", "train_per_class": 10, "validation_per_class": 5},
        "teacher": {"name": "none"},
        "student": {"qubits": 2},
        "training": {"epochs": 1},
        "backend": {"name": "aer_noisy", "noise": "fake_manila"},
    }
    train_run(read_settings(content), folder, listener=Listener())
    return RunDirectory(folder)


def soak(run: RunDirectory, folder: Path, units: int, seed: int) -> dict[str, Any]:
    """Evaluate in as many jobs as `units` under faults, starting anew whenever a run gives up."""
    changes = {
        "executions_per_job": SHOTS,
        "max_qpu_seconds": 10_800,
        "settle_seconds": 5,
        "mode": "batch",
        "sentinels": 0,
    }
    settings = resolve_backend("ibm_manila", {**changes, "shots": SHOTS})
    placed, _ = load_placed(run)
    columns = len(placed.logical.parameters)
    values = np.random.default_rng(seed).uniform(-1, 1, (units, columns))
    began, runs, outcome = time.monotonic(), 0, None
    with RuntimeServer(["ibm_manila"], sampling="zeros", seed=seed) as server:
        os.environ.update(server.environment())
        server.service.usage_limit_seconds = 1e9
        server.faults.randomly(PROBABILITY, seed=seed)
        while not isinstance(outcome, Collected) and runs < MOST_RUNS:
            runs += 1
            with contextlib.suppress(QkdError), Ledger(folder / f"{seed}.sqlite") as ledger:
                spending = Spending(confirmed=True, ledger=ledger, clock=FastClock())
                outcome = HardwareEvaluation(
                    f"soak-{seed}", settings, placed, values, None, {}, spending, Listener()
                ).run()
        with Ledger(folder / f"{seed}.sqlite") as ledger:
            records = ledger.records()
        return {
            "seed": seed,
            "planned": units,
            "created": server.jobs_created,
            "each tag once": set(server.created_by_tag.values()) == {1},
            "units with one job": len({record.unit for record in records if record.job_id}),
            "done": sum(record.state == "DONE" for record in records),
            "failed at the service": sum(record.state == "FAILED" for record in records),
            "faults": server.faults.struck.total(),
            "runs": runs,
            "seconds": round(time.monotonic() - began, 1),
        }


def main(units: int, seeds: list[int]) -> int:
    """Soak with every seed; return the exit code."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    Retry.sleep = lambda self, response=None: None  # type: ignore[method-assign]
    good = 0
    with tempfile.TemporaryDirectory() as scratch:
        run = train_student(Path(scratch) / "run")
        for seed in seeds:
            facts = soak(run, Path(scratch), units, seed)
            good += facts["created"] == facts["planned"] == facts["units with one job"] and facts["each tag once"]
            print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    print(f"{good} of {len(seeds)} seeds: every planned job created once")
    return int(good != len(seeds))


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(numbers[0] if numbers else 1000, numbers[1:] or list(range(10))))
