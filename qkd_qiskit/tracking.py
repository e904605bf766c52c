"""Following a training in TensorBoard or MLflow: exporters of `metrics.jsonl`. The files stay the truth."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from qkd_qiskit.exceptions import ConfigurationError, RunError
from qkd_qiskit.files import read_json, write_json
from qkd_qiskit.listening import Listener
from qkd_qiskit.suggestions import choose

MLFLOW_LIMIT = 500
"""Characters of a parameter's value that every version of MLflow takes."""


class Tracker(Protocol):
    """Sends one training's epochs somewhere."""

    def epoch(self, facts: dict[str, Any]) -> None:
        """Send the numbers of an epoch, as it stands in `metrics.jsonl`."""

    def close(self, *, ended: bool) -> None:
        """End the training's record; `ended` is false if the training was stopped."""


class TensorBoardTracker:
    """Writes event files under `<run>/tensorboard`; look at them with `tensorboard --logdir runs`."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._folder, self._settings = folder / "tensorboard", settings
        self._writer: Any = None

    def epoch(self, facts: dict[str, Any]) -> None:
        """Write each number as a scalar; a resumed training hides what an earlier one wrote after its epoch."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=facts["epoch"])
            listed = "\n".join(f"    {key} = {value}" for key, value in flatten_settings(self._settings).items())
            self._writer.add_text("settings", listed, facts["epoch"])
        for name, value in _numbers(facts).items():
            self._writer.add_scalar(name, value, facts["epoch"])
        self._writer.flush()

    def close(self, *, ended: bool) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()


class MlflowTracker:
    """Logs to MLflow's own tracking URI; the MLflow run's id is kept in `<run>/mlflow.json`, so that resuming adds."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._mlflow = import_module("mlflow")
        known = _read_known_run(folder / "mlflow.json")
        if known:
            self._mlflow.start_run(run_id=known)
            return
        begun = self._mlflow.start_run(run_name=folder.name)
        write_json(folder / "mlflow.json", {"run_id": begun.info.run_id})
        flat = flatten_settings(settings)
        self._mlflow.log_params({key: str(value)[:MLFLOW_LIMIT] for key, value in flat.items()})

    def epoch(self, facts: dict[str, Any]) -> None:
        """Log each number as a metric."""
        self._mlflow.log_metrics(_numbers(facts), step=facts["epoch"])

    def close(self, *, ended: bool) -> None:
        """End MLflow's run."""
        self._mlflow.end_run("FINISHED" if ended else "KILLED")


TRACKERS: dict[str, tuple[str, Callable[[Path, dict[str, Any]], Tracker]]] = {
    "tensorboard": ("torch.utils.tensorboard", TensorBoardTracker),
    "mlflow": ("mlflow", MlflowTracker),
}
"""Each tracker with the module that it needs."""


def track(listener: Listener, name: str) -> Listener:
    """Wrap a listener so that each training it hears of is tracked as well.

    Args:
        listener: goes on hearing everything.
        name: one of `TRACKERS`.

    Raises:
        ConfigurationError: the name is unknown, or its package is not installed.
    """
    module, build = choose("tracker", name, TRACKERS)
    try:
        import_module(module)
    except ImportError as error:
        raise ConfigurationError(
            f"--track {name} needs the package {name}; pip install 'qkd_qiskit[{name}]'"
        ) from error
    return TrackedListener(listener, name, build)


class TrackedListener(Listener):
    """Hands everything on, and epochs to a tracker too; a tracker that fails is let go with one warning."""

    def __init__(self, listener: Listener, name: str, build: Callable[[Path, dict[str, Any]], Tracker]) -> None:
        self._inner, self._name, self._build = listener, name, build
        self._tracker: Tracker | None = None
        self._failed = False
        self._ended = False

    def begin(self, folder: Path, settings: dict[str, Any]) -> None:
        """Open the tracker of a training that begins or goes on."""
        self._inner.begin(folder, settings)
        self._attempt(self._close_tracker)
        self._ended = False
        self._attempt(lambda: self._open(folder, settings))

    def epoch(self, facts: dict[str, Any], epochs: int) -> None:
        """Send an epoch."""
        self._inner.epoch(facts, epochs)
        self._ended = facts["epoch"] >= epochs
        if self._tracker is not None:
            self._attempt(lambda: self._tracker.epoch(facts) if self._tracker else None)

    def close(self) -> None:
        """Close the tracker, then the listener."""
        self._attempt(self._close_tracker)
        self._inner.close()

    def say(self, text: str) -> None:
        """Hand on."""
        self._inner.say(text)

    def step(self, facts: dict[str, Any]) -> None:
        """Hand on."""
        self._inner.step(facts)

    def progress(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Hand on."""
        self._inner.progress(task, done, total, detail)

    def _open(self, folder: Path, settings: dict[str, Any]) -> None:
        self._tracker = self._build(folder, settings)

    def _close_tracker(self) -> None:
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            tracker.close(ended=self._ended)

    def _attempt(self, action: Callable[[], None]) -> None:
        """Do something that may fail in any way: a picture on the wall must never stop a training."""
        if self._failed:
            return
        try:
            action()
        except Exception as error:
            self._failed, self._tracker = True, None
            reason = f"{type(error).__name__}: {error}".strip().splitlines()[0][:200]
            self._inner.say(
                f"warning: {self._name} failed ({reason}); the training goes on without it, metrics.jsonl has every "
                "epoch"
            )


def flatten_settings(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested settings into `section.key` and value."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= flatten_settings(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _numbers(facts: dict[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in facts.items()
        if name != "epoch" and isinstance(value, int | float) and not isinstance(value, bool)
    }


def _read_known_run(path: Path) -> str | None:
    try:
        return str(read_json(path)["run_id"]) if path.exists() else None
    except (RunError, KeyError, TypeError):
        return None
