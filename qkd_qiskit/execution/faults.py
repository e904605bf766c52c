"""What went wrong at the service, in four kinds: not allowed, refused, try again, and nobody knows.

The client raises a dozen classes, some of them not its own; what matters to a paid job is only which of these it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from qkd_qiskit.exceptions import AccountError, BackendError
from qkd_qiskit.redaction import redact

TOO_MANY, UNAUTHORIZED = 429, (401, 403)
SESSION_CLOSED = 1217
LONGEST = 200
"""Characters of a service's message that are passed on."""
TOO_LONG = ("1305", "maximum execution time")


class ServiceFault(Exception):
    """A request failed in a way that may pass (connection, 5xx, 429, a broken answer).

    Attributes:
        retry_after: seconds that the service asked for; `None` if it did not.
        status: the HTTP status; `None` without an answer.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_after, self.status = retry_after, status


class NotSent(ServiceFault):
    """A submission failed before it left, or with an answer that says so: there is no job."""


class Refusal(BackendError):
    """The service has answered no: nothing was created, and asking again won't help.

    Attributes:
        session_closed: whether it refused because the session's time is over.
    """

    def __init__(self, message: str, *, session_closed: bool = False) -> None:
        super().__init__(message)
        self.session_closed = session_closed


def translate(error: BaseException) -> Exception:
    """Turn whatever the client raised into `AccountError`, `Refusal` or `ServiceFault`.

    Args:
        error: from a call of the Runtime client.
    """
    if isinstance(error, ServiceFault | Refusal | AccountError):
        return error
    status, response = _find_status(error)
    names = {type(link).__name__ for link in _chain(error)}
    if "InvalidAccountError" in names and (wrong := re.search(r"Invalid `(?!token)\w+` value[^\n]*", str(error))):
        return Refusal(redact(wrong[0]))
    if status in UNAUTHORIZED or names & {"IBMNotAuthorizedError", "InvalidAccountError"}:
        return AccountError(
            "the service refused the account: the token is wrong, expired or revoked\n"
            "make a new API key and save it; jobs that were submitted, if any, go on: `qkd-qiskit jobs resume --all`"
        )
    if status is not None and 400 <= status < 500 and status not in (408, TOO_MANY):
        return Refusal(brief(error), session_closed=str(SESSION_CLOSED) in str(error) and "ession" in str(error))
    if names & {"IBMInputValueError", "SamplexConstructionError", "ValidationError"}:
        return Refusal(brief(error))
    return ServiceFault(brief(error), retry_after=_retry_after(response), status=status)


def ran_too_long(reason: str | None) -> bool:
    """Whether a job was stopped because it took longer than its `max_execution_time` (error 1305)."""
    return any(words in (reason or "").lower() for words in TOO_LONG)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _find_status(error: BaseException) -> tuple[int | None, Any]:
    for link in _chain(error):
        response = getattr(link, "response", None)
        if response is not None and hasattr(response, "status_code"):
            return int(response.status_code), response
    codes = [getattr(link, "status_code", None) for link in _chain(error)]
    return next((code for code in codes if isinstance(code, int) and code > 0), None), None


def _retry_after(response: Any) -> float | None:
    text = response.headers.get("Retry-After") if response is not None else None
    try:
        return max(0.0, float(text)) if text is not None else None
    except ValueError:
        return None  # a date; the growing pause serves


def brief(error: BaseException) -> str:
    """Return what the service has to say, or an error's first line; short enough to read, without anything secret."""
    text = str(error).replace("\\", "")
    if told := re.search(r'"message":\s*"([^"]+)"', text):
        text = told[1]
    if nobody := re.search(r"host='([^']+)', port=(\d+)", text):
        why = re.search(r"\[Errno -?\d+\] ([\w ,]+)|(timed out)", text)
        return f"no connection to {nobody[1]}:{nobody[2]}" + (f" ({(why[1] or why[2]).strip()})" if why else "")
    lines = text.strip().strip("'\"").splitlines()
    line = redact(lines[0]) if lines else ""
    return (f"{line[:LONGEST].rpartition(' ')[0]} ..." if len(line) > LONGEST else line) or type(error).__name__
