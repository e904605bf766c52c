"""Studies as they are run: killed, resumed, spread over processes, edited, run twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from qkd_qiskit.cli import main
from qkd_qiskit.exceptions import DataError, RunError
from qkd_qiskit.execution.aer import evaluate_on_aer
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.fast_evaluation import measure_fast
from qkd_qiskit.pipeline.loading import load_placed
from qkd_qiskit.runs import RunDirectory
from qkd_qiskit.study import working
from qkd_qiskit.study.outcomes import load_outcomes
from qkd_qiskit.study.running import read_study, run_study
from qkd_qiskit.study.sittings import read_sittings
from qkd_qiskit.study.working import Done, Work, run_directory

Answers = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_text: str) -> Path:
    """The tiny study, done in this process."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(tiny_text)
    result = run_study(str(folder / "tiny.toml"), folder / "study", workers=1)
    assert (result["cells"], result["units"], result["units_done"]) == (4, 12, 12)
    return folder / "study"


def start(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "qkd_qiskit", "run", "tiny.toml", "--quiet", *arguments]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE)


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it never came to that")


def units(folder: Path) -> list[Path]:
    return sorted((folder / "units").glob("*.json"))


def children(parent: int, having: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_text()
            if int((path / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent and having in line:
                found.append(int(path.name))
        except (OSError, IndexError):
            continue
    return found


def test_outcomes_hold_what_the_runs_and_aer_say(finished: Path) -> None:
    outcomes = load_outcomes(finished)
    by_noise: dict[Any, int] = {}
    for outcome in outcomes:
        run = RunDirectory(finished / "cells" / outcome.training)
        result = json.loads(run.result.read_text())
        assert outcome.validation == tuple(result["validation_counts"])
        by_noise[outcome.labels["noise"]] = by_noise.get(outcome.labels["noise"], 0) + 1
        if outcome.labels["noise"] == 0:
            assert [outcome.correct, outcome.samples] == result["test_counts"]
            assert outcome.contraction == pytest.approx(1, abs=1e-9)
        elif outcome.labels["noise"] == 2:
            assert outcome.contraction is not None
            assert 0.3 < outcome.contraction < 0.999
        assert (outcome.teacher is None) == (outcome.labels["teacher"] == "none")
        assert outcome.shots == (256 if outcome.labels["noise"] == "counted" else 0)
    assert by_noise == {0: 4, 2: 4, "counted": 4}
    assert {outcome.samples for outcome in outcomes if outcome.shots} == {30}


def test_fast_evaluation_is_aers(finished: Path) -> None:
    outcome = next(item for item in load_outcomes(finished) if item.labels["noise"] == 2)
    placed, dataset = load_placed(RunDirectory(finished / "cells" / outcome.training))
    values = placed.student.parameter_values(dataset.test.pixels)
    backend = read_study(str(finished.parent / "tiny.toml")).cells[0].evaluations[1].backend
    place = working.open_simulator(backend, 2)
    compiled = place.compile(placed.logical)
    noise = place.noise(compiled.physical_qubits)
    exact, _ = evaluate_on_aer(compiled.cropped, values, noise_model=noise)
    np.testing.assert_allclose(measure_fast(place, compiled, values, 0), exact, atol=1e-9)
    logits = placed.student.classify(exact)
    assert int((logits.argmax(1) == dataset.test.labels.numpy()).sum()) == outcome.correct
    counted = working.open_simulator(backend.model_copy(update={"shots": 1000}), 2)
    errors = (measure_fast(counted, compiled, values, 0) - exact) / np.sqrt((1 - exact**2) / 1000)
    assert 0.8 < errors.std() < 1.2


def test_done_before_is_not_done_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "train_run", lambda *_, **__: pytest.fail("trained again"))
    before = {path: path.stat().st_mtime_ns for path in units(finished)}
    result = run_study(str(finished.parent / "tiny.toml"), finished, workers=1)
    assert result["units_done"] == 12
    assert {path: path.stat().st_mtime_ns for path in units(finished)} == before
    plan = CliRunner().invoke(main, ["run", str(finished.parent / "tiny.toml"), "--out", str(finished), "--dry-run"])
    assert "4 cells, 4 trained; 12 evaluations, 12 done" in plan.output


@pytest.mark.slow
def test_two_workers_one_of_them_killed_find_the_same_to_the_last_bit(
    finished: Path, tiny: Path, answers: Callable[[Path], Answers]
) -> None:
    process = start("--out", "study", "--workers", "2")
    wait_for(lambda: list(Path("study/cells").glob("*/metrics.jsonl")))
    os.kill(wait_for(lambda: children(process.pid, "popen_loky_posix"))[0], signal.SIGKILL)
    assert process.wait(120) == 0, process.stderr and process.stderr.read()
    assert answers(Path("study")) == answers(finished)


@pytest.mark.slow
def test_killed_in_the_middle_only_what_is_missing_is_done(
    finished: Path, tiny: Path, answers: Callable[[Path], Answers], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start("--out", "study", "--workers", "1")
    wait_for(lambda: units(Path("study")))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in units(Path("study"))}
    trained = {path.parent.name for path in Path("study/cells").glob("*/result.json")}
    begun = []
    monkeypatch.setattr(working, "train_run", _watch(working.train_run, begun))
    run_study(str(tiny), Path("study"), workers=1)
    assert trained
    assert not trained & set(begun)
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in units(Path("study"))}.items()
    assert answers(Path("study")) == answers(finished)


def _watch(train: Callable[..., Any], begun: list[str]) -> Callable[..., Any]:
    def watched(settings: Any, out: Path, *, resume: bool) -> Any:
        if not (out / "result.json").exists():
            begun.append(out.name)
        return train(settings, out, resume=resume)

    return watched


def test_a_restricted_run_leaves_the_rest_missing(tiny: Path) -> None:
    options = ["--out", "study", "--workers", "1", "--only", "teacher=none", "--only", "noise=0", "--seeds", "3"]
    answer = CliRunner().invoke(main, ["run", str(tiny), *options, "--json"])
    assert answer.exit_code == 0, answer.output
    result = json.loads(answer.stdout)
    assert (result["units_done"], result["units"]) == (1, 12)
    cells = {(cell["labels"]["teacher"], cell["labels"]["noise"]): cell for cell in result["statistics"]["cells"]}
    assert (cells["none", 0]["seeds"], cells["none", 0]["missing"]) == ([3], [0])
    assert (cells["lenet", 2]["n"], cells["lenet", 2]["missing"]) == (0, [0, 3])


def test_an_edited_outcome_stops_the_study_before_it_begins(finished: Path, tmp_path: Path, tiny: Path) -> None:
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(finished), str(folder)], check=True)
    edited = units(folder)[0]
    edited.write_text(edited.read_text().replace('"seed": ', '"seed": 1'))
    with pytest.raises(RunError, match=rf"{edited.name} was edited"):
        run_study(str(tiny), folder, workers=1)
    answer = CliRunner().invoke(main, ["run", str(tiny), "--dry-run", "--out", str(folder)])
    assert answer.exit_code != 0
    assert f"{edited.name} was edited" in answer.output


def test_a_missing_data_folder_is_said_once(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QKD_DATA_DIR", str(workplace / "nowhere"))
    answer = CliRunner().invoke(main, ["run", "paper_v2_losses", "--seeds", "0-1", "--workers", "2"])
    assert answer.exit_code == DataError.exit_code
    assert answer.output.count("nowhere doesn't exist") == 1
    assert not list(workplace.glob("runs/*/cells/*"))


def test_a_study_keeps_how_long_its_phases_took(finished: Path) -> None:
    assert [(item["what"], item["ended"]) for item in read_sittings(finished)] == [
        ("teachers", "finished"),
        ("cells", "finished"),
    ]


def test_outcomes_of_an_edited_job_file_are_kept_and_told(finished: Path, tmp_path: Path, tiny: Path) -> None:
    folder, said = tmp_path / "copy", []
    subprocess.run(["cp", "-r", str(finished), str(folder)], check=True)
    count = len(units(folder))

    class Hearing(Listener):
        def say(self, text: str) -> None:
            said.append(text)

    tiny.write_text(tiny.read_text().replace("epochs = 3", "epochs = 1"))
    run_study(str(tiny), folder, only=["teacher=none", "noise=0"], seeds="0", workers=1, listener=Hearing())
    assert any(f"{count} evaluations in {folder} are of other settings" in text for text in said)
    assert len(units(folder)) == count + 1
    rows = [line for line in (folder / "table.md").read_text().splitlines() if line.startswith("| none | 0 |")]
    assert rows[0].startswith("| none | 0 | 1 |")


def test_a_second_run_at_the_same_time_is_refused_at_once(tiny: Path) -> None:
    with RunDirectory(Path("study")).lock():
        began = time.monotonic()
        with pytest.raises(RunError, match="another process is working in study"):
            run_study(str(tiny), Path("study"))
        assert time.monotonic() - began < 1


def read_table() -> str:
    return Path("study/table.md").read_text()


def test_a_cell_that_fails_costs_itself_only(tiny: Path) -> None:
    burst = 'teacher = {name = "lenet"}, training = {learning_rate = 1e38}'
    tiny.write_text(tiny.read_text().replace('teacher = {name = "lenet"}', burst))
    answer = CliRunner().invoke(main, ["run", str(tiny), "--out", "study", "--workers", "1", "--json", "--seeds", "0"])
    assert answer.exit_code == 2
    assert (
        "1 cells failed; the others are kept\nteacher lenet, seed 0: inputs holds NaN or infinity"
        in json.loads(answer.stdout)["error"]
    )
    assert {outcome.labels["teacher"] for outcome in load_outcomes(Path("study"))} == {"none"}
    assert "3 of 6 rows have no outcome (not run yet, or failed) and are left out: lenet, 0" in read_table()


def test_a_library_that_raises_is_told_by_its_words(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(working, "train_run", burst)
    study = read_study(str(tiny), Path("study"))
    done = working.do(Work("cell", study.folder, study.cells[0]))
    assert isinstance(done, Done)
    assert (done.error, done.exit_code) == ("ZeroDivisionError: by nothing", 1)
    assert not run_directory(study.folder, study.cells[0]).config.exists()


def test_a_single_run_has_no_study_options(workplace: Path) -> None:
    answer = CliRunner().invoke(main, ["run", "smoke", "--dry-run", "--workers", "3"])
    assert answer.exit_code == 2
    assert "leave out --dry-run, --workers" in answer.output
