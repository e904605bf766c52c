"""What a person sees on a terminal. Progress goes to stderr, so that stdout stays for results."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from qkd_qiskit.listening import Listener

PLAIN_SECONDS = 10.0
"""Where there is no terminal, a task's progress is printed as a line at most this often."""


def open_listener(*, quiet: bool) -> Listener:
    """Choose how to follow along: not at all, with live bars on a terminal, else with plain lines."""
    if quiet:
        return Listener()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    return LiveListener(console) if console.is_terminal else PlainListener()


def describe_epoch(facts: dict[str, Any], epochs: int) -> str:
    """Put an epoch into one line."""
    left = facts["seconds"] * (epochs - facts["epoch"])
    return (
        f"epoch {facts['epoch']:>3}/{epochs}  loss {facts['loss']:.4f} (task {facts['task_loss']:.4f}, "
        f"distillation {facts['distillation_loss']:.4f})  train {facts['train_accuracy']:.2%}  validation "
        f"{facts['validation_accuracy']:.2%}  {facts['samples_per_second']:.0f}/s  {describe_seconds(left)} left"
    )


def describe_seconds(seconds: float) -> str:
    """Write a duration as `45 s`, `3 min 20 s` or `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class PlainListener(Listener):
    """One line for each fact and epoch: for logs and pipes."""

    def __init__(self) -> None:
        self._printed = 0.0

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=sys.stderr, flush=True)

    def epoch(self, facts: dict[str, Any], epochs: int) -> None:
        """Print an epoch's line."""
        self.say(describe_epoch(facts, epochs))
        self._printed = time.monotonic()

    def step(self, facts: dict[str, Any]) -> None:
        """Print a line now and then in long epochs."""
        self.progress(f"epoch {facts['epoch']}, loss {facts['loss']:.4f}, step", facts["step"], facts["steps"])

    def progress(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Print a line now and then, and one at the end."""
        if time.monotonic() - self._printed > PLAIN_SECONDS or done == total > 1:
            self._printed = time.monotonic()
            self.say(f"{task} {done}/{total}{'  ' if detail else ''}{detail}")


class LiveListener(PlainListener):
    """A live bar for the running task under the printed lines."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._progress: Progress | None = None
        self._label = ""

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._close()
        self._console.print(text, markup=False)

    def step(self, facts: dict[str, Any]) -> None:
        """Move the bar of the epoch."""
        rate = facts["samples"] / max(facts["seconds"], 1e-9)
        detail = f"loss {facts['loss']:.4f}  {rate:.0f} samples/s"
        self._move(f"epoch {facts['epoch']}", facts["step"], facts["steps"], detail)

    def progress(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Move the bar of a task."""
        self._move(task, done, total, detail)

    def _move(self, label: str, done: int, total: int, detail: str) -> None:
        if self._progress is None or label != self._label:
            self._close()
            self._label = label
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[detail]}"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._progress.start()
            self._progress.add_task(label, total=total, detail=detail)
        self._progress.update(self._progress.task_ids[0], completed=done, detail=detail)
        if done >= total:
            self._close()

    def close(self) -> None:
        """Take the bar away and give the cursor back."""
        self._close()

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def show_facts(title: str, facts: dict[str, str]) -> None:
    """Print a small table of facts to stdout."""
    width = max(len(name) for name in facts)
    print(title)
    for name, value in facts.items():
        print(f"  {name:<{width}}  {value}")


def show_table(columns: list[str], rows: list[list[str]]) -> None:
    """Print a table to stdout, aligned, without frames."""
    widths = [max(len(row[column]) for row in [columns, *rows]) for column in range(len(columns))]
    for row in [columns, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
