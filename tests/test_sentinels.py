"""Sentinels show a device that drifts while a job runs, and leave a steady one in peace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit

from qkd_qiskit.pipeline.sentinels import Drift, append_sentinels, count_sentinels
from tests.paid import FastClock, evaluate, records
from tests.paid import clock as clock
from tests.paid import no_evaluations_yet as no_evaluations_yet
from tests.paid import run as run
from tests.runtime_server import RuntimeServer
from tests.runtime_server.devices import Device
from tests.runtime_server.simulate import sample

FLIPS = 0.15


def drifting(
    circuit: QuantumCircuit, values: np.ndarray, shots: int, device: Device, seed: int
) -> dict[str, np.ndarray]:
    """Measure the second half of the rows with a readout that has grown worse."""
    bits, rng = sample(circuit, values, shots, device, seed), np.random.default_rng(seed)
    late = len(values) // 2
    for table in bits.values():
        table[late:] ^= rng.random(table[late:].shape) < FLIPS
    return bits


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RuntimeServer]:
    """A server that measures what the device's noise gives."""
    with RuntimeServer(["ibm_manila"]) as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.mark.parametrize("steady", [True, False])
def test_a_drift_within_a_job_is_seen_and_a_steady_device_is_not_blamed(
    run: Path, server: RuntimeServer, clock: FastClock, steady: bool
) -> None:
    if not steady:
        server.service.sampler = drifting
    answer = evaluate(run, "--json", samples=40, shots=1000)
    result = json.loads(answer.stdout)
    seen = result["sentinels"]
    assert server.jobs_created == 1
    assert (result["pubs"], result["samples"], seen["samples"]) == (1, 40, 2)
    assert seen["drifted"] is not steady
    assert ("THE DEVICE DRIFTED" in seen["line"]) is not steady
    assert "THE DEVICE DRIFTED" not in answer.stderr, "--json is quiet"
    start, end, expected = (np.array(seen[name]) for name in ("start", "end", "expected"))
    with np.load(Path(result["folder"]) / "expectation_values.npz") as arrays:
        np.testing.assert_array_equal(arrays["expectation_values"][:2], start)
        assert arrays["expectation_values"].shape == (40, 3)
    noise = np.sqrt((1 - expected**2) / 1000)
    assert (np.abs(start - expected) < 5 * noise).all(), "the snapshot's noise by Aer, another road than the server's"
    bits = np.array([1, 1, 2])  # a flip of each bit with probability p shrinks a parity by 1 - 2 p for each of its bits
    late = expected if steady else expected * (1 - 2 * FLIPS) ** bits
    assert (np.abs(end - late) < 5 * np.sqrt(1 / 1000)).all()


def test_sentinels_are_in_the_price_and_can_be_left_out(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    result = json.loads(evaluate(run, "--json", "--set", "sentinels=0").stdout)
    assert (result["sentinels"], result["price"]["executions"]) == (None, 4 * 64)
    answer = evaluate(run)
    assert "4 samples and 1 of them again x 1 basis x 64 shots = 320 executions" in answer.stderr
    assert "1 sample measured first and last differ by" in answer.stdout


def test_with_several_jobs_the_first_begins_and_the_last_ends_with_them(
    run: Path, server: RuntimeServer, clock: FastClock
) -> None:
    result = json.loads(evaluate(run, "--json", "--set", f"executions_per_job={21 * 64}", samples=40).stdout)
    assert len(result["job_ids"]) == 2
    assert result["sentinels"]["samples"] == 2
    assert result["counts"]["samples"] == 40


def test_a_job_of_sentinels_alone_is_not_missed(run: Path, server: RuntimeServer, clock: FastClock) -> None:
    server.faults.add("POST", "/jobs", "job:error", after=4)
    options = ["--set", "executions_per_job=64"]
    result = json.loads(evaluate(run, "--json", *options).stdout)
    assert [record["state"] for record in records()] == ["DONE"] * 4 + ["FAILED"]
    assert (result["counts"]["samples"], result["sentinels"]) == (4, None)


@pytest.mark.parametrize(
    ("samples", "wanted", "count"), [(1, 2, 1), (4, 2, 1), (40, 2, 2), (39, 2, 1), (200, 100, 10), (200, 0, 0)]
)
def test_one_for_twenty_samples_at_most(samples: int, wanted: int, count: int) -> None:
    assert count_sentinels(samples, wanted) == count
    values = np.arange(3.0 * samples).reshape(samples, 3)
    assert len(append_sentinels(values, count)) == samples + count


def test_a_steady_device_is_rarely_blamed_whatever_is_measured() -> None:
    """Of 2,000 steady devices with 30 independent values each, 0.27 % are blamed: 5.4, and hardly ever 15."""
    generator, shots = np.random.default_rng(0), 1000
    expected = generator.uniform(-1, 1, (2, 15))
    blamed = 0
    for _ in range(2000):
        start, end = (2 * generator.binomial(shots, (1 + expected) / 2) / shots - 1 for _ in range(2))
        errors = [np.sqrt((1 - table**2) / shots) for table in (start, end)]
        blamed += Drift(start, end, *errors, shots, expected).drifted
    assert 0 < blamed < 15


def test_values_without_spread_or_standard_error_are_no_drift() -> None:
    one, none = np.ones((1, 3)), np.zeros((1, 3))
    assert not Drift(one, one, none, none, 64, None).drifted
    unsure = Drift(one, -one, np.full((1, 3), np.nan), none, 64, None)
    assert (unsure.drifted, unsure.sigmas) == (False, 0.0)
    assert unsure.describe()["standard_error"] == [[None, None, None]]
