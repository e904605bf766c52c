"""The table of endpoints: which method and path is answered by what."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from .account import PLAN_ID, Account
from .records import ApiError, Job
from .service import Service

PREFIX = re.compile(r"^(/experimental)?/api/v1(?=/)")
OPEN_PATHS = {"/identity/token", "/v3/resources/search", "/v2/resource_instances", "/" + PLAN_ID}


@dataclass(frozen=True)
class Request:
    """A request as the endpoints need it."""

    method: str
    path: str
    """Without the API's prefix."""
    query: str
    body: bytes = field(repr=False)
    authorization: str | None = field(repr=False)
    fate: str | None = None
    """What a fault wants to become of the job that this request submits."""

    def json(self) -> dict[str, Any]:
        """Return the body, parsed."""
        return json.loads(self.body or b"{}")

    def one(self, name: str) -> str | None:
        """Return a query parameter's last value."""
        return parse_qs(self.query).get(name, [None])[-1]


@dataclass
class Response:
    """An answer on its way out."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, body: Any, status: int = 200) -> Response:
        """Answer with JSON."""
        return cls(status, json.dumps(body).encode())


NO_CONTENT = 204
Endpoint = Callable[[Service, Account, Request, str], Response]


def respond(service: Service, account: Account, request: Request) -> Response:
    """Find the endpoint, check the token, answer; a refusal becomes an answer, too."""
    try:
        if request.path not in OPEN_PATHS:
            account.check(request.authorization)
        for method, pattern, endpoint in ROUTES:
            match = re.fullmatch(pattern, request.path)
            if match and method == request.method:
                return endpoint(service, account, request, match[1] if match.groups() else "")
        raise ApiError(404, 404, f"no such endpoint: {request.method} {request.path}")
    except ApiError as error:
        return Response.of(error.body(), error.status)


def submit(service: Service, account: Account, request: Request, _: str) -> Response:
    job = service.submit(request.json(), request.fate)
    return Response.of({"id": job.id, "backend": job.backend})


def job_details(service: Service, account: Account, request: Request, job_id: str) -> Response:
    return Response.of(service.job(job_id).body(with_params=request.one("exclude_params") != "true"))


def job_result(service: Service, account: Account, request: Request, job_id: str) -> Response:
    job = service.job(job_id)
    if not job.final:
        return Response(NO_CONTENT)
    return Response(200, (job.result or "").encode(), "text/plain")


def job_logs(service: Service, account: Account, request: Request, job_id: str) -> Response:
    job = service.job(job_id)
    if not job.final:
        raise ApiError(404, 1291, f"No logs for {job_id} yet")
    return Response(200, f"job {job_id}: {job.status}\n".encode(), "text/plain")


def job_tags(service: Service, account: Account, request: Request, job_id: str) -> Response:
    service.job(job_id).tags[:] = request.json()["tags"]
    return Response(NO_CONTENT)


def job_cancel(service: Service, account: Account, request: Request, job_id: str) -> Response:
    service.cancel(job_id)
    return Response(NO_CONTENT)


def job_delete(service: Service, account: Account, request: Request, job_id: str) -> Response:
    service.delete(job_id)
    return Response(NO_CONTENT)


def job_list(service: Service, account: Account, request: Request, _: str) -> Response:
    now = service.clock.now()
    listed = [job for job in service.listing() if job.listed_from is None or now >= job.listed_from]
    jobs = [job for job in listed if wanted(job, request)]
    jobs.sort(key=lambda job: job.number, reverse=request.one("sort") != "ASC")
    limit, offset = int(request.one("limit") or 200), int(request.one("offset") or 0)
    page = [job.body(with_params=False) for job in jobs[offset : offset + limit]]
    return Response.of({"jobs": page, "count": len(jobs), "limit": limit, "offset": offset})


def wanted(job: Job, request: Request) -> bool:
    """Tell whether a job passes all the filters of ``GET /jobs``; tags must all be there."""
    tests = {
        "backend": lambda value: job.backend == value,
        "program": lambda value: job.program == value,
        "session_id": lambda value: job.session_id == value,
        "pending": lambda value: job.final == (value == "false"),
        "created_after": lambda value: job.created >= moment(value),
        "created_before": lambda value: job.created <= moment(value),
    }
    tags = parse_qs(request.query).get("tags", [])
    asked = ((test, request.one(name)) for name, test in tests.items())
    return set(tags) <= set(job.tags) and all(test(value) for test, value in asked if value is not None)


def moment(text: str) -> datetime:
    """Read a moment from a query; without a zone it is UTC."""
    read = datetime.fromisoformat(text.replace("Z", "+00:00").replace(" ", "+"))
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def session_details(service: Service, account: Account, request: Request, session_id: str) -> Response:
    session = service.session(session_id)
    return Response.of(session.body(service.session_jobs(session)))


def session_open(service: Service, account: Account, request: Request, _: str) -> Response:
    return Response.of(service.open_session(request.json()).body([]))


def session_update(service: Service, account: Account, request: Request, session_id: str) -> Response:
    if request.json().get("accepting_jobs") is False:
        service.stop_accepting(session_id)
    return Response(NO_CONTENT)


def session_close(service: Service, account: Account, request: Request, session_id: str) -> Response:
    service.close_session(session_id)
    return Response(NO_CONTENT)


def backends(service: Service, account: Account, request: Request, _: str) -> Response:
    listing = [device.listing(service.queue_length(name)) for name, device in service.devices.items()]
    return Response.of({"devices": listing})


ROUTES: tuple[tuple[str, str, Endpoint], ...] = (
    ("POST", r"/identity/token", lambda s, a, r, _: Response.of(a.identity_token(r.body))),
    ("POST", r"/v3/resources/search", lambda s, a, r, _: Response.of(a.search())),
    ("GET", r"/v2/resource_instances", lambda s, a, r, _: Response.of(a.instances())),
    ("GET", "/" + PLAN_ID, lambda s, a, r, _: Response.of(a.catalog())),
    ("GET", r"/backends", backends),
    ("GET", r"/backends/([^/]+)/configuration", lambda s, a, r, name: Response.of(s.device(name).configuration)),
    ("GET", r"/backends/([^/]+)/properties", lambda s, a, r, name: Response.of(s.device(name).properties)),
    (
        "GET",
        r"/backends/([^/]+)/status",
        lambda s, a, r, name: Response.of(s.device(name).status_body(s.queue_length(name))),
    ),
    ("GET", r"/instances/usage", lambda s, a, r, _: Response.of(s.usage())),
    ("POST", r"/sessions", session_open),
    ("GET", r"/sessions/([^/]+)", session_details),
    ("PATCH", r"/sessions/([^/]+)", session_update),
    ("DELETE", r"/sessions/([^/]+)/close", session_close),
    ("POST", r"/jobs", submit),
    ("GET", r"/jobs", job_list),
    ("GET", r"/jobs/([^/]+)", job_details),
    ("DELETE", r"/jobs/([^/]+)", job_delete),
    ("GET", r"/jobs/([^/]+)/results", job_result),
    ("GET", r"/jobs/([^/]+)/metrics", lambda s, a, r, job_id: Response.of(s.job(job_id).metrics())),
    ("GET", r"/jobs/([^/]+)/logs", job_logs),
    ("POST", r"/jobs/([^/]+)/cancel", job_cancel),
    ("PUT", r"/jobs/([^/]+)/tags", job_tags),
)
