"""A run directory: what was asked, how it was run, what happened."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from qkd_qiskit.config import Settings, validate
from qkd_qiskit.exceptions import ConfigurationError, RunError
from qkd_qiskit.files import read_json, write_atomically, write_json

ROOT = Path("runs")
CHART = "device_chart.json"
"""Errors of all qubits and couplings of the device, beside the calibration of those in use; `null` without a device."""
PACKAGES = ("qiskit", "qiskit-aer", "qiskit-ibm-runtime", "qiskit-machine-learning", "torch", "torchvision", "numpy")


class RunDirectory:
    """The folder of one training run and its evaluations.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def config(self) -> Path:
        """The resolved settings."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """One line of JSON for each epoch."""
        return self.path / "metrics.jsonl"

    @property
    def last(self) -> Path:
        """The checkpoint after the newest epoch."""
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        """The checkpoint after the epoch that was best on the validation images."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def circuits(self) -> Path:
        """The logical and the ISA circuit."""
        return self.path / "student.qpy"

    @property
    def result(self) -> Path:
        """What came of the training; it exists when the training has ended."""
        return self.path / "result.json"

    @property
    def evaluations(self) -> Path:
        """The folder of evaluations."""
        return self.path / "evaluations"

    @property
    def is_finished(self) -> bool:
        """Whether the training has ended."""
        return self.result.exists()

    def settings(self) -> Settings:
        """Read the settings.

        Raises:
            RunError: this is not a run directory, or its config.json is damaged.
        """
        if not self.config.exists():
            raise RunError(f"{self.path} is not a run directory (no config.json); runs are listed by `ls {ROOT}`")
        content = read_json(self.config)
        if not isinstance(content, dict):
            raise RunError(f"{self.config} is damaged: it should hold a table of settings")
        try:
            return validate(Settings, content, str(self.config))
        except ConfigurationError as error:
            raise RunError(str(error)) from error

    def start(self, settings: Settings) -> None:
        """Make the folder and write what was asked.

        Raises:
            RunError: the folder holds another run, or can't be written.
        """
        if self.config.exists():
            same = read_json(self.config) == settings.model_dump(mode="json")
            hint = "it has these very settings: give --resume to go on" if same else "its settings differ"
            raise RunError(f"{self.path} already holds a run ({hint}); choose another --out, nothing was changed")
        try:
            if self.path.exists() and any(entry.name != ".lock" for entry in self.path.iterdir()):
                raise RunError(f"{self.path} is not empty and not a run; choose another --out, nothing was changed")
            write_json(self.config, settings.model_dump(mode="json"))
            self.last.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"can't make the run directory {self.path}: {error.strerror}; choose another --out"
            ) from error

    def discard_start(self) -> None:
        """Take back what `start` and compilation wrote, unless an epoch has been kept: a typo leaves nothing behind."""
        if self.last.exists() or self.best.exists():
            return
        beside = [self.path / name for name in ("environment.json", CHART)]
        written = [self.config, self.circuits, self.circuits.with_suffix(".json"), *beside]
        with contextlib.suppress(OSError):
            for path in written:
                path.unlink(missing_ok=True)
            self.last.parent.rmdir()

    def discard_if_empty(self) -> None:
        """Remove the folder if nothing but the lock's file is in it."""
        with contextlib.suppress(OSError):
            if {entry.name for entry in self.path.iterdir()} <= {".lock"}:
                (self.path / ".lock").unlink(missing_ok=True)
                self.path.rmdir()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other process from writing here.

        Raises:
            RunError: another process is writing, or the folder can't be written.
        """
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise RunError(f"another process is working in {self.path}; wait for it") from error
        except OSError as error:
            raise RunError(f"can't write in {self.path}: {error.strerror or error}; choose another --out") from error
        try:
            yield
        finally:
            lock.release()

    def read_metrics(self) -> list[dict[str, Any]]:
        """Read the finished epochs; a half-written last line (a kill, a full disk) is left out.

        Raises:
            RunError: the file can't be read, or a line that is not the last is damaged.
        """
        if not self.metrics.exists():
            return []
        try:
            lines = self.metrics.read_bytes().splitlines()
        except OSError as error:
            raise RunError(f"{self.metrics} can't be read: {error.strerror}") from error
        epochs = []
        for number, line in enumerate(lines, start=1):
            try:
                facts = json.loads(line)
                epochs.append({**facts, "epoch": int(facts["epoch"])})
            except (ValueError, TypeError, KeyError) as error:
                if number < len(lines):
                    raise RunError(f"{self.metrics}, line {number}, is damaged; restore it") from error
        return epochs

    def rewind_metrics(self, epoch: int, newest: dict[str, Any] | None) -> None:
        """Keep the lines up to the epoch of a checkpoint, each once, and add that epoch's own if it is missing."""
        if epoch == 0:
            self.metrics.unlink(missing_ok=True)
            return
        kept = {line["epoch"]: line for line in self.read_metrics() if line["epoch"] <= epoch}
        if newest is not None:
            kept.setdefault(epoch, newest)
        text = "".join(json.dumps(kept[number]) + "\n" for number in sorted(kept))
        write_atomically(self.metrics, lambda aside: _write_text(aside, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def choose_directory(settings: Settings) -> Path:
    """Make up an unused run directory from the settings and the time."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    name = f"{settings.data.dataset}-{settings.student.kind}-{Path(settings.backend.name).stem}-{stamp}"
    candidates = (ROOT / (name if copy == 0 else f"{name}-{copy + 1}") for copy in range(1000))
    return next(path for path in candidates if not path.exists())


def find_run(name: str | None, *, finished: bool = True) -> RunDirectory:
    """Find a run by path or by name under `runs/`; the latest one if no name is given.

    Args:
        name: what the user typed.
        finished: whether the latest trained one is wanted (one that has ended, if any has), or the latest unfinished.

    Raises:
        RunError: there is no such run; those there are get named.
    """
    known = sorted(ROOT.glob("*/config.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    if name is None:
        fitting = [RunDirectory(path.parent) for path in known]
        if finished:  # those that have ended come first, whichever is the latest
            fitting = sorted((run for run in fitting if run.best.exists()), key=lambda run: not run.is_finished)
        else:
            fitting = [run for run in fitting if not run.is_finished]
        if not fitting:
            wanted = "trained run" if finished else "unfinished run"
            raise RunError(f"there is no {wanted} under {ROOT}/; make one with `qkd-qiskit train --backend aer_noisy`")
        return fitting[0]
    for path in (Path(name), ROOT / name):
        with contextlib.suppress(OSError):  # a name that is too long for the file system is no run either
            if (path / "config.json").exists():
                return RunDirectory(path)
    latest = ", ".join(str(path.parent) for path in known[:5]) or "none yet"
    raise RunError(f"there is no run {name[:80]!r}; the latest are: {latest}")


def is_study(folder: Path) -> bool:
    """Tell a study's folder from a run's."""
    return (folder / "study.json").exists() or (folder / "units").is_dir()


def describe_environment(**more: Any) -> dict[str, Any]:
    """Collect versions and platform; `more` is added as it is."""
    return {
        "versions": {name: _version(name) for name in ("qkd_qiskit", *PACKAGES)},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "git_revision": _git_revision(),
        **more,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """Return the revision of the checkout that is running, if it is one."""
    here = Path(__file__).parent.parent
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
