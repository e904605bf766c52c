"""Following a training elsewhere. MLflow is too large to install for a test: its module is a fake that records."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import qkd_qiskit as qkd
from qkd_qiskit.cli import main
from qkd_qiskit.exceptions import ConfigurationError, InterruptedRunError
from qkd_qiskit.listening import Listener
from qkd_qiskit.tracking import TRACKERS, TensorBoardTracker, track

SMALL = {
    "data": {"classes": "0-1", "train_per_class": 8},
    "teacher": {"name": "none"},
    "student": {"qubits": 2},
    "training": {"epochs": 3},
}


class Heard(Listener):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.epochs: list[int] = []
        self.closed = 0

    def say(self, text: str) -> None:
        self.lines.append(text)

    def epoch(self, facts: dict[str, Any], epochs: int) -> None:
        self.epochs.append(facts["epoch"])

    def close(self) -> None:
        self.closed += 1


class FakeMlflow(types.ModuleType):
    """Records calls under MLflow's names and signatures; fails at one epoch if told to."""

    def __init__(self, fail_at: int = 0) -> None:
        super().__init__("mlflow")
        self.calls: list[tuple[str, Any]] = []
        self.fail_at = fail_at

    def start_run(self, run_id: str | None = None, *, run_name: str | None = None) -> Any:
        self.calls.append(("start_run", run_id or run_name))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="abc123"))

    def log_params(self, params: dict[str, Any]) -> None:
        self.calls.append(("log_params", params))

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if step == self.fail_at:
            raise ConnectionError("tracking server went away")
        self.calls.append(("log_metrics", (step, metrics)))

    def end_run(self, status: str = "FINISHED") -> None:
        self.calls.append(("end_run", status))

    def named(self, name: str) -> list[Any]:
        return [value for called, value in self.calls if called == name]


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> FakeMlflow:
    fake = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    return fake


def train(path: Path, listener: Listener, **changes: Any) -> None:
    qkd.train_run(qkd.read_settings({**SMALL, **changes}), path, listener=listener)


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_mlflow_gets_the_settings_and_every_epoch_as_the_file_has_it(mlflow, tmp_path):
    heard = Heard()
    listener = track(heard, "mlflow")
    train(tmp_path / "a", listener)
    listener.close()
    assert mlflow.named("start_run") == ["a"]
    (params,) = mlflow.named("log_params")
    assert params["student.qubits"] == "2"
    sent = mlflow.named("log_metrics")
    lines = read_lines(tmp_path / "a")
    assert [step for step, _ in sent] == [1, 2, 3] == heard.epochs
    for (_, metrics), line in zip(sent, lines):
        assert metrics == {name: value for name, value in line.items() if name != "epoch"}
    assert mlflow.named("end_run") == ["FINISHED"]
    assert heard.closed == 1


def test_a_stopped_training_ends_as_killed_and_goes_on_in_the_same_mlflow_run(mlflow, tmp_path):
    class Impatient(Heard):
        def epoch(self, facts: dict[str, Any], epochs: int) -> None:
            if facts["epoch"] == 2:
                raise KeyboardInterrupt

    listener = track(Impatient(), "mlflow")
    with pytest.raises(InterruptedRunError):
        train(tmp_path / "a", listener)
    listener.close()
    assert mlflow.named("end_run") == ["KILLED"]
    listener = track(Heard(), "mlflow")
    qkd.train_run(qkd.read_settings(SMALL), tmp_path / "a", resume=True, listener=listener)
    listener.close()
    assert mlflow.named("start_run") == ["a", "abc123"]
    assert len(mlflow.named("log_params")) == 1
    assert [step for step, _ in mlflow.named("log_metrics")] == [1, 3]  # 2 was interrupted before it was sent
    assert mlflow.named("end_run") == ["KILLED", "FINISHED"]


def test_a_tracker_that_fails_warns_once_and_changes_nothing(mlflow, tmp_path):
    train(tmp_path / "alone", Listener())
    mlflow.fail_at = 2
    heard = Heard()
    listener = track(heard, "mlflow")
    train(tmp_path / "tracked", listener)
    listener.close()
    (warning,) = [line for line in heard.lines if "mlflow failed" in line]
    assert "tracking server went away" in warning
    assert "metrics.jsonl has every epoch" in warning
    timed = {"seconds", "samples_per_second"}
    alone, tracked = (
        [{key: value for key, value in line.items() if key not in timed} for line in read_lines(tmp_path / name)]
        for name in ("alone", "tracked")
    )
    assert alone == tracked
    assert len(tracked) == 3
    assert (tmp_path / "tracked" / "result.json").exists()


@pytest.mark.parametrize("name", sorted(TRACKERS))
@pytest.mark.parametrize("command", [["train"], ["run", "smoke"]])
def test_a_missing_package_is_said_before_anything_is_made(name, command, workplace, monkeypatch):
    for module in ("mlflow", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, module, None)
    answer = CliRunner().invoke(main, [*command, "--track", name, "--json"])
    assert answer.exit_code == ConfigurationError.exit_code
    assert f"pip install 'qkd_qiskit[{name}]'" in json.loads(answer.stdout)["error"]
    assert not list(workplace.iterdir())


def test_the_command_line_offers_the_trackers_there_are(mlflow, workplace):
    answer = CliRunner().invoke(main, ["train", "--track", "wandb"])
    assert answer.exit_code == 2
    assert all(name in answer.output for name in TRACKERS)
    options = ["--classes", "0-1", "--teacher", "none", "--epochs", "1", "--train-per-class", "8", "--qubits", "2"]
    answer = CliRunner().invoke(main, ["train", "--track", "mlflow", *options, "--out", "mine", "--json"])
    assert answer.exit_code == 0, answer.output
    assert [step for step, _ in mlflow.named("log_metrics")] == [1]
    assert mlflow.named("end_run") == ["FINISHED"]


def test_tensorboard_reads_back_what_was_written(tmp_path):
    pytest.importorskip("tensorboard", reason="pip install 'qkd_qiskit[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for epochs in (range(1, 5), range(3, 6)):  # killed after 4, resumed from the checkpoint of 2
        tracker = TensorBoardTracker(tmp_path, SMALL)
        for epoch in epochs:
            tracker.epoch({"epoch": epoch, "loss": epoch + epochs.start / 4, "name": "text"})
        tracker.close(ended=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["loss"]
    assert [(item.step, item.value) for item in events.Scalars("loss")] == [
        (1, 1.25), (2, 2.25), (3, 3.75), (4, 4.75), (5, 5.75),
    ]  # fmt: skip
