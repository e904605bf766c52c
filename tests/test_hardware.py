"""Evaluation on an IBM device, through the real Runtime client, on the suite's own loopback server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from qkd_qiskit.cli import main
from tests.runtime_server import RuntimeServer


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, [*arguments])
    assert "Traceback" not in result.output
    return result


def call_json(*arguments: str) -> dict:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student trained under the noise of manila's snapshot, on that device's circuit."""
    out = tmp_path_factory.mktemp("hardware") / "run"
    small = ["--classes", "0-1", "--qubits", "2", "--epochs", "4", "--teacher", "none", "--backend", "aer_noisy"]
    assert call("train", *small, "--set", "backend.noise=fake_manila", "--out", str(out), "--quiet").exit_code == 0
    return out


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qkd_qiskit.execution.waiting.Clock.sleep", lambda self, seconds: time.sleep(0.05))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RuntimeServer]:
    with RuntimeServer(["ibm_manila"]) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.mark.parametrize("mode", ["auto", "session", "batch", "job"])
def test_one_job_one_pub_in_every_mode(run: Path, server: RuntimeServer, mode: str) -> None:
    shots = {"auto": 300, "session": 301, "batch": 302, "job": 303}[mode]
    options = [
        "evaluate",
        "--yes",
        str(run),
        "--backend",
        "ibm_manila",
        "--samples",
        "30",
        "--shots",
        str(shots),
        "--mode",
        mode,
    ]
    result = call_json(*options)
    assert server.jobs_created == 1
    assert len(result["job_ids"]) == 1
    assert (result["pubs"], result["circuit_executions"]) == (1, (30 + 1) * shots), "one sample is measured again"
    assert result["mode"] == ("session" if mode == "auto" else mode)
    assert result["qpu_seconds_charged"] > 0
    assert result["qpu_seconds_estimated"] > 2
    assert call_json(*options) == result
    assert server.jobs_created == 1


def test_the_device_measures_what_its_snapshot_gives(run: Path, server: RuntimeServer) -> None:
    device = call_json("evaluate", str(run), "--yes", "--backend", "ibm_manila", "--samples", "40", "--shots", "1000")
    snapshot = call_json(
        "evaluate", str(run), "--backend", "aer_noisy", "--samples", "40", "--set", "noise=fake_manila"
    )
    assert device["isa"]["measured_qubits"] == snapshot["isa"]["measured_qubits"]
    tables = []
    for result in (device, snapshot):
        with np.load(Path(result["folder"]) / "expectation_values.npz") as arrays:
            tables.append((arrays["expectation_values"], arrays["standard_errors"]))
    spread = np.maximum(tables[0][1], 1 / 1000)
    assert (np.abs(tables[0][0] - tables[1][0]) < 5.5 * spread).all()
    assert abs(device["accuracy"] - snapshot["accuracy"]) <= 0.2


def test_auto_takes_the_best_mode_that_the_plan_allows(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RuntimeServer(["ibm_manila"], plan="open") as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        options = ["evaluate", str(run), "--yes", "--backend", "ibm_manila", "--samples", "4", "--shots", "50"]
        result = call(*options)
        assert result.exit_code == 0, result.output
        assert "no session on this plan" in result.stderr
        assert server.jobs_created == 1
        refused = call(*options, "--mode", "session", "--set", "resilience_level=1")
        assert refused.exit_code == 4
        assert "try --mode auto" in refused.stderr


def test_an_interrupted_wait_finds_its_job_again(
    run: Path, server: RuntimeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qkd_qiskit.execution import collection

    options = ["evaluate", str(run), "--yes", "--backend", "ibm_manila", "--samples", "6", "--shots", "64"]

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(collection, "wait_until_final", interrupt)
        stopped = call(*options)
    assert stopped.exit_code == 130
    assert "1 submitted job(s) go on" in stopped.stderr
    result = call(*options, "--json")
    assert json.loads(result.stdout)["samples"] == 6
    assert server.jobs_created == 1


def test_a_device_that_the_account_lacks_is_answered_with_those_it_has(run: Path, server: RuntimeServer) -> None:
    result = call("evaluate", str(run), "--backend", "ibm_brisbane", "--quiet")
    assert result.exit_code == 4
    assert "no device ibm_brisbane; it has: ibm_manila" in result.stderr
    assert "--backend fake_brisbane" in result.stderr


def test_a_failed_job_is_reported_with_its_reason(run: Path, server: RuntimeServer) -> None:
    server.faults.add("POST", "/jobs", "job:1305")
    options = ["--samples", "4", "--shots", "4000"]
    result = call("evaluate", str(run), "--yes", "--backend", "ibm_manila", *options, "--quiet")
    assert result.exit_code == 4
    assert "maximum execution time" in result.stderr
    assert server.jobs_created == 1


@pytest.mark.parametrize("action", ["nan", "wrong_shape", "html", "empty"])
def test_a_spoiled_result_is_refused(run: Path, server: RuntimeServer, action: str) -> None:
    server.faults.add("GET", "/jobs/*/results", action, times=10)
    shots = {"nan": 31, "wrong_shape": 32, "html": 33, "empty": 34}[action]
    options = [
        "evaluate",
        str(run),
        "--yes",
        "--backend",
        "ibm_manila",
        "--samples",
        "4",
        "--shots",
        str(shots),
        "--quiet",
    ]
    result = call(*options)
    assert result.exit_code == 4, result.output
    assert "job" in result.stderr
    server.faults.clear()
    assert call(*options).exit_code == 0
    assert server.jobs_created == 1


def test_no_exact_values_from_hardware(run: Path, server: RuntimeServer) -> None:
    result = call("evaluate", str(run), "--yes", "--backend", "ibm_manila", "--set", "shots=0", "--quiet")
    assert result.exit_code == 2
    assert "can't give exact values" in result.stderr
