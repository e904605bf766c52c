"""A page of results holds what its study holds, and how it was made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qkd_qiskit.study.running import run_study

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "publish.py"
JOB = """
description = "two digits, two sizes"
[train]
backend = "aer"
data = {dataset = "digits", classes = "0-1", train_per_class = 20, validation_per_class = 10, split_seed = 0}
teacher = {name = "none"}
training = {epochs = 2}
[study]
seeds = 2
compare = "qubits"
[[axes]]
name = "qubits"
values = [{label = 2, student = {qubits = 2}}, {label = 3, student = {qubits = 3}}]
"""


def publish(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=120)


@pytest.mark.usefixtures("workplace")
def test_a_page_has_the_study_s_table_command_versions_and_time() -> None:
    Path("little.toml").write_text(JOB)
    result = run_study("little.toml", Path("study"), workers=1)
    answer = publish("study", "--title", "Two sizes", "--out", "pages")
    assert answer.returncode == 0, answer.stderr
    page = Path("pages/little.md").read_text()
    assert page.startswith("# Two sizes\n\n    qkd-qiskit run little.toml\n")
    assert "The job file is `little.toml`: two digits, two sizes." in page
    assert "4 of 4 evaluations of 4 trainings; cells" in page
    assert "with 1 process on" in page
    assert page.rstrip().endswith(Path("study/table.md").read_text().rstrip())
    assert Path("pages/little.csv").read_text() == Path("study/table.csv").read_text()
    assert json.loads(Path("study/study.json").read_text())["name"] == "little"
    assert result["units_done"] == 4
    edited = next(Path("study/units").iterdir())
    edited.write_text(edited.read_text().replace('"seed": ', '"seed": 1'))
    answer = publish("study", "--out", "pages")
    assert (answer.returncode, "Traceback" in answer.stderr) == (1, False)
    assert f"{edited.name} was edited" in answer.stderr


@pytest.mark.usefixtures("workplace")
def test_a_page_is_refused_whose_command_would_not_make_it() -> None:
    Path("little.toml").write_text(JOB)
    run_study("little.toml", Path("part"), workers=1, only=["qubits=2"])
    answer = publish("part", "--out", "pages")
    assert answer.returncode == 1
    assert "2 of 4 evaluations are missing in part; run it again to finish it, or say with --only" in answer.stderr
    assert publish("part", "--out", "pages", "--only", "qubits=2").returncode == 0
    page = Path("pages/little.md").read_text()
    assert "qkd-qiskit run little.toml --only 'qubits=2'" in page
    assert "2 of 2 evaluations of 2 trainings" in page
    assert "no outcome" not in page
    answer = publish("part", "--out", "pages", "--only", "qubits=2", "--page", "two")
    assert answer.stdout == "pages/two.md, two.csv\n"
    assert "publish.py runs/little --only 'qubits=2' --page two\n" in Path("pages/two.md").read_text()
    answer = publish("part", "--out", "pages", "--only", "qubits=4")
    assert (answer.returncode, "Traceback" in answer.stderr) == (1, False)
    run_study("little.toml", Path("other"), workers=1, assignments=["training.epochs=1"])
    answer = publish("other", "--out", "pages")
    assert answer.returncode == 1
    assert "other was run with --set" in answer.stderr


@pytest.mark.usefixtures("workplace")
def test_a_study_without_outcomes_has_no_page() -> None:
    Path("study").mkdir()
    Path("study/study.json").write_text(json.dumps({"name": "little", "description": "", "units": []}))
    answer = publish("study", "--out", "pages")
    assert answer.returncode == 1
    assert "study has no outcomes yet; run the study first" in answer.stderr
    assert not Path("pages").exists()
