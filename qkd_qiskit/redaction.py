"""Keeping secrets out of whatever is written: log records of any logger, warnings, tracebacks, error messages."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import Any
from urllib.parse import quote

HIDDEN = "[hidden]"
LEAST = 6
"""A shorter text is no key, and would be found in innocent words."""

_known: set[str] = set()
_FORMS = [
    (re.compile(r"(?i)\b(bearer|basic|apikey)\s+[\w.~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (
        re.compile(
            r"""(?ix) (["']? (?:access_token|refresh_token|api_?key|authorization|token) ["']? \s*[:=]\s* ["']?)
            (?:bearer\s+)? [^\s"'&,;{}\[\]()]{8,}"""
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\beyJ[\w-]{4,}\.[\w-]+(?:\.[\w-]*)?"), HIDDEN),
    (re.compile(r"\bcrn:v\d+:[^\s\"',)]+"), f"crn:{HIDDEN}"),
]
"""What gives a secret away by its form: headers, fields of a form or of JSON, web tokens, names of instances."""


def remember(*secrets: str | None) -> None:
    """Hide these texts from now on."""
    for secret in secrets:
        if secret and len(secret) >= LEAST:
            _known.update((secret, quote(secret, safe="")))


def redact(text: str) -> str:
    """Return a text without secrets: neither those known nor what looks like one."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for form, instead in _FORMS:
        text = form.sub(instead, text)
    return text


@contextlib.contextmanager
def hide_secrets() -> Iterator[None]:
    """Redact every log record, warning and unhandled traceback of this process, whichever handlers there are.

    Records are cleaned where they are made, so that handlers which other packages add later get clean ones as well.
    """
    remember(os.environ.get("QISKIT_IBM_TOKEN"))
    make, show = logging.getLogRecordFactory(), warnings.showwarning
    hook, thread_hook = sys.excepthook, threading.excepthook

    def record(*args: Any, **options: Any) -> logging.LogRecord:
        return _clean(make(*args, **options))

    def warn(message: Warning | str, *args: Any, **options: Any) -> None:
        show(redact(str(message)), *args, **options)

    logging.setLogRecordFactory(record)
    warnings.showwarning = warn
    sys.excepthook = _show
    threading.excepthook = lambda facts: _show(facts.exc_type, facts.exc_value, facts.exc_traceback)
    try:
        yield
    finally:
        logging.setLogRecordFactory(make)
        if warnings.showwarning is warn:
            warnings.showwarning = show
        if sys.exc_info()[1] is None or isinstance(sys.exc_info()[1], SystemExit):
            sys.excepthook, threading.excepthook = hook, thread_hook


def _clean(record: logging.LogRecord) -> logging.LogRecord:
    """Put the message together and redact it, and the traceback if it has one."""
    try:
        text = record.getMessage()
    except Exception:  # it does not fit its arguments, or one can't be written; logging must not stop whoever logs
        text, record.msg, record.args = "", redact(_write_anyhow(record.msg, record.args)), None
    if (clean := redact(text)) != text:
        record.msg, record.args = clean, None
    if record.exc_info and record.exc_info[1]:
        story = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        if (clean := redact(story)) != story:
            record.exc_text, record.exc_info = clean, None
    return record


def _write_anyhow(*parts: object) -> str:
    try:
        return " ".join(map(repr, parts))
    except Exception:
        return "a message that can't be written"


def _show(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Print an unhandled error as Python does, redacted."""
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))
