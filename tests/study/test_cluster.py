"""The same study on a dask cluster: the same numbers, also with a worker killed; who is refused."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from qkd_qiskit.cli import main
from qkd_qiskit.exceptions import BackendError, ConfigurationError
from qkd_qiskit.study import cluster
from qkd_qiskit.study.running import read_study, run_study
from qkd_qiskit.study.working import Work

distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed (extra `cluster`)")


@pytest.mark.slow
def test_two_workers_of_a_cluster_one_killed_find_the_same_to_the_last_bit(
    tiny: Path, answers: Callable[[Path], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker dies by SIGKILL as soon as the first cell is done: all cells are there, each once."""
    run_study(str(tiny), Path("alone"), workers=1)
    spread_over, killed = cluster.spread_over, []

    def spread_and_kill(client: Any, works: Any) -> Any:
        for done in spread_over(client, works):
            if done.work.kind == "cell" and not killed:
                killed.append(next(iter(client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)
            yield done

    monkeypatch.setattr("qkd_qiskit.study.running.spread_over", spread_and_kill)
    result = run_study(str(tiny), Path("study"), cluster="local:2")
    assert killed
    assert result["units_done"] == 12
    assert answers(Path("study")) == answers(Path("alone"))


def test_an_address_that_does_not_answer_is_an_error_in_time(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "TIMEOUT", 1)
    began = time.monotonic()
    answer = CliRunner().invoke(main, ["run", str(tiny), "--out", "study", "--cluster", "tcp://127.0.0.1:9"])
    assert answer.exit_code == BackendError.exit_code
    assert "no dask scheduler answers at tcp://127.0.0.1:9" in answer.output
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("address", ["local:0", "local:many", "somewhere"])
def test_an_address_that_cannot_be_read_is_refused(tiny: Path, address: str) -> None:
    with pytest.raises(ConfigurationError, match="local:4"):
        run_study(str(tiny), Path("study"), cluster=address)


class Workers:
    """A client whose workers answer what they are told to."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers

    def run(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        versions, sees = function(*arguments)
        return {name: ({**versions, **other}, sees and here) for name, (other, here) in self._answers.items()}


def test_workers_of_another_version_or_another_disk_are_refused_by_name(tmp_path: Path) -> None:
    cluster.check_workers(Workers(first=({}, True), second=({}, True)), tmp_path)
    with pytest.raises(BackendError, match=r"worker second has qiskit 0\.1 \(here"):
        cluster.check_workers(Workers(first=({}, True), second=({"qiskit": "0.1"}, True)), tmp_path)
    with pytest.raises(BackendError, match="worker first does not see"):
        cluster.check_workers(Workers(first=({}, False)), tmp_path)
    with pytest.raises(BackendError, match="has no workers"):
        cluster.check_workers(Workers(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_work_can_be_sent(tiny: Path) -> None:
    from distributed.protocol import deserialize, serialize

    work = Work("cell", Path("study"), read_study(str(tiny)).cells[0])
    assert deserialize(*serialize(work)) == work
