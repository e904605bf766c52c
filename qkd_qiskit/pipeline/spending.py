"""What an evaluation on hardware may cost, and what came of its jobs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qkd_qiskit.execution.compilation import CompiledCircuit
from qkd_qiskit.execution.cost import Price
from qkd_qiskit.execution.devices import Place
from qkd_qiskit.execution.ledger import Ledger, Record
from qkd_qiskit.execution.submission import Unit
from qkd_qiskit.execution.waiting import Clock
from qkd_qiskit.pipeline.sentinels import Drift


@dataclass(frozen=True)
class Spending:
    """What may be paid, and how.

    Attributes:
        confirmed: whether the price is accepted unseen, up to the backend's `max_qpu_seconds`.
        ask: shows the price and asks; without it, only what is `confirmed` is paid.
        dry_run: stop after the price.
        wait: wait for the results; else return after submission.
        retry_failed: submit units again whose jobs failed.
        account: name of a saved account; the default one if `None`.
        ledger: an open ledger; the user's own if `None`.
        clock: tells the time and sleeps.
    """

    confirmed: bool = False
    ask: Callable[[Price], bool] | None = None
    dry_run: bool = False
    wait: bool = True
    retry_failed: bool = False
    account: str | None = None
    ledger: Ledger | None = None
    clock: Clock = field(default_factory=Clock)


@dataclass(frozen=True)
class Pending:
    """An evaluation that has no result yet.

    Attributes:
        state: `planned` (nothing was submitted) or `submitted`.
        price: what it costs.
        job_ids: of the jobs, in the order of the samples.
        refusal: why it would not be submitted; empty if it would.
    """

    state: str
    price: Price
    job_ids: tuple[str, ...] = ()
    refusal: str = ""


@dataclass(frozen=True)
class Collected:
    """What came of an evaluation's jobs.

    Attributes:
        place: the device.
        compiled: the circuit that ran.
        price: what was expected.
        units: in the order of the samples.
        records: of each unit; `None` if it was never submitted.
        tables: values and errors of each unit, `(rows, O)`; `None` if it has none.
        calibration: of the qubits in use, before and after.
        trouble: why not everything was submitted; empty if it was.
        drift: what the sentinels showed; `None` without them.
        extra: QPU seconds charged for jobs that nobody asked for.
    """

    place: Place
    compiled: CompiledCircuit
    price: Price
    units: tuple[Unit, ...]
    records: tuple[Record | None, ...]
    tables: tuple[tuple[np.ndarray, np.ndarray] | None, ...]
    calibration: dict[str, Any]
    trouble: str = ""
    drift: Drift | None = None
    extra: float = 0.0

    @property
    def samples(self) -> tuple[np.ndarray, np.ndarray]:
        """Values and errors of the samples, `(N, O)`, sentinels left out; of those that have a result."""
        tables = [table for table in self.tables if table is not None]
        values, errors = (np.concatenate(column)[: self.price.samples] for column in zip(*tables))
        return values, errors

    @property
    def charged(self) -> float | None:
        """QPU seconds charged, extra jobs included; `None` if the service did not say."""
        known = [record.charged for record in self.records if record is not None and record.charged is not None]
        return sum(known) + self.extra if known else None

    @property
    def missing(self) -> list[str]:
        """One line for each unit whose samples have no result; sentinels alone are not worth another job."""
        lines = []
        for unit, record, table in zip(self.units, self.records, self.tables):
            if table is None and unit.start < self.price.samples:
                why = (record.reason if record else self.trouble) or "no reason given"
                job = f"job {record.job_id}, {record.state.lower()}" if record and record.job_id else "not submitted"
                last = min(unit.stop, self.price.samples) - 1
                lines.append(f"samples {unit.start} to {last}: {job}: {why}")
        return lines

    @property
    def advice(self) -> str:
        """What to type to have what is missing; for jobs that were stopped, with a cap that lets them end."""
        pairs = [(unit, record) for unit, record in zip(self.units, self.records) if record is not None]
        stopped = [(unit, record) for unit, record in pairs if unit.most_after(record) > unit.most]
        if not stopped:
            return "submit failed jobs again with --retry-failed"
        spent = sum(record.committed for _, record in pairs) + self.extra
        cap = max(math.ceil(spent + sum(unit.most_after(record) for unit, record in stopped)), int(self.price.budget))
        return (
            f"{len(stopped)} job(s) were stopped at the {stopped[0][1].reserved:.0f} s that they were allowed: submit "
            f"them again, with twice the time, by --retry-failed --max-qpu-seconds {cap}"
        )
