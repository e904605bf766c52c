"""Collecting paid results: wait, fetch, check, store; what is stored once is never asked for again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qkd_qiskit.config import BackendSettings
from qkd_qiskit.exceptions import BackendError
from qkd_qiskit.execution.connection import Connection
from qkd_qiskit.execution.extras import ExtraJobs
from qkd_qiskit.execution.faults import Refusal, ServiceFault
from qkd_qiskit.execution.ledger import CANCELLED, DONE, FAILED, SUBMITTED, Ledger, Record
from qkd_qiskit.execution.results import BadResult, Shape, decode, keep, read
from qkd_qiskit.execution.waiting import Clock, Pauses, Say, persist, wait_until_final

FETCHES = 3
"""A spoiled result is fetched this often, as it may have been spoiled on its way."""
Tables = tuple[np.ndarray, np.ndarray]


@dataclass
class Collector:
    """Gets results of submitted jobs into the ledger's folder.

    Attributes:
        ledger: open.
        connection: to the service.
        settings: how long to wait, and for what to put up with.
        say: told what happens.
        clock: tells the time and sleeps.
    """

    ledger: Ledger
    connection: Connection
    settings: BackendSettings
    say: Say
    clock: Clock

    def collect(self, record: Record, shape: Shape) -> tuple[Record, Tables | None]:
        """Bring a record to its end.

        Args:
            record: any that has a job.
            shape: what its result has to be.

        Returns:
            The record, DONE, FAILED or CANCELLED (or still SUBMITTED with a reason, if its result is not usable), and
            its values and errors if there are any.

        Raises:
            BackendError: the job has not ended in time, or the service can't be reached.
            AccountError: the account is refused.
        """
        stored = read(self._path(record), record.digest) if record.state == DONE else None
        if stored is not None:
            return record, decode(stored, shape)
        if record.state not in (SUBMITTED, DONE) or record.job_id is None:
            return record, None
        job_id = record.job_id
        extras = ExtraJobs(self.ledger, self.connection, self.say, self.clock, self.settings.outage_seconds)
        if record.state == SUBMITTED and self.ledger.is_in_doubt(record):  # it may have turned up by now
            extras.cancel(record)
        state = wait_until_final(
            lambda: self.connection.state(job_id),
            name=job_id,
            hours=self.settings.wait_hours,
            clock=self.clock,
            say=self.say,
        )
        if record.state == SUBMITTED:
            extras.cancel(record)
        if state == "DONE":
            return self._fetch(record, job_id, shape)
        reason = self._patiently(lambda: self.connection.reason(job_id)) or f"{state.lower()}, no reason given"
        ended = {"state": CANCELLED if state == "CANCELLED" else FAILED, "charged": self._charged(job_id)}
        self.say(f"job {job_id} ended as {state.lower()}: {reason}")
        return self.ledger.change(record, f"{state.lower()}: {reason}", reason=reason, **ended), None

    def _fetch(self, record: Record, job_id: str, shape: Shape) -> tuple[Record, Tables | None]:
        pauses = Pauses(self.clock)
        for attempt in range(FETCHES):
            if attempt:
                pauses.take()
            text = self._patiently(lambda: self.connection.fetch(job_id))
            try:
                tables = decode(text, shape)
                break
            except BadResult as error:
                spoiled = self.ledger.results / f"{job_id}-bad-{hashlib.sha256(text.encode()).hexdigest()[:8]}.gz"
                keep(spoiled, text)
                reason = f"bad result: {error}"
                record = self.ledger.change(record, f"{reason}; kept in {spoiled.name}", reason=reason)
                self.say(f"job {job_id}: {reason}; its bytes are kept in {spoiled}")
        else:
            return record, None
        digest = keep(self._path(record), text)
        charged = self._charged(job_id)
        return self.ledger.change(
            record, "result stored", state=DONE, digest=digest, charged=charged, reason=None
        ), tables

    def _path(self, record: Record) -> Path:
        return self.ledger.results / f"{record.unit}-{record.replica}.json.gz"

    def _patiently(self, ask: Callable[[], str]) -> str:
        try:
            return persist(ask, seconds=3600 * self.settings.wait_hours, clock=self.clock, say=self.say)
        except (ServiceFault, Refusal) as fault:
            raise BackendError(
                f"the service does not give the result away: {fault}\nit is kept there; come back with "
                "`qkd-qiskit jobs resume --all`"
            ) from fault

    def _charged(self, job_id: str) -> float | None:
        try:
            return persist(
                lambda: self.connection.charged(job_id), seconds=self.settings.outage_seconds, clock=self.clock
            )
        except (ServiceFault, Refusal):
            return None
