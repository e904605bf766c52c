"""Cancelling paid jobs, those included of which only the tag is known."""

from __future__ import annotations

from functools import partial

from qkd_qiskit.execution.account import connect
from qkd_qiskit.execution.connection import Connection
from qkd_qiskit.execution.ledger import CANCELLED, INTENT, Ledger, Record
from qkd_qiskit.execution.submission import Submitter
from qkd_qiskit.execution.waiting import Clock, Say, persist

PATIENCE_SECONDS = 60.0


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
            ledger.change(
                record, "cancelled before submission", state=CANCELLED, charged=0.0, reason="cancelled by you"
            )
            cancelled.append(record.tag)
        elif persist(partial(connection.cancel, job_id), seconds=PATIENCE_SECONDS, clock=clock):
            charged = persist(partial(connection.charged, job_id), seconds=PATIENCE_SECONDS, clock=clock)
            ledger.change(record, "cancelled", state=CANCELLED, charged=charged, reason="cancelled by you")
            cancelled.append(job_id)
        else:
            say(f"job {job_id} has ended already; `qkd-qiskit jobs resume {record.number}` fetches it")
    return cancelled
