"""What the tests of paid jobs share: a small student, the command line, a server, a clock that costs no time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from qkd_qiskit.cli import main
from qkd_qiskit.execution.waiting import Clock
from tests.runtime_server import RuntimeServer

SMALL = ["--classes", "0-1", "--qubits", "2", "--epochs", "2", "--teacher", "none", "--backend", "aer_noisy"]


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, [*arguments])
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result


def evaluate(run: Path, *options: str, samples: int = 4, shots: int = 64, code: int = 0) -> Result:
    """Evaluate on the server's device, pay without being asked, expect an exit code."""
    numbers = ["--samples", str(samples), "--shots", str(shots)]
    result = call("evaluate", str(run), "--backend", "ibm_manila", "--yes", *numbers, *options)
    assert result.exit_code == code, result.output
    return result


def split(units: int, *, samples: int = 4, shots: int = 64) -> list[str]:
    """Options that cut an evaluation, and the sample that is measured again, into that many jobs."""
    return ["--set", f"executions_per_job={-(-(samples + 1) // units) * shots}"]


def records() -> list[dict]:
    """List the ledger's records."""
    return json.loads(call("jobs", "--json").stdout)["jobs"]


class FastClock:
    """Sleeping moves the time and takes none."""

    def __init__(self) -> None:
        self.ahead, self.naps = 0.0, []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FastClock:
        def sleep(_: Clock, seconds: float) -> None:
            assert seconds >= 0
            self.naps.append(seconds)
            self.ahead += seconds
            time.sleep(0.002)

        monkeypatch.setattr(Clock, "sleep", sleep)
        monkeypatch.setattr(Clock, "now", lambda _: time.monotonic() + self.ahead)
        monkeypatch.setattr("urllib3.util.retry.Retry._sleep_backoff", lambda self: None)
        return self


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FastClock:
    return FastClock().install(monkeypatch)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student trained under the noise of manila's snapshot, on that device's circuit."""
    out = tmp_path_factory.mktemp("paid") / "run"
    assert call("train", *SMALL, "--set", "backend.noise=fake_manila", "--out", str(out), "--quiet").exit_code == 0
    return out


@pytest.fixture(autouse=True)
def no_evaluations_yet(run: Path) -> None:
    """Forget what an earlier test has evaluated."""
    import shutil

    shutil.rmtree(run / "evaluations", ignore_errors=True)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RuntimeServer]:
    with RuntimeServer(["ibm_manila"], sampling="zeros") as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running
