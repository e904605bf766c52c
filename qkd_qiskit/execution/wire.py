"""The client's connection, held to our rules: no repeated submission, a read that ends, and a note of what was sent.

The client repeats a POST on a 5xx by itself, which makes a second paid job when the first had been accepted, and it
waits for an answer without end. `requests` has an official place for such policy, the adapter of a session.
"""

from __future__ import annotations

import contextlib
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

CONNECT_SECONDS, READ_SECONDS, SUBMIT_SECONDS = 5.0, 60.0, 300.0


class Wire(HTTPAdapter):
    """Sends each request within a time; a POST once, a GET again after a 5xx until `strict` is called.

    Attributes:
        submission: of the newest submission: `None` if none was sent since `forget`, else its HTTP status, 0 if there
            was no answer.
    """

    def __init__(self) -> None:
        passing = [500, 502, 503, 504]
        retry = Retry(2, backoff_factor=0.5, raise_on_status=False, allowed_methods=["GET"], status_forcelist=passing)
        super().__init__(max_retries=retry)
        self.submission: int | None = None

    def strict(self) -> None:
        """Send each request once from now on: the device is open, and whoever asks has patience of his own."""
        self.max_retries = Retry(0, read=False)

    def forget(self) -> None:
        """Forget the newest submission."""
        self.submission = None

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """Send a request; a submission is noted before it leaves."""
        submitting = request.method == "POST" and (request.url or "").partition("?")[0].endswith("/jobs")
        options["timeout"] = (CONNECT_SECONDS, SUBMIT_SECONDS if submitting else READ_SECONDS)
        if submitting:
            self.submission = 0
        response = super().send(request, *args, **options)
        if submitting:
            self.submission = response.status_code
        return response


def hold(service: Any) -> Wire | None:
    """Put a service's connections under our rules; `None` if this client keeps them elsewhere.

    Without them the protocol still holds: every submission is then looked up by its tag, and an extra one cancelled.

    Args:
        service: an open `QiskitRuntimeService`.
    """
    wire, held = Wire(), False
    with contextlib.suppress(AttributeError):
        clients = [service._active_api_client, *service._get_api_clients().values()]
        for client in clients:
            client._session.mount("http://", wire)
            client._session.mount("https://", wire)
            held = True
            hurry(getattr(client._session.auth, "tm", None))
    return wire if held else None


def hurry(manager: Any) -> None:
    """Let a token manager fail again at once: after a refusal it takes its own request for pending, for a minute.

    Args:
        manager: `IAMTokenManager` of a connection; nothing is done without one.
    """
    if manager is None:
        return
    pace, manager.request_time = manager.paced_request_token, 0

    def request() -> None:
        try:
            pace()
        except Exception:
            manager.request_time = 0
            raise

    manager.paced_request_token = request
