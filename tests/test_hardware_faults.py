"""What a service can do to a waiting evaluation: the faults F5 to F8, F14 to F16 and F20 of the fault table."""

from __future__ import annotations

import gzip
import json
import threading
import time
from pathlib import Path

import pytest

from qkd_qiskit.execution.waiting import Clock
from tests.paid import FastClock, call, evaluate, records, split
from tests.paid import clock as clock
from tests.paid import no_evaluations_yet as no_evaluations_yet
from tests.paid import run as run
from tests.paid import server as server
from tests.runtime_server import RuntimeServer


@pytest.mark.parametrize(("action", "least"), [("429", 1.0), ("429:retry-after=7", 7.0)])
@pytest.mark.parametrize(("method", "path"), [("POST", "/jobs"), ("GET", "/jobs/*")])
def test_f5_too_many_requests_twenty_times(
    run: Path, server: RuntimeServer, clock: FastClock, method: str, path: str, action: str, least: float
) -> None:
    server.faults.add(method, path, action, times=20)
    evaluate(run)
    assert server.jobs_created == 1
    assert server.posts == (21 if method == "POST" else 1), "a 429 is a no: no search in between"
    assert len(clock.naps) >= 20
    assert min(clock.naps) >= least
    assert sum(clock.naps) < 20 * 66 + 60


def test_f5_a_429_without_end_is_given_up(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    server.faults.add("POST", "/jobs", "429", times=None)
    result = evaluate(run, "--set", "outage_seconds=100", code=4)
    assert "nothing was submitted" in result.stderr
    assert 100 <= sum(clock.naps) < 200
    assert server.jobs_created == 0


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("GET", "/jobs/*", "stall"),
        ("GET", "/jobs/*/results", "stall"),
        ("GET", "/backends/*/properties", "stall"),
        ("POST", "/jobs", "stall_after"),
    ],
)
def test_f6_a_stalled_read_is_abandoned(
    run: Path,
    server: RuntimeServer,
    clock: FastClock,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    action: str,
) -> None:
    monkeypatch.setattr("qkd_qiskit.execution.wire.READ_SECONDS", 1.0)
    monkeypatch.setattr("qkd_qiskit.execution.wire.SUBMIT_SECONDS", 1.0)
    server.faults.add(method, path, action)
    began = time.monotonic()
    evaluate(run)
    assert time.monotonic() - began < 15
    assert (server.jobs_created, server.posts) == (1, 1)


def test_f7_no_connection_for_an_hour(
    run: Path, server: RuntimeServer, clock: FastClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.hold()
    evaluate(run, "--no-wait")
    server.faults.add("GET", "/jobs/*", "status:503", times=3)
    sleep = Clock.sleep

    def come_back_after_an_hour(self: Clock, seconds: float) -> None:
        sleep(self, seconds)
        if clock.ahead < 3600:
            server.refuse()
        elif server._listener is None:
            server.start()
            server.release()

    monkeypatch.setattr(Clock, "sleep", come_back_after_an_hour)
    assert call("jobs", "resume", "--all").exit_code == 0
    assert clock.ahead > 3600
    assert (server.jobs_created, records()[0]["state"]) == (1, "DONE")


@pytest.mark.parametrize(("method", "path"), [("POST", "/jobs"), ("GET", "/jobs/*"), ("GET", "/jobs/*/results")])
def test_f8_the_token_is_revoked_midway(
    run: Path, server: RuntimeServer, clock: FastClock, method: str, path: str
) -> None:
    server.faults.add(method, path, "401", times=None)
    result = evaluate(run, code=7)
    struck = [record for record in server.requests if record.fault]
    assert len(struck) == 1, "one attempt"
    assert time.monotonic() - struck[0].monotonic < 5
    assert "jobs resume --all" in result.stderr
    server.faults.clear()
    assert call("jobs", "resume", "--all").exit_code == 0
    assert server.jobs_created == 1


def test_f8_a_wrong_key_is_said_at_once(
    run: Path, server: RuntimeServer, clock: FastClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's own token manager waits a minute for a token once it has been refused one."""
    monkeypatch.setenv("QISKIT_IBM_TOKEN", "canary-wrong-key")
    result = evaluate(run, code=7)
    refused = [record for record in server.requests if record.status == 401]
    assert time.monotonic() - refused[0].monotonic < 5
    assert "canary" not in result.output
    assert server.posts == 0


def test_f8_a_revoked_token_is_not_a_missing_device(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    server.faults.add("GET", "/backends*", "401", times=None)
    server.faults.add("GET", "/jobs", "401", times=None)
    result = evaluate(run, code=7)
    assert "the token is wrong, expired or revoked" in result.stderr
    assert "make a new API key" in result.stderr


@pytest.mark.parametrize("mode", ["session", "batch"])
def test_f14_a_session_that_ends_midway_is_replaced(
    run: Path, server: RuntimeServer, clock: FastClock, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    from qkd_qiskit.execution.ledger import Ledger

    change = Ledger.change

    def let_the_session_end(self, record, what, **columns):  # type: ignore[no-untyped-def]
        if what.startswith("submitted as") and server.jobs_created == 1:
            server.clock.advance(9 * 3600)
        return change(self, record, what, **columns)

    monkeypatch.setattr(Ledger, "change", let_the_session_end)
    result = evaluate(run, "--mode", mode, *split(2))
    assert "is over; opening another" in result.stderr
    assert (server.jobs_created, len(server.service.sessions)) == (2, 2)
    assert [record["state"] for record in records()] == ["DONE", "DONE"]
    assert not any(session.accepting_jobs for session in server.service.sessions.values())


def test_a_session_that_a_killed_process_left_is_closed(
    run: Path, server: RuntimeServer, clock: FastClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("qkd_qiskit.execution.runtime.close_session", lambda *_: None)
        evaluate(run, "--mode", "session", "--no-wait")
    assert [session.accepting_jobs for session in server.service.sessions.values()] == [True]
    assert call("jobs", "resume", "--all").exit_code == 0
    assert [session.accepting_jobs for session in server.service.sessions.values()] == [False]


@pytest.mark.parametrize(
    ("fate", "state", "words"),
    [
        ("error", "FAILED", "Internal error"),
        ("cancelled", "CANCELLED", "cancelled"),
        ("1305", "FAILED", "maximum execution time"),
    ],
)
def test_f15_a_job_that_fails_is_reported_and_not_paid_again(
    run: Path, server: RuntimeServer, clock: FastClock, fate: str, state: str, words: str
) -> None:
    server.faults.add("POST", "/jobs", f"job:{fate}", after=1)
    options = split(3, samples=6)
    result = evaluate(run, *options, samples=6, code=4)
    assert words in result.stderr
    assert "3 of 6 samples have a result" in result.stderr
    assert "samples 2 to 4" in result.stderr
    states = [record["state"] for record in records()]
    assert states == ["DONE", state, "DONE"]
    assert words in records()[1]["reason"]
    evaluate(run, *options, samples=6, code=4)
    assert call("jobs", "resume", "--all").exit_code == 4
    assert server.posts == 3
    finished = json.loads(evaluate(run, *options, "--retry-failed", "--json", samples=6).stdout)
    assert (server.posts, finished["samples"]) == (4, 6)
    assert sum(record["charged"] for record in records()) == sum(job.quantum_seconds for job in server.jobs)


def test_f16_a_calibration_in_between_is_flagged(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    server.hold()
    evaluate(run, "--no-wait")
    server.recalibrate("ibm_manila")
    server.release()
    (result,) = json.loads(call("jobs", "resume", "--all", "--json").stdout)["evaluations"]
    assert result["calibration_drifted"] is True
    kept = json.loads((Path(result["folder"]) / "calibration.json").read_text())
    assert kept["before"]["sha256"] != kept["after"]["sha256"]
    assert server.posts == 1


def test_f16_no_calibration_no_flag(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    assert json.loads(evaluate(run, "--json").stdout)["calibration_drifted"] is False


@pytest.mark.parametrize("action", ["nan", "wrong_shape", "missing_pub", "fewer_shots", "html", "empty", "garbage"])
def test_f20_a_spoiled_result_is_refused_and_kept(
    run: Path, server: RuntimeServer, clock: FastClock, ledger_file: Path, action: str
) -> None:
    server.faults.add("GET", "/jobs/*/results", action, times=None)
    result = evaluate(run, code=4)
    assert "bad result" in result.stderr
    (record,) = records()
    assert record["state"] == "SUBMITTED"
    assert record["reason"].startswith("bad result")
    spoiled = list(ledger_file.with_name("ledger-results").glob("*-bad-*"))
    assert spoiled
    assert (action == "empty") == (gzip.decompress(spoiled[0].read_bytes()) == b"")
    server.faults.clear()
    assert call("jobs", "resume", "--all").exit_code == 0
    assert server.posts == 1


@pytest.mark.parametrize("action", ["cut_body", "html"])
def test_f20_spoiled_once_on_its_way_is_fetched_again(
    run: Path, server: RuntimeServer, clock: FastClock, action: str
) -> None:
    server.faults.add("GET", "/jobs/*/results", action)
    evaluate(run)
    assert server.posts == 1


def test_f19_the_wall_clock_jumps_back(
    run: Path, server: RuntimeServer, clock: FastClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = iter(range(2_000_000_000, 0, -3600))
    monkeypatch.setattr("qkd_qiskit.execution.ledger.time.time", lambda: float(next(wall)))
    evaluate(run, *split(2))
    assert [record["number"] for record in records()] == [1, 2]
    assert call("jobs").exit_code == 0
    assert threading.active_count() < 50
