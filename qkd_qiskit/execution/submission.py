"""The submit protocol: intent first, id stored before anything waits, looked up by tag before any second submit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from qkd_qiskit.exceptions import BackendError, UndecidedError
from qkd_qiskit.execution.cost import longest
from qkd_qiskit.execution.extras import ExtraJobs, Searches
from qkd_qiskit.execution.faults import NotSent, Refusal, ServiceFault, ran_too_long
from qkd_qiskit.execution.ledger import CANCELLED, FAILED, IN_DOUBT, INTENT, SUBMITTED, Ledger, Record
from qkd_qiskit.execution.waiting import Clock, Pauses, Say, persist

SETTLE_SECONDS, OUTAGE_SECONDS = 60.0, 1800.0
RAISE = 2.0
"""A unit whose job was stopped at its longest time may take this many times as long when it is tried again."""


@dataclass(frozen=True)
class Unit:
    """A piece of an evaluation that becomes one job.

    Attributes:
        name: hash of what changes the answer.
        start: its first row of parameter values.
        stop: the row after its last.
        estimated: QPU seconds.
    """

    name: str
    start: int
    stop: int
    estimated: float

    @property
    def most(self) -> float:
        """QPU seconds after which the service is to stop it."""
        return longest(self.estimated)

    def most_after(self, record: Record | None) -> float:
        """Return the same for another try: a job that was stopped would be stopped there again, so this one may more.

        Args:
            record: the unit's newest; `None` before the first try.
        """
        stopped = record is not None and record.state == FAILED and ran_too_long(record.reason)
        return max(self.most, RAISE * record.reserved) if record is not None and stopped else self.most


@dataclass(frozen=True)
class Handed:
    """What a submission came to.

    Attributes:
        job_id: the service's.
        mode: session, batch or job.
        session_id: of the session or batch.
    """

    job_id: str
    mode: str
    session_id: str | None


class Connects(Searches, Protocol):
    """What the protocol asks of a connection."""

    @property
    def repeats_by_itself(self) -> bool:
        """Whether the client may submit twice without telling."""


Send = Callable[[Record], Handed]


def is_due(record: Record | None, retry_failed: bool) -> bool:
    """Whether a unit is to be submitted: it has no record, was refused (that cost nothing), or failed and you ask.

    Args:
        record: its newest.
        retry_failed: whether a unit whose job failed or was cancelled is submitted anew.
    """
    if record is None or (record.state == FAILED and record.job_id is None):
        return True
    return retry_failed and record.state in (FAILED, CANCELLED)


@dataclass
class Submitter:
    """Carries the protocol out.

    Attributes:
        ledger: open.
        connection: to the service.
        say: told what happens.
        clock: tells the time and sleeps.
        settle_seconds: how long an accepted job may take to show up in a search.
        outage_seconds: how long to put up with a service that does not answer.
    """

    ledger: Ledger
    connection: Connects
    say: Say
    clock: Clock
    settle_seconds: float = SETTLE_SECONDS
    outage_seconds: float = OUTAGE_SECONDS

    @property
    def extras(self) -> ExtraJobs:
        """What gets rid of jobs that nobody asked for."""
        return ExtraJobs(self.ledger, self.connection, self.say, self.clock, self.outage_seconds)

    def submit(self, evaluation: str, unit: Unit, send: Send, *, retry_failed: bool = False) -> Record:
        """Make sure that a unit has exactly one job, or ended with a reason.

        Args:
            evaluation: in whose budget it falls.
            unit: the unit.
            send: submits a job for a record, with the record's tag and limit.
            retry_failed: whether a unit whose job failed is submitted anew.

        Returns:
            Its record: SUBMITTED, or what it was before if nothing had to be done.

        Raises:
            BudgetError: it does not fit into the budget any more.
            UndecidedError: nobody knows whether there is a job; nothing was submitted.
            BackendError: the service refused the job or can't be reached.
            AccountError: the account is refused.
        """
        record = self.ledger.latest(unit.name)
        if record is not None and record.state == INTENT:
            record = self.settle(record)
            if record.state == SUBMITTED:
                return record
            self.ledger.note(record, f"{IN_DOUBT}: it may have been submitted before, and was not found")
            return self._send(record, send, again=True)
        if record is not None and not is_due(record, retry_failed):
            return record
        most = unit.most_after(record)
        return self._send(self.ledger.intend(evaluation, unit.name, unit.estimated, most), send, again=False)

    def _send(self, record: Record, send: Send, *, again: bool) -> Record:
        """Submit until there is a job; between two tries, look whether there is one already."""
        pauses, deadline, told = Pauses(self.clock), self.clock.now() + self.outage_seconds, False
        while True:
            try:
                handed = send(record)
            except NotSent as fault:
                if self.clock.now() >= deadline:
                    raise BackendError(
                        f"the service took no job for {self.outage_seconds:.0f} s: {fault}\nnothing was submitted; "
                        "run the same command again later"
                    ) from fault
                if not told:
                    self.say(f"not submitted yet ({fault}); trying again")
                told = True
                pauses.take(fault.retry_after)
            except ServiceFault as fault:
                self.ledger.note(record, f"{IN_DOUBT}: {fault}")
                self.say(f"the answer to a submission was lost ({fault}); looking for the job by its tag")
                record, again = self.settle(record), True
                if record.state == SUBMITTED:
                    return record
                if self.clock.now() >= deadline:
                    raise BackendError(
                        f"submitting keeps failing: {fault}\nthere is no job; run the same command again later"
                    ) from fault
                pauses.take(fault.retry_after)
            except Refusal as refusal:
                self.ledger.change(record, f"refused: {refusal}", state=FAILED, reason=str(refusal), charged=0.0)
                raise BackendError(f"the service refused the job: {refusal}") from refusal
            else:
                record = self._store(record, handed)
                if again or self.connection.repeats_by_itself:
                    self.extras.cancel(record)
                return record

    def _store(self, record: Record, handed: Handed) -> Record:
        columns = {"job_id": handed.job_id, "mode": handed.mode, "session_id": handed.session_id}
        record = self.ledger.change(record, f"submitted as {handed.job_id}", state=SUBMITTED, **columns)
        self.say(f"submitted job {handed.job_id}")
        return record

    def settle(self, record: Record) -> Record:
        """Find out whether an intent has become a job; adopt it if so.

        Returns:
            The record, SUBMITTED if there is a job, else INTENT: then there is none.

        Raises:
            UndecidedError: the search fails, so nothing may be submitted.
            AccountError: the account is refused.
        """
        pauses, deadline = Pauses(self.clock), self.clock.now() + self.settle_seconds
        while True:
            found = self._find(record)
            if found:
                record = self.ledger.change(record, f"adopted {found[0]}", state=SUBMITTED, job_id=found[0])
                self.say(f"found job {found[0]} by its tag; nothing was submitted a second time")
                self.extras.cancel(record, found)
                return record
            if self.clock.now() >= deadline:
                return record
            pauses.take()

    def _find(self, record: Record) -> list[str]:
        try:
            return persist(
                lambda: self.connection.find(record.tag), seconds=self.outage_seconds, clock=self.clock, say=self.say
            )
        except (ServiceFault, Refusal) as fault:
            raise UndecidedError(
                f"it is not known whether the job tagged {record.tag} exists, and the service can't be asked: {fault}\n"
                "nothing was submitted; `qkd-qiskit jobs resume --all` asks again"
            ) from fault
