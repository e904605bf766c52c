"""A conversation with the Runtime service, in the few words that the ledger needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from qiskit_ibm_runtime import Batch, Session
from qiskit_ibm_runtime.exceptions import RuntimeInvalidStateError

from qkd_qiskit.execution.faults import NotSent, Refusal, ServiceFault, translate
from qkd_qiskit.execution.wire import Wire, hold
from qkd_qiskit.redaction import redact


class RawDecoder:
    """Hands a result's text on as it came; a decoder as `RuntimeJobV2.result` takes them."""

    @classmethod
    def is_applicable(cls, data: Any) -> bool:
        """Return that it takes anything."""
        return True

    @classmethod
    def decode(cls, data: Any) -> Any:
        """Return the text."""
        return data


@dataclass
class Connection:
    """An open service; every method makes at most a few requests, without retries, and raises translated faults.

    Attributes:
        service: `QiskitRuntimeService`.
        wire: its connection under our rules, if this client lets us.
    """

    service: Any
    wire: Wire | None = None
    _jobs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def over(cls, service: Any) -> Connection:
        """Hold a service to our rules and talk to it."""
        return cls(service, hold(service))

    @property
    def repeats_by_itself(self) -> bool:
        """Whether the client may submit twice without telling."""
        return self.wire is None

    def submit(self, send: Callable[[], Any]) -> str:
        """Submit a job.

        Args:
            send: calls the primitive.

        Returns:
            The job's id.

        Raises:
            NotSent: nothing has left, or the service was too busy; there is no job.
            Refusal: the service said no.
            AccountError: the account is refused; there is no job.
            ServiceFault: nobody knows whether there is a job.
        """
        if self.wire is not None:
            self.wire.forget()
        try:
            job = send()
            self._jobs[job.job_id()] = job
            return str(job.job_id())
        except Exception as error:
            fault = translate(error)
            if isinstance(fault, ServiceFault) and (fault.status == 429 or self._nothing_left()):
                raise NotSent(str(fault), retry_after=fault.retry_after, status=fault.status) from error
            raise fault from error

    def _nothing_left(self) -> bool:
        return self.wire is not None and self.wire.submission is None

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except Exception as error:
            raise translate(error) from error

    def _job(self, job_id: str) -> Any:
        if job_id not in self._jobs:
            self._jobs[job_id] = self.service.job(job_id)
        return self._jobs[job_id]

    def find(self, tag: str) -> list[str]:
        """Return the ids of all jobs with a tag, oldest first."""
        jobs = self._ask(lambda: self.service.jobs(job_tags=[tag], limit=None, descending=False))
        return [str(job.job_id()) for job in jobs]

    def state(self, job_id: str) -> str:
        """Return a job's state: DONE, ERROR, CANCELLED, or another while it goes on."""
        return str(self._ask(lambda: self._job(job_id).status()))

    def reason(self, job_id: str) -> str:
        """Return why a job failed; empty if the service does not say."""
        job = self._ask(lambda: self._job(job_id))
        text = getattr(job, "_reason", None) or self._ask(job.error_message)
        return redact(str(text or ""))

    def fetch(self, job_id: str) -> str:
        """Return the text of a finished job's result, as the service sent it; empty if it sent nothing."""
        return self._ask(lambda: self._job(job_id).result(decoder=RawDecoder)) or ""

    def charged(self, job_id: str) -> float | None:
        """Return the QPU seconds that a job was charged for; `None` while the service does not say."""
        usage = self._ask(lambda: self._job(job_id).metrics()).get("usage") or {}
        told = [usage.get(name) for name in ("qpu_charge_time_seconds", "quantum_seconds", "seconds")]
        seconds = next((value for value in told if value is not None), None)
        return None if seconds is None or usage.get("status") == "pending" else float(seconds)

    def cancel(self, job_id: str) -> bool:
        """Cancel a job; `False` if it is too late for that."""
        try:
            self._job(job_id).cancel()
            return True
        except RuntimeInvalidStateError:
            return False
        except Exception as error:
            raise translate(error) from error

    def remaining(self) -> float | None:
        """Return the QPU seconds that the account has left; `None` if it has no limit or the service does not say."""
        seconds = self._ask(self.service.usage).get("usage_remaining_seconds")
        return None if seconds is None else float(seconds)

    def close_session(self, session_id: str) -> None:
        """Close a session or batch, whichever process opened it; what is in it runs to its end."""
        try:
            self._ask(lambda: Session.from_id(session_id, self.service).close())
        except Refusal:  # it may be a batch
            self._ask(lambda: Batch.from_id(session_id, self.service).close())
