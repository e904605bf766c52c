"""The short form of `benchmarks/soak.py`: units through the real client under every fault at 5 %."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_every_planned_job_is_created_once_under_a_storm_of_faults() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), "40", "0", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr[-2000:]
    assert answer.stdout.splitlines()[-1] == "2 of 2 seeds: every planned job created once"
