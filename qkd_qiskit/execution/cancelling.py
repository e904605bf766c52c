"""Cancelling paid jobs, those included of which only the tag is known."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from qkd_qiskit.exceptions import BackendError
from qkd_qiskit.execution.account import connect
from qkd_qiskit.execution.connection import Connection
from qkd_qiskit.execution.faults import ServiceFault
from qkd_qiskit.execution.ledger import BY_USER, CANCELLED, INTENT, Ledger, Record
from qkd_qiskit.execution.submission import Submitter
from qkd_qiskit.execution.waiting import Clock, Say, persist

PATIENCE_SECONDS = 60.0
Answer = TypeVar("Answer")


def cancel_records(ledger: Ledger, records: list[Record], account: str | None, say: Say) -> list[str]:
    """Cancel jobs; an intent is looked up by its tag first.

    Args:
        ledger: open.
        records: open ones.
        account: name of a saved account.
        say: told what became of each.

    Returns:
        The ids of the jobs that were cancelled; an intent that never became a job counts with its tag.

    Raises:
        UndecidedError: it is not known whether there is a job.
        BackendError: the service can't be reached.
    """
    if not records:
        return []
    clock, cancelled = Clock(), []
    connection = Connection.over(connect("cancelling a job", account))
    for record in records:
        if record.state == INTENT:
            record = Submitter(ledger, connection, say, clock).settle(record)
        elif ledger.is_in_doubt(record):
            Submitter(ledger, connection, say, clock).extras.cancel(record)
        job_id = record.job_id
        if job_id is None:
            ledger.change(record, "cancelled before submission", state=CANCELLED, charged=0.0, reason=BY_USER)
            cancelled.append(record.tag)
        elif _persist(partial(connection.cancel, job_id), job_id, clock):
            charged = _persist(partial(connection.charged, job_id), job_id, clock)
            ledger.change(record, "cancelled", state=CANCELLED, charged=charged, reason=BY_USER)
            cancelled.append(job_id)
        else:
            say(f"job {job_id} has ended already; `qkd-qiskit jobs resume {record.number}` fetches it")
    return cancelled


def _persist(ask: Callable[[], Answer], job_id: str, clock: Clock) -> Answer:
    try:
        return persist(ask, seconds=PATIENCE_SECONDS, clock=clock)
    except ServiceFault as fault:
        raise BackendError(
            f"can't cancel job {job_id}: the service does not answer ({fault})\nthe job may go on; try again later"
        ) from fault
