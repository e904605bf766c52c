"""No secret in what is written: log records of any logger, warnings, tracebacks of errors nobody expected."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings

import pytest

from qkd_qiskit import redaction
from qkd_qiskit.redaction import hide_secrets, redact, remember

CANARY = "canary-9c2d5a-key"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJjYW5hcnkifQ.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", set())


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"{{'Authorization': 'Bearer {CANARY}'}}",
        f'{{"access_token": "{CANARY}", "expires_in": 3600}}',
        f"grant_type=urn%3Aibm&apikey={CANARY}&x=1",
        f"headers={{'authorization': 'apikey {CANARY}'}}",
        f"token={CANARY}",
        JWT,
        "crn:v1:bluemix:public:quantum-computing:us-east:a/canary::",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    clean = redact(text)
    assert "canary" not in clean
    assert "eyJ" not in clean
    assert "[hidden]" in clean


@pytest.mark.parametrize(
    "text",
    [
        "the service refused the account: its token is wrong, expired or revoked",
        "submitted job 087bb4cf7f3909bc3e26",
        "qkd:1f2e3d4c5b6a:0011223344aa:abcdef012345",
        "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ],
)
def test_what_a_user_needs_stays(text: str) -> None:
    assert redact(text) == text


def test_known_secrets_are_hidden_in_any_form() -> None:
    remember("pa/ss+word", None, "abc")
    assert redact("x pa/ss+word y pa%2Fss%2Bword z abc") == "x [hidden] y [hidden] z abc"


def test_any_logger_with_any_handler(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QISKIT_IBM_TOKEN", CANARY)
    with hide_secrets():
        late = logging.getLogger("made.after.that")
        late.warning("calling with %s and %d", CANARY, 3)
        late.warning("headers %(a)s", {"a": {"Authorization": f"Bearer {CANARY}"}})
        try:
            raise ValueError(f"the key {CANARY} is wrong")
        except ValueError:
            late.exception("it failed")
        late.warning("too many arguments", 1, CANARY)
    assert CANARY not in caplog.text
    assert "calling with [hidden] and 3" in caplog.text
    assert "ValueError: the key [hidden] is wrong" in caplog.text
    late.warning("afterwards %s", CANARY)
    assert CANARY in caplog.text, "a program that uses the package keeps its own logging"


class Unwritable:
    def __str__(self) -> str:
        raise AttributeError("half made")

    def __repr__(self) -> str:
        raise AttributeError("half made")


def test_a_record_that_cannot_be_written_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with hide_secrets():
        logging.getLogger("anyone").warning("it is %s", Unwritable())
    assert "a message that can't be written" in caplog.text


def test_warnings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("QISKIT_IBM_TOKEN", CANARY)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", _print)
        with hide_secrets():
            warnings.warn(f"no answer for {CANARY}", UserWarning, stacklevel=1)
    assert capsys.readouterr().out == "no answer for [hidden]\n"


def _print(message: Warning | str, *_: object) -> None:
    print(message)


CRASH = """
import sys
import qkd_qiskit.cli_jobs
from qkd_qiskit.cli import main
def crash(*_):
    raise RuntimeError("refused Bearer {0}, key {0}")
qkd_qiskit.cli_jobs._list = crash
main(["jobs"])
"""


def test_the_traceback_of_an_error_that_nobody_expected() -> None:
    environment = {**os.environ, "QISKIT_IBM_TOKEN": CANARY}
    command = [sys.executable, "-c", CRASH.format(CANARY)]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert answer.returncode == 1
    assert "RuntimeError: refused Bearer [hidden], key [hidden]" in answer.stderr
    assert CANARY not in answer.stdout + answer.stderr
