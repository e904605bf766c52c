"""What the service keeps: jobs, sessions, requests, and a clock that a test can move."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

FINAL = ("Completed", "Failed", "Cancelled")


class Clock:
    """The service's clock: real time plus what a test has added."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        """Return the service's time, in UTC."""
        return datetime.now(UTC) + self._ahead

    def advance(self, seconds: float) -> None:
        """Move the clock forward (or back, if negative)."""
        self._ahead += timedelta(seconds=seconds)


def stamp(moment: datetime | None) -> str | None:
    """Write a moment as the API does."""
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class ApiError(Exception):
    """A refusal, with the HTTP status and the service's own code."""

    def __init__(self, status: int, code: int, message: str):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def body(self) -> dict[str, Any]:
        """Return the answer's body as the service words it."""
        error = {"code": self.code, "message": self.message, "solution": "", "more_info": ""}
        return {"errors": [error], "trace": "loopback"}


@dataclass
class Job:
    """One job and all that happened to it."""

    id: str
    number: int
    program: str
    backend: str
    params: dict[str, Any] = field(repr=False)
    tags: list[str]
    session_id: str | None
    cost: int | None
    created: datetime
    status: str = "Queued"
    reason: str | None = None
    reason_code: int | None = None
    running: datetime | None = None
    finished: datetime | None = None
    quantum_seconds: float = 0.0
    result: str | None = field(default=None, repr=False)
    listed_from: datetime | None = None
    """Before that, `GET /jobs` does not know it."""
    fate: str | None = None
    """What a fault has in store for it: ``error``, ``cancelled`` or ``1305``."""

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in FINAL

    def body(self, *, with_params: bool) -> dict[str, Any]:
        """Return the answer to ``GET /jobs/ID``."""
        state: dict[str, Any] = {"status": self.status}
        if self.reason is not None:
            state |= {"reason": self.reason, "reason_code": self.reason_code}
        body = {
            "id": self.id,
            "backend": self.backend,
            "state": state,
            "status": self.status,
            "program": {"id": self.program},
            "created": stamp(self.created),
            "tags": self.tags,
            "cost": self.cost,
            "runtime": "",
            "estimated_running_time_seconds": self.quantum_seconds or None,
        }
        if self.session_id:
            body["session_id"] = self.session_id
        return body | ({"params": self.params} if with_params else {})

    def metrics(self) -> dict[str, Any]:
        """Return the answer to ``GET /jobs/ID/metrics``."""
        seconds = self.quantum_seconds
        return {
            "timestamps": {
                "created": stamp(self.created),
                "running": stamp(self.running),
                "finished": stamp(self.finished),
            },
            "bss": {"seconds": seconds},
            "usage": {
                "quantum_seconds": seconds,
                "seconds": seconds,
                "qpu_charge_time_seconds": seconds,
                "status": "final" if self.final else "pending",
            },
            "executions": None,
        }


@dataclass
class SessionRecord:
    """One session or batch."""

    id: str
    mode: str
    backend: str
    max_ttl: int
    created: datetime
    interactive_ttl: int = 60
    accepting_jobs: bool = True
    activated: datetime | None = None
    closed: datetime | None = None

    def expire(self, now: datetime) -> None:
        """Close it if its time is over."""
        end = (self.activated or self.created) + timedelta(seconds=self.max_ttl)
        if self.closed is None and now >= end:
            self.accepting_jobs, self.closed = False, end

    def body(self, jobs: list[Job]) -> dict[str, Any]:
        """Return the answer to ``GET /sessions/ID``."""
        state = "closed" if self.closed else "active" if self.activated else "open"
        started = [job.running for job in jobs if job.running]
        ended = [job.finished for job in jobs if job.finished]
        return {
            "id": self.id,
            "backend_name": self.backend,
            "interactive_ttl": self.interactive_ttl,
            "max_ttl": self.max_ttl,
            "active_ttl": self.max_ttl,
            "state": state,
            "accepting_jobs": self.accepting_jobs,
            "last_job_started": stamp(max(started, default=None)),
            "last_job_completed": stamp(max(ended, default=None)),
            "started_at": stamp(self.created),
            "activated_at": stamp(self.activated),
            "closed_at": stamp(self.closed),
            "mode": self.mode,
            "elapsed_time": sum(job.quantum_seconds for job in jobs),
            "timestamps": [],
        }


@dataclass
class RequestRecord:
    """One request as it came in. No header is kept, so no token is."""

    method: str
    path: str
    query: str
    fault: str | None
    """The action of the fault it met."""
    moment: datetime
    """When, by the service's clock."""
    monotonic: float = field(default_factory=time.monotonic)
    status: int | None = None
    """The answer's status; None while, or because, there is none."""


class RequestLog:
    """All requests in order of their arrival; safe to read from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: list[RequestRecord] = []

    def add(self, record: RequestRecord) -> None:
        """Append one record."""
        with self._lock:
            self._records.append(record)

    def __iter__(self) -> Iterator[RequestRecord]:
        with self._lock:
            return iter(list(self._records))

    def __len__(self) -> int:
        return len(self._records)

    def count(self, method: str, matches: Callable[[str], bool] | str) -> int:
        """Count requests by method and by path, given as it is or as a predicate."""
        test = matches if callable(matches) else matches.__eq__
        return sum(record.method == method and test(record.path) for record in self)
