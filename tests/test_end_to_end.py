"""The whole way of a physicist with an account: distil under the device's noise, measure on the device, compare."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paid import FastClock, call
from tests.paid import clock as clock
from tests.runtime_server import RuntimeServer

SAMPLES, SHOTS = 200, 1024


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of three qubits that tells eight digits apart, trained under the noise of brisbane's snapshot."""
    out = tmp_path_factory.mktemp("whole") / "run"
    small = ["--classes", "0-7", "--qubits", "3", "--layers", "1", "--epochs", "4", "--teacher", "none", "--quiet"]
    assert call("train", "--backend", "aer_noisy", *small, "--out", str(out)).exit_code == 0
    return out


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RuntimeServer]:
    with RuntimeServer(["ibm_brisbane"]) as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


def measure(run: Path, backend: str, *options: str) -> dict:
    numbers = ["--samples", str(SAMPLES), "--shots", str(SHOTS)]
    answer = call("evaluate", str(run), "--backend", backend, *numbers, "--json", *options)
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.count("\n") == 1
    return json.loads(answer.stdout)


def test_one_job_one_pub_and_the_accuracy_of_the_snapshot(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    device = measure(run, "ibm_brisbane", "--yes")
    assert (server.posts, server.jobs_created, len(device["job_ids"])) == (1, 1, 1)
    (job,) = server.jobs
    assert len(job.params["quantum_program"]["items"]) == 1, "one PUB"
    assert (device["pubs"], device["circuit_executions"]) == (1, (SAMPLES + 2) * SHOTS), "two sentinels"
    assert device["circuit_executions"] == device["price"]["executions"]
    assert device["price"]["saving"] == 2**3 - 1
    assert device["sentinels"]["drifted"] is False
    assert device["calibration_drifted"] is False
    assert device["qpu_seconds_charged"] == job.quantum_seconds <= job.cost

    snapshot = measure(run, "fake_brisbane")
    assert device["isa"]["measured_qubits"] == snapshot["isa"]["measured_qubits"]
    low, high = snapshot["accuracy_interval"]
    assert low <= device["accuracy"] <= high
    assert 0.3 < device["accuracy"] < 1, "there is something to get wrong"
    assert measure(run, "ibm_brisbane", "--yes") == device
    assert server.posts == 1
