"""SIGTERM stops a command as Ctrl-C does: what is finished is kept, it says how to go on, the code is 143."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qkd_qiskit.stopping import stop_on_signals
from tests.paid import SMALL, FastClock, call, records
from tests.paid import clock as clock
from tests.paid import no_evaluations_yet as no_evaluations_yet
from tests.paid import run as run
from tests.paid import server as server
from tests.runtime_server import RuntimeServer

WHERE = ["--backend", "ibm_manila", "--samples", "4", "--shots", "64"]


def stop_when(told: str, *arguments: str, number: int = signal.SIGTERM) -> tuple[int, str, str]:
    """Start a command, send the signal once it has told something; return exit code, stdout and stderr."""
    command = [sys.executable, "-m", "qkd_qiskit", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        lines: list[str] = []
        while not any(told in line for line in lines):
            line = process.stderr.readline()
            assert line, "".join(lines)
            lines.append(line)
        process.send_signal(number)
        began = time.monotonic()
        code = process.wait(timeout=20)
        assert time.monotonic() - began < 5
        return code, process.stdout.read(), "".join(lines) + process.stderr.read()


def test_training_goes_on_where_it_was_stopped(workplace: Path) -> None:
    code, _, told = stop_when("epoch   2/5000", "train", *SMALL, "--epochs", "5000", "--out", "run")
    assert code == 143
    assert "go on with: qkd-qiskit train --resume run" in told
    assert "is kept in run" in told
    kept = json.loads(Path("run/checkpoints/last.json").read_text())
    assert kept["epoch"] >= 1
    assert "Traceback" not in told


def test_a_job_file_goes_on_where_it_was_stopped(workplace: Path) -> None:
    Path("long.toml").write_text(
        "[train]\nbackend = 'aer'\ndata = {classes = '0-1', train_per_class = 8}\nteacher = {name = 'none'}\n"
        "student = {qubits = 2}\ntraining = {epochs = 5000}\n"
    )
    code, told, progress = stop_when("epoch   2/5000", "run", "long.toml")
    assert (code, told) == (143, "")
    assert "interrupted" in progress


@pytest.mark.parametrize("form", ["evaluate", "jobs wait"])
def test_a_wait_for_a_paid_job(run: Path, server: RuntimeServer, clock: FastClock, form: str) -> None:
    server.hold()
    if form == "evaluate":
        command = ["evaluate", str(run), *WHERE, "--yes"]
    else:
        assert call("evaluate", str(run), *WHERE, "--yes", "--no-wait").exit_code == 0
        command = ["jobs", "wait"]
    code, told, progress = stop_when("queued", *command)
    assert (code, told) == (143, "")
    assert "1 submitted job(s) go on" in progress
    assert "come back with `qkd-qiskit jobs resume" in progress
    assert not any(session.accepting_jobs for session in server.service.sessions.values())
    assert [record["state"] for record in records()] == ["SUBMITTED"]
    server.release()
    assert call("jobs", "resume", "--all").exit_code == 0
    assert server.posts == 1


def test_a_submission_that_has_left(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    server.faults.add("POST", "/jobs", "stall_after")
    command = [sys.executable, "-m", "qkd_qiskit", "evaluate", str(run), *WHERE, "--yes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not server.jobs_created and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        told = process.communicate(timeout=20)
        assert time.monotonic() - began < 5
    assert (process.returncode, told[0]) == (143, "")
    assert "0 submitted job(s) go on, 1 more may have been submitted" in told[1]
    assert [record["state"] for record in records()] == ["INTENT"]
    answer = call("jobs", "resume", "--all")
    assert answer.exit_code == 0
    assert "nothing was submitted a second time" in answer.stderr
    assert (server.jobs_created, server.posts) == (1, 1)


def test_an_ignored_signal_stays_ignored_and_the_old_way_comes_back() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.exit_code(130) == 130
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
            assert stop.exit_code(130) == 143
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
