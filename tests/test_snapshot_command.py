"""`qkd-qiskit snapshot` with the real client on the local server, and what is done with the file afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from qkd_qiskit.execution.account import connect
from qkd_qiskit.execution.fakes import open_fake
from qkd_qiskit.execution.profiles import resolve_backend
from qkd_qiskit.execution.runtime import open_device
from tests.execution.test_snapshots import all_numbers
from tests.paid import SMALL, FastClock, call
from tests.paid import clock as clock
from tests.runtime_server import RuntimeServer
from tests.runtime_server.account import CRN


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RuntimeServer]:
    with RuntimeServer(["ibm_brisbane"], sampling="zeros") as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


def test_the_accounts_device_is_kept_and_nothing_is_paid(server: RuntimeServer, workplace: Path) -> None:
    taken = json.loads(call("snapshot", "ibm_brisbane", "--json").stdout)
    assert taken.keys() == {"snapshot", "new", "device", "calibrated", "taken", "sha256"}
    assert (taken["new"], taken["device"]) == (True, "ibm_brisbane")
    path = Path(taken["snapshot"])
    assert path.parent == Path("snapshots")
    assert path.name == f"ibm_brisbane-20250226-{taken['sha256'][:8]}.json"
    assert (server.posts, server.jobs_created) == (0, 0)
    text = path.read_text()
    for secret in ("loopback-api-key", CRN, "crn:", "0123456789abcdef", "eyJ"):
        assert secret not in text

    device = open_device(resolve_backend("ibm_brisbane"), connect("ibm_brisbane"))
    opened = open_fake(str(path))
    assert all_numbers(opened.target) == all_numbers(device.target)
    assert opened.properties().last_update_date == device.backend.properties().last_update_date

    again = call("snapshot", "ibm_brisbane")
    assert f"{path}, which was there already" in again.stdout
    assert list(Path("snapshots").iterdir()) == [path]


def test_a_new_calibration_is_another_file(server: RuntimeServer, workplace: Path) -> None:
    first = json.loads(call("snapshot", "ibm_brisbane", "--json").stdout)
    server.service.devices["ibm_brisbane"].recalibrate(datetime(2026, 11, 3, 1, 2, 3, tzinfo=UTC))
    second = json.loads(call("snapshot", "ibm_brisbane", "--json").stdout)
    assert second["calibrated"] == "2026-11-03T01:02:03+00:00"
    assert Path(second["snapshot"]).name.startswith("ibm_brisbane-20261103-")
    assert first["sha256"] != second["sha256"]


def test_what_the_account_does_not_have_is_refused(server: RuntimeServer, clock: FastClock, workplace: Path) -> None:
    answer = call("snapshot", "ibm_nowhere", "--json")
    assert (answer.exit_code, json.loads(answer.stdout)["exit_code"]) == (4, 4)
    assert "it has: ibm_brisbane" in answer.stderr
    for path in ("/backends*", "/jobs"):
        server.faults.add("GET", path, "401", times=None)
    assert call("snapshot", "ibm_brisbane").exit_code == 7
    assert not list(workplace.iterdir())


def test_what_is_said_can_be_typed(workplace: Path, tmp_path: Path) -> None:
    said = call("snapshot", "fake_manila", "--out", "my files").stdout
    (path,) = Path("my files").iterdir()
    assert f"train --backend aer_noisy --set backend.noise='{path}'" in said
    assert f"evaluate --backend aer_noisy --set noise='{path}'" in said
    trained = call("train", *SMALL, "--set", f"backend.noise={path}", "--out", "run", "--json")
    assert trained.exit_code == 0, trained.output
    few = ["--samples", "4", "--json"]
    exact = call("evaluate", "run", "--backend", "aer_noisy", "--set", f"noise={path}", *few)
    Path("mine.toml").write_text(f'kind = "fake"\ndevice = "{path}"\nshots = 64\n')
    for backend in ("./mine.toml", str(path)):
        counted = call("evaluate", "run", "--backend", backend, *few)
        assert counted.exit_code == 0, counted.output
        assert json.loads(counted.stdout)["isa"] == json.loads(exact.stdout)["isa"], "the circuit that was trained"


def test_what_is_wrong_is_said_before_anything_is_trained(workplace: Path) -> None:
    for name, code, words in (("fake_manilla", 2, "fake_manila"), ("aer", 2, "no device behind it")):
        answer = call("snapshot", name)
        assert (answer.exit_code, words in answer.stderr) == (code, True)
    answer = call("train", *SMALL, "--set", "backend.noise=snapshots/x.json", "--json")
    assert json.loads(answer.stdout)["exit_code"] == 3
    assert "there is no snapshot snapshots/x.json" in answer.stderr
