"""The price first, the cap, and the commands around a paid job: `estimate`, `jobs`, `doctor`; no token anywhere."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from qkd_qiskit.execution.ledger import Ledger
from qkd_qiskit.report.reading import read_run
from qkd_qiskit.runs import RunDirectory
from tests.paid import FastClock, call, evaluate, records, split
from tests.paid import clock as clock
from tests.paid import no_evaluations_yet as no_evaluations_yet
from tests.paid import run as run
from tests.paid import server as server
from tests.runtime_server import RuntimeServer

WHERE = ["--backend", "ibm_manila", "--samples", "4", "--shots", "64"]


def test_estimate_says_the_price_and_submits_nothing(run: Path, server: RuntimeServer) -> None:
    told = json.loads(call("estimate", str(run), *WHERE, "--json").stdout)
    price = told["price"]
    assert (price["samples"], price["bases"], price["shots"], price["executions"]) == (4, 1, 64, 5 * 64)
    assert price["saving"] == 3, "two qubits have three parities, all measured in one basis"
    assert price["seconds"] == pytest.approx(2 + 5 * 64 * (price["repetition_delay"] + price["circuit_seconds"]))
    assert 1e-6 < price["circuit_seconds"] < 1e-4
    assert price["remaining"] == 600
    text = call("estimate", str(run), *WHERE).stdout
    assert "3 times fewer than EstimatorQNN.forward" in text
    assert server.posts == 0


def test_a_dry_run_submits_nothing(run: Path, server: RuntimeServer) -> None:
    assert json.loads(evaluate(run, "--dry-run", "--json").stdout)["state"] == "planned"
    assert (server.posts, records()) == (0, [])
    above = ["--dry-run", "--max-qpu-seconds", "3"]
    refused = json.loads(evaluate(run, *above, "--json").stdout)["would_be_refused"]
    assert "up to 9 in all" in refused
    assert "nothing was submitted" not in refused
    text = evaluate(run, *above).stdout
    assert "would be refused" in text
    assert "or --max-qpu-seconds 9" in text
    server.service.usage_limit_seconds = 5
    text = evaluate(run, *above).stdout
    assert "--max-qpu-seconds" not in text, "the account has 5 left, so 9 is no advice"


def test_what_is_not_paid_leaves_nothing_behind(run: Path, server: RuntimeServer) -> None:
    evaluate(run, "--dry-run")
    evaluate(run, "--max-qpu-seconds", "1", code=8)
    assert call("estimate", str(run), *WHERE).exit_code == 0
    assert call("evaluate", str(run), *WHERE).exit_code == 8
    for wrong, code in (("ibm_nowhere", 4), ("fake_nowhere", 2)):
        assert call("evaluate", str(run), "--backend", wrong, "--samples", "2").exit_code == code
    assert not (run / "evaluations").exists()
    assert read_run(RunDirectory(run)).unfinished == ()


def test_the_price_of_a_simulator_is_refused_by_name(run: Path, ledger_file: Path) -> None:
    for command in (["estimate"], ["evaluate", "--dry-run"]):
        answer = call(*command, str(run), "--backend", "aer")
        assert answer.exit_code == 2
        assert "aer is a simulator" in answer.stderr
    assert not (run / "evaluations").exists()


def test_a_folder_without_a_job_is_not_unfinished(run: Path, server: RuntimeServer) -> None:
    server.hold()
    evaluate(run, "--no-wait")
    (begun,) = read_run(RunDirectory(run)).unfinished
    planned = run / "evaluations" / "ibm_manila-0123456789ab"
    planned.mkdir()
    shutil.copy(run / "evaluations" / begun / "identity.json", planned)
    assert read_run(RunDirectory(run)).unfinished == (begun,), "earlier versions left such folders behind"


def test_nobody_pays_without_being_asked(run: Path, server: RuntimeServer) -> None:
    result = call("evaluate", str(run), *WHERE)
    assert result.exit_code == 8
    assert "give --yes" in result.stderr
    assert server.posts == 0


@pytest.mark.parametrize(("answer", "posts"), [(False, 0), (True, 1)])
def test_the_answer_decides(
    run: Path, server: RuntimeServer, clock: FastClock, monkeypatch: pytest.MonkeyPatch, answer: bool, posts: int
) -> None:
    monkeypatch.setattr("qkd_qiskit.cli_evaluate.ask_price", lambda price: answer)
    assert call("evaluate", str(run), *WHERE).exit_code == (0 if answer else 8)
    assert server.posts == posts


def test_more_than_the_account_has_left_is_refused(run: Path, server: RuntimeServer) -> None:
    server.service.usage_limit_seconds = 2
    assert "the account has 2 left" in evaluate(run, code=8).stderr
    assert server.posts == 0


def test_every_job_has_a_longest_time_and_a_tag_of_its_own(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    result = json.loads(evaluate(run, "--json", *split(2)).stdout)
    assert [2 < job.cost <= 10 for job in server.jobs] == [True, True]
    tags = [tag for job in server.jobs for tag in job.tags]
    assert len(set(tags)) == 2
    assert all(tag.startswith("qkd:") for tag in tags)
    assert result["qpu_seconds_charged"] == sum(job.quantum_seconds for job in server.jobs)
    assert result["qpu_seconds_estimated"] == pytest.approx(4.09, abs=0.03)


def test_no_wait_then_jobs_then_resume(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    server.hold()
    submitted = evaluate(run, "--no-wait")
    assert "jobs resume --all" in submitted.stdout
    assert [session.accepting_jobs for session in server.service.sessions.values()] == [False]
    table = call("jobs").stdout.splitlines()
    assert table[0].split()[:6] == ["id", "run", "backend", "job", "state", "age"]
    assert "submitted" in table[1]
    shown = call("jobs", "show", "1").stdout
    assert server.jobs[0].id in shown
    assert "submitted as" in shown
    for words in ("samples", "shots", "QPU time", "2.1 s estimated, stopped at 8.1 s, not yet told"):
        assert words in shown
    server.release()
    for form in (["resume", "--all"], ["resume", "1"], ["resume", server.jobs[0].id]):
        finished = call("jobs", *form)
        assert finished.exit_code == 0, finished.output
        assert "accuracy" in finished.stdout
    for form in (["resume", "--all"], ["wait"]):
        finished = call("jobs", *form)
        assert (finished.exit_code, finished.output) == (0, "nothing to resume\n")
    assert server.posts == 1
    assert "done" in call("jobs").stdout


def test_cancel(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    server.hold()
    evaluate(run, "--no-wait")
    assert call("jobs", "cancel", "1").stdout == "1 job(s) cancelled\n"
    assert (server.jobs[0].status, records()[0]["state"]) == ("Cancelled", "CANCELLED")
    result = evaluate(run, code=4)
    assert "cancelled by you" in result.stderr
    unsent = evaluate(run, "--no-wait", code=4)
    assert "cancelled by you\ngive --retry-failed to pay" in unsent.stderr
    assert "submitted" not in unsent.stdout
    for form, code in ((["--retry-failed"], 8), (["--yes"], 2)):
        assert call("jobs", "resume", "1", *form).exit_code == code
    assert call("evaluate", str(run), *WHERE, "--retry-failed").exit_code == 8, "a second payment is asked for"
    assert server.posts == 1
    server.release()
    answer = call("jobs", "resume", "1", "--retry-failed", "--yes")
    assert (answer.exit_code, server.posts) == (0, 2)
    assert "1 job(s) that failed or were cancelled are to be paid once more" in answer.stderr


def test_a_cancelled_intent_is_not_submitted_by_resuming(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    server.faults.add("POST", "/jobs", "drop")
    server.faults.add("GET", "/jobs", "status:503", times=None)
    evaluate(run, code=6)
    server.faults.clear()
    assert call("jobs", "cancel", "1").stdout == "1 job(s) cancelled\n"
    posts = server.posts
    for form in (["jobs", "resume", "--all"], ["jobs", "wait"]):
        answer = call(*form)
        assert (answer.exit_code, server.posts) == (0, posts)
        assert "you cancelled it; --retry-failed pays" in answer.stderr
    answer = call("jobs", "resume", "1")
    assert (answer.exit_code, server.posts) == (4, posts)
    assert "not submitted: cancelled by you" in answer.stderr
    evaluate(run, "--retry-failed")
    assert (server.posts, server.jobs_created) == (posts + 1, 1)


def test_the_rest_of_a_cancelled_evaluation_is_not_submitted_by_resuming(
    run: Path, server: RuntimeServer, clock: FastClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    intend = Ledger.intend

    def stop_at_the_second(self: Ledger, *rest: Any) -> Any:
        if self.records():
            raise KeyboardInterrupt
        return intend(self, *rest)

    server.hold()
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "intend", stop_at_the_second)
        evaluate(run, *split(3), "--no-wait", code=130)
    assert call("jobs", "cancel", records()[0]["evaluation"][:12]).exit_code == 0
    server.release()
    assert call("jobs", "resume", "--all").exit_code == 0
    answer = call("jobs", "resume", "1")
    assert (answer.exit_code, server.posts) == (4, 1)
    assert "you cancelled jobs of this evaluation; give evaluate --yes" in answer.stderr
    evaluate(run, *split(3), code=4)
    assert server.posts == 3
    evaluate(run, *split(3), "--retry-failed")
    assert server.posts == 4


def test_cancelling_while_the_service_is_away(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    server.hold()
    evaluate(run, "--no-wait")
    server.faults.add("POST", "/jobs/*/cancel", "status:503", times=None)
    answer = call("jobs", "cancel", "1")
    assert answer.exit_code == 4
    assert "can't cancel job" in answer.stderr
    assert records()[0]["state"] == "SUBMITTED"
    server.faults.clear()
    assert call("jobs", "cancel", "1").exit_code == 0


def test_a_run_that_was_thrown_away_is_history_and_a_broken_one_no_reason_to_stop(
    run: Path, server: RuntimeServer, clock: FastClock, tmp_path: Path
) -> None:
    for name in ("old", "broken"):
        shutil.copytree(run, tmp_path / name)
    evaluate(tmp_path / "old")
    evaluate(tmp_path / "broken", "--no-wait", samples=3)
    evaluate(run, "--no-wait", samples=5)
    shutil.rmtree(tmp_path / "old")
    shutil.rmtree(tmp_path / "broken")
    answer = call("jobs", "resume", "--all", "--json")
    assert answer.exit_code == 5
    told = json.loads(answer.stdout)
    assert [result["samples"] for result in told["evaluations"]] == [5]
    assert (told["failed"], told["errors"][0]["exit_code"]) == (1, 5)
    assert "broken" in told["errors"][0]["error"]


def test_an_unknown_id_and_no_id(ledger_file: Path) -> None:
    for form in (["show", "x"], ["cancel", "x"], ["resume", "x"]):
        answer = call("jobs", *form)
        assert (answer.exit_code, f"there is no ledger {ledger_file}" in answer.stderr) == (9, True)
    assert "give an ID or --all" in call("jobs", "resume").stderr
    for form in (["resume", "--all"], ["wait"]):
        assert call("jobs", *form).stdout == "nothing to resume\n"
    assert call("jobs", "--json").stdout == '{"jobs": []}\n'
    assert call("jobs").stdout == f"no jobs: there is no ledger {ledger_file}\n"
    assert f"{ledger_file}: none yet" in json.loads(call("doctor", "--json", "--timeout", "0.1").stdout)["ledger"]
    assert not list(ledger_file.parent.glob("*.sqlite*")), "looking makes no ledger"
    with Ledger(ledger_file):
        pass
    assert "has no job 'x'" in call("jobs", "show", "x").stderr
    assert call("jobs").stdout == f"no jobs: the ledger {ledger_file} is empty\n"


def test_ctrl_c_says_how_to_come_back(
    run: Path, server: RuntimeServer, clock: FastClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("qkd_qiskit.execution.collection.wait_until_final", interrupt)
        assert "come back with `qkd-qiskit jobs resume 1`" in evaluate(run, code=130).stderr
    assert not any(session.accepting_jobs for session in server.service.sessions.values())
    assert call("jobs", "resume", "--all").exit_code == 0
    assert server.posts == 1


def test_a_job_file_asks_for_yes_too(run: Path, server: RuntimeServer, workplace: Path, clock: FastClock) -> None:
    Path("paid.toml").write_text(
        "report = false\n[train]\nbackend = 'aer'\ndata = {classes = '0-1', train_per_class = 8}\n"
        "teacher = {name = 'none'}\nstudent = {qubits = 2}\ntraining = {epochs = 1}\n"
        "[[evaluate]]\nbackend = 'ibm_manila'\nsamples = 2\nshots = 10\n"
    )
    assert call("run", "paid.toml").exit_code == 8
    assert call("run", "paid.toml", "--yes").exit_code == 0
    assert server.posts == 1


def test_doctor_with_an_account(run: Path, server: RuntimeServer) -> None:
    began = time.monotonic()
    found = json.loads(call("doctor", "--json").stdout)
    assert time.monotonic() - began < 5
    assert (found["account"], found["devices"]) == ("works", "ibm_manila")
    assert "plan" in found
    assert found["QPU seconds left"] == "600"
    assert "none yet" in found["ledger"]
    assert "qiskit-ibm-runtime 0." in found["versions"]


def test_doctor_without_an_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_the_account(tmp_path, monkeypatch)
    result = call("doctor", "--timeout", "60")
    assert result.exit_code == 0
    assert "none, which only ibm_* devices need" in result.stdout


def forget_the_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("QISKIT_IBM", "IAM_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(
        "qiskit_ibm_runtime.accounts.management._DEFAULT_ACCOUNT_CONFIG_JSON_FILE", str(tmp_path / "none.json")
    )


def test_doctor_says_no_when_the_account_is_of_no_use(
    run: Path, server: RuntimeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.faults.add("*", "*", "delay:2", times=None)
    late = call("doctor", "--timeout", "0.2")
    assert late.exit_code == 4
    assert "no answer from the service within 0.2 s; give --timeout 1" in late.stdout
    server.faults.clear()
    server.revoke_token()
    refused = call("doctor", "--timeout", "60")
    assert refused.exit_code == 7
    assert "refused the account" in refused.stdout
    server.revoke_token(False)
    monkeypatch.setenv("QISKIT_IBM_CHANNEL", "foo")
    wrong = call("doctor", "--timeout", "60")
    assert wrong.exit_code == 4
    assert "Invalid `channel` value" in wrong.stdout
    answer = call("estimate", str(run), *WHERE)
    assert answer.exit_code == 4
    assert "correct the QISKIT_IBM_* variables" in answer.stderr
    assert "token" not in answer.stderr


@pytest.mark.parametrize(("content", "words"), [("{}", "no account in it"), ('{"a": {}}', "READABLE BY OTHERS")])
def test_doctor_reads_whether_there_is_anything_to_hide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, words: str
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    kept = tmp_path / ".qiskit" / "qiskit-ibm.json"
    kept.parent.mkdir()
    kept.write_text(content)
    kept.chmod(0o644)
    assert words in json.loads(call("doctor", "--json", "--timeout", "0.1").stdout)["account file"]


def test_a_service_that_is_away_is_told_in_plain_words(
    run: Path, server: RuntimeServer, clock: FastClock, recwarn: pytest.WarningsRecorder
) -> None:
    server.refuse()
    answer = call("estimate", str(run), *WHERE)
    assert answer.exit_code == 4
    assert f"no connection to 127.0.0.1:{server.port} (Connection refused)" in answer.stderr
    assert "see that the network is there" in answer.stderr
    assert "\\" not in answer.output
    assert not [item for item in recwarn if "access token" in str(item.message)]
    assert "1<=x<=10800" in call("evaluate", str(run), *WHERE, "--max-qpu-seconds", "-3").stderr


CANARY = "canary-4b7e1f-token"


@pytest.mark.parametrize("fault", [None, ("POST", "/jobs", "401")])
def test_no_token_in_any_output_or_file(run: Path, tmp_path: Path, fault: tuple[str, str, str] | None) -> None:
    with RuntimeServer(["ibm_manila"], sampling="zeros", token=CANARY) as server:
        if fault:
            server.faults.add(*fault, times=None)
        environment = {
            **os.environ,
            **server.environment(),
            "QKD_LEDGER": str(tmp_path / "ledger.sqlite"),
            "QISKIT_IBM_RUNTIME_LOG_LEVEL": "DEBUG",
            "QISKIT_IBM_RUNTIME_LOG_FILE": str(tmp_path / "client.log"),
        }
        command = [sys.executable, "-m", "qkd_qiskit", "evaluate", str(run), *WHERE, "--yes", "--max-qpu-seconds", "20"]
        answer = subprocess.run(command, capture_output=True, env=environment, timeout=60, check=False)
    assert answer.returncode == (7 if fault else 0), answer.stderr
    written = [path for folder in (run, tmp_path) for path in folder.rglob("*") if path.is_file()]
    everything = answer.stdout + answer.stderr + b"".join(path.read_bytes() for path in written)
    assert len(written) > 5
    assert everything.count(CANARY.encode()) == 0
    assert b"Bearer" not in everything


def test_no_option_takes_a_token() -> None:
    from qkd_qiskit.cli import main

    for command in main.commands.values():
        assert not any("token" in option for parameter in command.params for option in parameter.opts)
    assert logging.getLogger("qkd_qiskit").level == logging.NOTSET
