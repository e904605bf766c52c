"""The service behind the API: it takes jobs, lets them queue, runs them, and counts."""

from __future__ import annotations

import hashlib
import math
import threading
import traceback
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from .devices import Device
from .programs import PROGRAMS, Sampler, all_zeros
from .records import ApiError, Clock, Job, SessionRecord

SECONDS_PER_JOB, SECONDS_PER_SHOT = 2.0, 350e-6
"""QPU time: 2 s for the job, then 250 us of delay and about 100 us of circuit for each execution."""
MAX_TTL = 8 * 3600


class Service:
    """The state of the whole service; every public method is one request's worth of work."""

    def __init__(self, devices: Sequence[str], *, sampler: Sampler, plan: str, seed: int):
        self.devices = {name: Device(name) for name in devices}
        self.clock, self.plan, self.seed, self.sampler = Clock(), plan, seed, sampler
        self.queue_seconds, self.run_seconds = 0.0, 0.0
        self.usage_limit_seconds, self.usage_consumed_seconds = 600.0, 0.0
        self.jobs: dict[str, Job] = {}
        self.sessions: dict[str, SessionRecord] = {}
        self.created_by_tag: Counter[str] = Counter()
        self.jobs_created = 0
        self._lock = threading.RLock()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="qpu")
        self._asked_to_run: set[str] = set()

    # --- jobs ---------------------------------------------------------------------------------------------------

    def submit(self, body: dict[str, Any], fate: str | None = None) -> Job:
        """Accept a job."""
        program, backend = body.get("program_id", ""), body.get("backend", "")
        if program not in PROGRAMS:
            raise ApiError(404, 1207, f"Program {program} not found")
        self.device(backend)
        with self._lock:
            if session_id := body.get("session_id"):
                self._join_session(session_id)
            self.jobs_created += 1
            job = Job(
                id=self._new_id("job", self.jobs_created),
                number=self.jobs_created,
                program=program,
                backend=backend,
                params=body.get("params", {}),
                tags=list(body.get("tags", [])),
                session_id=session_id,
                cost=body.get("cost"),
                created=self.clock.now(),
                fate=fate,
            )
            self.jobs[job.id] = job
            self.created_by_tag.update(job.tags)
        self.progress(job)
        return job

    def job(self, job_id: str) -> Job:
        """Return a job as it stands now."""
        with self._lock:
            if job_id not in self.jobs:
                raise ApiError(404, 1291, f"Job {job_id} not found")
            job = self.jobs[job_id]
        self.progress(job)
        return job

    def hide(self, job_id: str, seconds: float) -> None:
        """Leave a job out of the list for so long."""
        self.jobs[job_id].listed_from = self.clock.now() + timedelta(seconds=seconds)

    def progress(self, job: Job) -> None:
        """Move a job on: out of the queue when its time has come, and to the QPU."""
        with self._lock:
            now = self.clock.now()
            if job.status == "Queued" and (now - job.created).total_seconds() >= self.queue_seconds:
                job.status, job.running = "Running", now
                self._activate_session(job)
            if job.status == "Running" and job.id not in self._asked_to_run:
                self._asked_to_run.add(job.id)
                if self.sampler is all_zeros:  # so cheap that the answer to the submission can wait for it
                    self._execute(job)
                else:
                    self._pool.submit(self._execute, job)
            run_for = (now - (job.running or now)).total_seconds()
            if job.status == "Running" and job.result is not None and run_for >= self.run_seconds:
                self._finish(job, "Completed")

    def _execute(self, job: Job) -> None:
        """Run a job's program in the worker thread."""
        try:
            if job.fate == "error":
                raise RuntimeError("injected failure")
            if job.fate in ("cancelled", "1305"):
                return self._cancel_while_running(job, over_time=job.fate == "1305")
            run = PROGRAMS[job.program]
            answer = run(job.params, self.devices[job.backend], self.seed + 7919 * job.number, self.sampler)
        except Exception:
            with self._lock:
                job.result, job.quantum_seconds = traceback.format_exc(), SECONDS_PER_JOB
                job.reason, job.reason_code = "Internal error while running the job", 9999
                return self._finish(job, "Failed")
        seconds = math.ceil(SECONDS_PER_JOB + SECONDS_PER_SHOT * answer.executions)
        with self._lock:
            if job.final:
                return
            if job.cost is not None and seconds > job.cost:
                job.quantum_seconds = job.cost
                self._cancel_while_running(job, over_time=True)
            else:
                job.result, job.quantum_seconds = answer.text, seconds
        self.progress(job)

    def _cancel_while_running(self, job: Job, *, over_time: bool) -> None:
        with self._lock:
            job.quantum_seconds = job.quantum_seconds or SECONDS_PER_JOB
            if over_time:
                job.reason, job.reason_code = "Job exceeded its maximum execution time", 1305
            self._finish(job, "Cancelled")

    def _finish(self, job: Job, status: str) -> None:
        job.status, job.finished = status, self.clock.now()
        job.result = job.result or ""
        self.usage_consumed_seconds += job.quantum_seconds
        if job.session_id:
            self._close_if_done(self.sessions[job.session_id])

    def cancel(self, job_id: str) -> None:
        """Cancel a job; a finished one refuses."""
        job = self.job(job_id)
        with self._lock:
            if job.final:
                raise ApiError(409, 1290, f"Job {job_id} is {job.status.lower()} and cannot be cancelled")
            self._finish(job, "Cancelled")

    def delete(self, job_id: str) -> None:
        """Delete a finished job."""
        if not self.job(job_id).final:
            raise ApiError(409, 1292, f"Job {job_id} is not in a final state")
        with self._lock:
            del self.jobs[job_id]

    def listing(self) -> list[Job]:
        """Return all jobs as they stand, oldest first."""
        with self._lock:
            jobs = list(self.jobs.values())
        for job in jobs:
            self.progress(job)
        return jobs

    # --- sessions -----------------------------------------------------------------------------------------------

    def open_session(self, body: dict[str, Any]) -> SessionRecord:
        """Open a session or a batch; the open plan has no sessions."""
        mode = body.get("mode", "dedicated")
        if self.plan == "open" and mode == "dedicated":
            raise ApiError(400, 1352, "You are not authorized to run a session when using the open plan.")
        self.device(body.get("backend", ""))
        with self._lock:
            number = len(self.sessions) + 1
            ttl = int(body.get("max_ttl") or MAX_TTL)
            session = SessionRecord(self._new_id("session", number), mode, body["backend"], ttl, self.clock.now())
            self.sessions[session.id] = session
        return session

    def session(self, session_id: str) -> SessionRecord:
        """Return a session as it stands now."""
        with self._lock:
            if session_id not in self.sessions:
                raise ApiError(404, 1211, f"Session {session_id} not found")
            session = self.sessions[session_id]
            session.expire(self.clock.now())
            return session

    def session_jobs(self, session: SessionRecord) -> list[Job]:
        """Return the session's jobs, oldest first."""
        return [job for job in self.listing() if job.session_id == session.id]

    def stop_accepting(self, session_id: str) -> None:
        """Take no more jobs; close once those in it are done."""
        session = self.session(session_id)
        self.session_jobs(session)
        with self._lock:
            session.accepting_jobs = False
            self._close_if_done(session)

    def close_session(self, session_id: str) -> None:
        """Close at once and cancel what is still waiting."""
        session = self.session(session_id)
        with self._lock:
            session.accepting_jobs = False
            session.closed = session.closed or self.clock.now()
        for job in self.session_jobs(session):
            if job.status == "Queued":
                self.cancel(job.id)

    def _join_session(self, session_id: str) -> None:
        if not self.session(session_id).accepting_jobs:
            raise ApiError(400, 1217, "Session has been closed")

    def _activate_session(self, job: Job) -> None:
        if job.session_id:
            session = self.sessions[job.session_id]
            session.activated = session.activated or self.clock.now()

    def _close_if_done(self, session: SessionRecord) -> None:
        mine = [job for job in self.jobs.values() if job.session_id == session.id]
        if not session.accepting_jobs and all(job.final for job in mine):
            session.closed = session.closed or self.clock.now()

    # --- the rest -----------------------------------------------------------------------------------------------

    def device(self, name: str) -> Device:
        """Return a device by name."""
        if name not in self.devices:
            raise ApiError(404, 1216, f"Backend {name} not found")
        return self.devices[name]

    def queue_length(self, name: str) -> int:
        """Return how many jobs wait for a device."""
        return sum(job.backend == name and job.status == "Queued" for job in self.listing())

    def usage(self) -> dict[str, Any]:
        """Return the answer to ``GET /instances/usage``."""
        start = self.clock.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return {
            "instance_id": "loopback",
            "plan_id": self.plan,
            "usage_consumed_seconds": math.ceil(self.usage_consumed_seconds),
            "usage_limit_seconds": self.usage_limit_seconds,
            "usage_limit_reached": self.usage_consumed_seconds >= self.usage_limit_seconds,
            "usage_period": {
                "start_time": start.isoformat(),
                "end_time": (start + timedelta(days=28)).isoformat(),
            },
        }

    def stop(self) -> None:
        """Run no more jobs."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _new_id(self, kind: str, number: int) -> str:
        return hashlib.sha256(f"{kind}{number}{self.seed}{id(self)}".encode()).hexdigest()[:20]
