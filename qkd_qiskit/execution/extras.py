"""Jobs too many: whatever else the service has under a record's tag is cancelled before it runs, and reported."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from qkd_qiskit.exceptions import AccountError
from qkd_qiskit.execution.faults import Refusal, ServiceFault
from qkd_qiskit.execution.ledger import Ledger, Record
from qkd_qiskit.execution.waiting import Clock, Say, persist

Answer = TypeVar("Answer")


class Searches(Protocol):
    """What is asked of a connection here."""

    def find(self, tag: str) -> list[str]:
        """Return the ids of jobs with a tag, oldest first."""

    def cancel(self, job_id: str) -> bool:
        """Cancel a job; `False` if it is too late."""

    def charged(self, job_id: str) -> float | None:
        """Return the QPU seconds that a job was charged for; `None` while the service does not say."""


@dataclass
class ExtraJobs:
    """Looks for extra jobs and gets rid of them; a service that does not answer is no reason to stop anything else.

    Attributes:
        ledger: open.
        connection: to the service.
        say: told what was found.
        clock: tells the time and sleeps.
        seconds: how long to put up with a service that does not answer.
    """

    ledger: Ledger
    connection: Searches
    say: Say
    clock: Clock
    seconds: float

    def cancel(self, record: Record, found: list[str] | None = None) -> None:
        """Cancel every other job with a record's tag, and say what became of each.

        Args:
            record: has a job.
            found: what a search has just given; searched for if `None`.
        """
        with contextlib.suppress(ServiceFault, Refusal, AccountError):  # whoever comes next meets the same trouble
            dealt_with = self.ledger.extra_jobs(record)
            for job_id in found if found is not None else self._ask(lambda: self.connection.find(record.tag)):
                if job_id != record.job_id and job_id not in dealt_with:
                    self._cancel(record, job_id)

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        return persist(question, seconds=self.seconds, clock=self.clock)

    def _cancel(self, record: Record, job_id: str) -> None:
        try:
            stopped = self._ask(lambda: self.connection.cancel(job_id))
            cost = self._ask(lambda: self.connection.charged(job_id))
        except (ServiceFault, Refusal) as fault:
            fate = f"cancelling it failed ({fault}); cancel it by hand"
            self.ledger.note(record, f"extra job {job_id}: {fate}")
        else:
            early = stopped and not cost
            price = "an unknown number of" if cost is None else f"{cost:g}"
            fate = "cancelled before it ran" if early else f"it ran before it was found and cost {price} QPU seconds"
            self.ledger.add_extra_job(record, job_id, cost, f"extra job {job_id}: {fate}")
        self.say(f"the service made an extra job {job_id}: {fate}")
