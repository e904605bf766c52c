"""A study of seconds: two digits, two qubits, two epochs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TINY = """
description = "two digits"

[train]
backend = {name = "aer", layouts = 1}
data = {dataset = "digits", classes = "0-1", train_per_class = 20, validation_per_class = 10, split_seed = 0}
student = {qubits = 2, layers = 1}
teacher = {epochs = 1}
training = {epochs = 3}

[study]
seeds = [0, 3]
compare = "teacher"

[[axes]]
name = "teacher"
values = [{label = "none", teacher = {name = "none"}}, {label = "lenet", teacher = {name = "lenet"}}]

[[conditions]]
name = "noise"
values = [
  {label = 0, backend = {name = "aer_noisy", noise = {depolarizing_2q = 0.05, readout = 0.03}, noise_scale = 0.0}},
  {label = 2, backend = {name = "aer_noisy", noise = {depolarizing_2q = 0.05, readout = 0.03}, noise_scale = 2.0}},
  {label = "counted", backend = {name = "aer_noisy", noise = {readout = 0.03}}, shots = 256, samples = 30},
]
"""


@pytest.fixture
def tiny(workplace: Path) -> Path:
    """The job file of the tiny study, in an empty working folder."""
    path = workplace / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def tiny_text() -> str:
    return TINY


@pytest.fixture(scope="session")
def answers() -> Callable[[Path], dict[str, dict[str, Any]]]:
    """Read what a study found, without how long it took."""

    def read(folder: Path) -> dict[str, dict[str, Any]]:
        found = {}
        for path in sorted((folder / "units").glob("*.json")):
            content = json.loads(path.read_text())
            for name in ("seconds", "evaluation_seconds", "sha256"):
                del content[name]
            found[path.stem] = content
        return found

    return read
