"""Following along: the flow tells a listener what happens; the listener decides what to show."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Listener:
    """Hears everything and shows nothing; subclass it to show something."""

    def begin(self, folder: Path, settings: dict[str, Any]) -> None:
        """Hear that a training begins or goes on: its run directory and its settings."""

    def say(self, text: str) -> None:
        """Hear one line about a phase that begins or a fact worth knowing."""

    def step(self, facts: dict[str, Any]) -> None:
        """Hear of a training step: epoch, step, steps, loss, samples, seconds."""

    def epoch(self, facts: dict[str, Any], epochs: int) -> None:
        """Hear of a finished epoch, as it stands in `metrics.jsonl`, and of how many there will be."""

    def close(self) -> None:
        """Hear that nothing more will come, whatever the reason."""

    def progress(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Hear how far a task is, and more about it in words."""
