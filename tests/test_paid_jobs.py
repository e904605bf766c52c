"""Paid jobs: never lost, never submitted twice. The faults F2 to F4, F11 to F13 of the fault table."""

from __future__ import annotations

import json
import math
import os
import resource
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from qkd_qiskit.exceptions import BudgetError
from qkd_qiskit.execution.ledger import Ledger
from qkd_qiskit.execution.waiting import Clock
from tests.paid import FastClock, call, evaluate, records, split
from tests.paid import clock as clock
from tests.paid import no_evaluations_yet as no_evaluations_yet
from tests.paid import run as run
from tests.paid import server as server
from tests.runtime_server import RuntimeServer

NUMBERS = ["--samples", "4", "--shots", "64"]
EVERY = int(os.environ.get("QKD_KILL_EVERY", "10"))
"""Every how many calls a process is killed; 1 is the whole test, a larger number takes a part of them."""


@pytest.mark.slow
def test_f2_killed_after_any_call(run: Path, server: RuntimeServer, tmp_path: Path) -> None:
    server.service.usage_limit_seconds = 1e6
    command = [sys.executable, "-m", "tests.kill_everywhere", str(run), str(tmp_path), "1", str(EVERY)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]
    stories = [json.loads(line) for line in answer.stdout.splitlines()]
    assert len(stories) >= 60 // EVERY
    for story in stories:
        assert story["finished"] == 0, (story, (tmp_path / f"{story['calls']}.log").read_text())
        assert [state for state, _ in story["records"]] == ["DONE", "DONE"], story
        assert [server.created_by_tag[tag] for _, tag in story["records"]] == [1, 1], story
    assert server.jobs_created == 2 * len(stories)


@pytest.mark.parametrize("action", ["drop_after", "reset_after", "html", "garbage", "status_after_accept:502"])
def test_f3_accepted_but_the_answer_is_lost(run: Path, server: RuntimeServer, clock: FastClock, action: str) -> None:
    server.faults.add("POST", "/jobs", action)
    result = evaluate(run)
    assert "by its tag" in result.stderr
    assert (server.jobs_created, server.posts) == (1, 1)
    assert [record["state"] for record in records()] == ["DONE"]


@pytest.mark.parametrize(("status", "times"), [(500, 1), (502, 2), (503, 6), (504, 4)])
def test_f4_refused_for_a_while(run: Path, server: RuntimeServer, clock: FastClock, status: int, times: int) -> None:
    server.faults.add("POST", "/jobs", f"status:{status}", times=times)
    evaluate(run, "--set", "settle_seconds=5")
    assert (server.jobs_created, server.posts) == (1, times + 1)


def test_f4_refused_after_accepting_six_times(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    server.faults.add("POST", "/jobs", "status_after_accept:503", times=6)
    evaluate(run)
    assert (server.jobs_created, server.posts) == (1, 1)


def test_f4_a_job_that_shows_up_late_is_found_and_the_extra_cancelled(
    run: Path, server: RuntimeServer, clock: FastClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qkd_qiskit.execution.connection import Connection

    find, asked = Connection.find, []
    monkeypatch.setattr(
        Connection, "find", lambda self, tag: asked.append(tag) or (find(self, tag) if asked[2:] else [])
    )
    server.hold()
    server.faults.add("POST", "/jobs", "drop_after")
    result = evaluate(run, "--set", "settle_seconds=1", "--no-wait")
    states = Counter(job.status for job in server.jobs)
    assert states == {"Queued": 1, "Cancelled": 1}
    assert "extra job" in result.stderr
    assert "cancelled before it ran" in result.stderr
    server.release()
    assert call("jobs", "resume", "--all").exit_code == 0
    assert records()[0]["state"] == "DONE"


@pytest.mark.parametrize("runs", [False, True])
def test_f4_a_job_that_is_listed_only_after_the_second_was_sent(
    run: Path, server: RuntimeServer, clock: FastClock, monkeypatch: pytest.MonkeyPatch, runs: bool
) -> None:
    server.hold()
    server.faults.add("POST", "/jobs", "late:3600")
    assert "extra" not in evaluate(run, "--set", "settle_seconds=1", "--no-wait").stderr
    assert Counter(job.status for job in server.jobs) == {"Queued": 2}, "nobody could have known"
    if runs:
        server.release()
    server.clock.advance(3601)
    sleep = Clock.sleep
    monkeypatch.setattr(Clock, "sleep", lambda self, seconds: (server.release(), sleep(self, seconds))[1])
    answer = call("jobs", "resume", "--all")
    first, second = server.jobs
    assert (answer.exit_code, second.status) == (0, "Completed")
    assert first.status == ("Completed" if runs else "Cancelled")
    assert f"extra job {first.id}" in answer.stderr
    told = "ran before it was found and cost 3 QPU seconds" if runs else "cancelled before it ran"
    assert told in answer.stderr
    assert told in call("jobs", "show", "1").stdout
    (result,) = json.loads(call("jobs", "resume", "1", "--json").stdout)["evaluations"]
    assert result["job_ids"] == [second.id]
    assert result["qpu_seconds_charged"] == first.quantum_seconds + second.quantum_seconds


def test_f4_a_late_job_is_cancelled_before_the_session_is_closed(
    run: Path, server: RuntimeServer, clock: FastClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.hold()
    server.faults.add("POST", "/jobs", "late:3600")
    change = Ledger.change

    def list_it_now(self, record, what, **columns):  # type: ignore[no-untyped-def]
        if what.startswith("submitted as") and server.jobs_created == 3:
            server.clock.advance(3601)
        return change(self, record, what, **columns)

    monkeypatch.setattr(Ledger, "change", list_it_now)
    answer = evaluate(run, "--set", "settle_seconds=1", "--no-wait", *split(2))
    assert Counter(job.status for job in server.jobs) == {"Cancelled": 1, "Queued": 2}
    assert "cancelled before it ran" in answer.stderr


def test_a_ledger_of_the_first_version_is_brought_up_to_date(ledger_file: Path) -> None:
    with Ledger(ledger_file) as ledger:
        ledger.add_evaluation("e", "run", "ibm_manila", {}, 10)
        record = ledger.intend("e", "unit", 1, 2)
    with sqlite3.connect(ledger_file) as database:
        database.execute("DROP TABLE extra_jobs")
        database.execute("PRAGMA user_version = 1")
    database.close()
    with Ledger(ledger_file) as ledger:
        ledger.add_extra_job(record, "x", 3.0, "extra job x")
        assert ledger.records("e") == [record]
        assert (ledger.charged_extra("e"), ledger.charged_extra("f")) == (3.0, 0.0)
        assert ledger.extra_jobs(record) == {"x"}
        with pytest.raises(BudgetError, match="5 of 10"):
            ledger.intend("e", "other", 6, 7)


def test_the_client_that_repeats_by_itself_is_caught(
    run: Path, server: RuntimeServer, clock: FastClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qkd_qiskit.execution.connection.hold", lambda service: None)
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda self, response=None: None)
    server.hold()
    server.faults.add("POST", "/jobs", "status_after_accept:502")
    result = evaluate(run, "--no-wait")
    assert Counter(job.status for job in server.jobs) == {"Queued": 1, "Cancelled": 1}
    assert "extra job" in result.stderr


def test_nothing_is_submitted_while_the_search_fails(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    server.faults.add("POST", "/jobs", "drop")
    server.faults.add("GET", "/jobs", "status:503", times=None)
    result = evaluate(run, code=6)
    assert "nothing was submitted" in result.stderr
    assert (server.jobs_created, server.posts) == (0, 1)
    assert records()[0]["state"] == "INTENT"
    evaluate(run, code=6)
    assert server.posts == 1
    server.faults.clear()
    evaluate(run)
    assert server.jobs_created == 1


def processor_seconds() -> float:
    """Time that the programs started here have used: a busy machine does not change it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_f11_a_second_process_refuses_at_once(
    run: Path, server: RuntimeServer, ledger_file: Path, tmp_path: Path
) -> None:
    with Ledger(ledger_file):
        began = time.monotonic()
        result = evaluate(run, code=9)
        assert time.monotonic() - began < 1
        assert "another qkd-qiskit is working with the ledger" in result.stderr
        began = processor_seconds()
        command = [sys.executable, "-m", "qkd_qiskit", "evaluate", str(run), "--backend", "ibm_manila", "--yes"]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 9
        assert processor_seconds() - began < 1, "nothing heavy is imported before the lock is tried"
    assert server.posts == 0


def test_f12_twice_costs_nothing(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    first = evaluate(run, "--json", *split(2))
    second = evaluate(run, "--json", *split(2))
    assert first.stdout == second.stdout
    assert server.posts == 2
    (Path(json.loads(first.stdout)["folder"]) / "result.json").unlink()
    third = json.loads(evaluate(run, "--json", *split(2)).stdout)
    assert third["job_ids"] == json.loads(first.stdout)["job_ids"]
    assert server.posts == 2


@pytest.mark.parametrize("confirmed", [False, True])
def test_other_cuts_of_the_same_evaluation_are_not_paid_again(
    run: Path, server: RuntimeServer, clock: FastClock, confirmed: bool
) -> None:
    server.hold()
    evaluate(run, "--no-wait")
    command = ["evaluate", str(run), "--backend", "ibm_manila", "--samples", "4", "--shots", "64", *split(3)]
    answer = call(*command, "--no-wait", *(["--yes"] if confirmed else []))
    assert (answer.exit_code, server.posts) == (0, 1)
    assert "cut with executions_per_job = 10000000; that is kept" in answer.stderr
    server.release()
    assert call("jobs", "resume", "--all").exit_code == 0
    assert server.posts == 1


def test_what_an_earlier_plan_has_paid_is_not_paid_again_unasked(
    run: Path, server: RuntimeServer, clock: FastClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of a library may write a circuit down otherwise, and so give its jobs other names."""
    server.hold()
    evaluate(run, "--no-wait")
    monkeypatch.setattr("qkd_qiskit.execution.units.describe_circuit", lambda compiled: "another way to write it")
    for command in (["jobs", "resume", "--all"], ["evaluate", str(run), "--backend", "ibm_manila", *NUMBERS]):
        answer = call(*command)
        assert (answer.exit_code, server.posts) == (8, 1)
        assert "1 job(s) of an earlier plan can't be used" in answer.stderr
    evaluate(run, "--no-wait")
    assert server.posts == 2, "asked for"


def test_the_account_has_to_have_what_is_still_to_be_paid(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    options = split(3, samples=6)
    server.faults.add("POST", "/jobs", "status:400", after=1)
    evaluate(run, *options, samples=6, code=4)
    assert server.jobs_created == 1
    for seconds, code, jobs in ((4, 8, 1), (5, 0, 3)):
        server.service.usage_limit_seconds = sum(job.quantum_seconds for job in server.jobs) + seconds
        evaluate(run, *options, "--max-qpu-seconds", "301", samples=6, code=code)
        assert server.jobs_created == jobs


def test_a_stored_result_that_is_gone_is_fetched_not_measured_again(
    run: Path, server: RuntimeServer, clock: FastClock, ledger_file: Path
) -> None:
    folder = Path(json.loads(evaluate(run, "--json").stdout)["folder"])
    (folder / "result.json").unlink()
    (stored,) = ledger_file.with_name("ledger-results").iterdir()
    stored.write_bytes(b"damaged")
    evaluate(run)
    assert server.posts == 1


def test_f13_a_budget_below_the_price(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    result = evaluate(run, "--max-qpu-seconds", "1", code=8)
    assert "--max-qpu-seconds 9" in result.stderr
    assert server.posts == 0


def test_f13_a_budget_hit_midway_keeps_what_there_is(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    options = split(3, samples=6)
    for stopped in (0, 1):
        server.faults.add("POST", "/jobs", "job:1305", after=stopped)
    cap = ["--max-qpu-seconds", "26"]
    result = evaluate(run, *options, *cap, samples=6, code=4)
    spent = sum(job.quantum_seconds for job in server.jobs)
    twice = [2 * record["reserved"] for record in records() if record["state"] == "FAILED"]
    needed = math.ceil(spent + sum(twice))
    assert f"--retry-failed --max-qpu-seconds {needed}" in result.stderr, "with less they would be stopped again"
    (partial,) = (run / "evaluations").glob("*/partial.json")
    kept = json.loads(partial.read_text())
    assert 0 < kept["counts"]["samples"] < kept["counts"]["planned"] == 6
    for too_small in (cap, ["--max-qpu-seconds", str(needed - 1)]):
        refused = evaluate(run, *options, *too_small, "--retry-failed", samples=6, code=8)
        assert f"--max-qpu-seconds {needed}" in refused.stderr
    assert server.posts == 3
    evaluate(run, *options, "--max-qpu-seconds", str(needed), "--retry-failed", samples=6)
    assert server.posts == 5
    assert [record["reserved"] for record in records()[3:]] == twice


def test_a_budget_that_extra_jobs_have_used_up(ledger_file: Path) -> None:
    with Ledger(ledger_file) as ledger:
        ledger.add_evaluation("e", "run", "ibm_manila", {}, 10)
        record = ledger.intend("e", "first", 2, 5)
        ledger.add_extra_job(record, "x", 3.0, "extra job x")
        with pytest.raises(BudgetError, match=r"8 of 10 .* --max-qpu-seconds 13"):
            ledger.intend("e", "second", 2, 5)
        assert [record.unit for record in ledger.records()] == ["first"]


def test_what_could_not_be_submitted_hides_no_result(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    options = split(3, samples=6)
    server.faults.add("POST", "/jobs", "job:error")
    evaluate(run, *options, samples=6, code=4)
    server.faults.add("POST", "/jobs", "status:400")
    result = evaluate(run, *options, "--retry-failed", samples=6, code=4)
    (partial,) = (run / "evaluations").glob("*/partial.json")
    assert json.loads(partial.read_text())["counts"]["samples"] == 4
    assert result.stderr.count("not submitted") == 1


def test_the_ledger_of_a_newer_version_is_left_alone(ledger_file: Path) -> None:
    with Ledger(ledger_file):
        pass
    database = sqlite3.connect(ledger_file)
    database.execute("PRAGMA user_version = 99")
    database.close()
    result = call("jobs")
    assert result.exit_code == 9
    assert "newer than this program" in result.stderr


@pytest.mark.parametrize("table", ["evaluations", "events", "sessions"])
def test_a_ledger_that_lacks_a_table_is_refused_by_name(
    run: Path, server: RuntimeServer, ledger_file: Path, clock: FastClock, table: str
) -> None:
    server.hold()
    evaluate(run, "--no-wait")
    with sqlite3.connect(ledger_file) as database:
        database.execute(f"DROP TABLE {table}")
    database.close()
    command = ["jobs", "show", "1"] if table == "events" else ["jobs", "resume", "--all"]
    answer = call(*command)
    assert answer.exit_code == 9
    assert f"no such table: {table}" in answer.stderr
    assert server.posts == 1


def test_a_file_that_is_no_ledger_is_refused_by_name(ledger_file: Path) -> None:
    ledger_file.write_text("precious notes" * 100)
    assert "can't open the ledger" in call("jobs").stderr
    assert ledger_file.read_text().startswith("precious")
