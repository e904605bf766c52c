"""The whole way as a user walks it: through the command line and through the Python interface, on small real data."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import qkd_qiskit as qkd
from qkd_qiskit.classical import teacher_cache
from qkd_qiskit.cli import main
from qkd_qiskit.exceptions import ConfigurationError

SMALL = [
    "--classes",
    "0-1",
    "--qubits",
    "2",
    "--epochs",
    "3",
    "--set",
    "teacher.epochs=1",
    "--set",
    "data.split_seed=0",
]
TRAINING_KEYS = {
    "run", "test_accuracy", "validation_accuracy", "teacher_test_accuracy", "epochs", "seconds", "samples_per_second"
}  # fmt: skip
EVALUATION_KEYS = {
    "run", "backend", "accuracy", "accuracy_interval", "noiseless_accuracy", "agreement", "samples", "shots", "pubs",
    "circuit_executions", "job_ids",
}  # fmt: skip


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [*arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def call_json(*arguments: str) -> dict[str, Any]:
    return json.loads(call(*arguments, "--json").stdout)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained under the noise of a small fake device."""
    out = tmp_path_factory.mktemp("trained") / "run"
    options = ["--backend", "aer_noisy", "--set", "backend.noise=fake_manila", "--out", str(out)]
    result = call_json("train", *SMALL, *options)
    assert result.keys() >= TRAINING_KEYS
    assert result["test_accuracy"] > 0.9
    assert result["teacher_test_accuracy"] > 0.9
    assert result["epochs"] == 3
    return out


def test_a_run_directory_holds_what_the_design_says(trained: Path) -> None:
    names = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    assert names >= {
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "student.qpy",
        "result.json",
        "checkpoints/last.safetensors",
        "checkpoints/last.json",
        "checkpoints/best.safetensors",
        "checkpoints/best.json",
    }
    environment = json.loads((trained / "environment.json").read_text())
    assert environment["largest_difference_from_aer"] < 1e-6
    assert environment["versions"]["qiskit"]
    assert environment["calibration"]["device"] == "fake_manila"
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert {"task_loss", "distillation_loss", "validation_correct", "samples_per_second"} <= lines[0].keys()


@pytest.mark.parametrize(
    ("backend", "shots"), [("aer", 0), ("aer_noisy", 0), ("fake_manila", 512), ("fake_lagos", 100)]
)
def test_evaluation_on_every_kind_of_simulator(trained: Path, backend: str, shots: int) -> None:
    options = ["--shots", str(shots)] if shots else []
    result = call_json("evaluate", str(trained), "--backend", backend, "--samples", "20", *options)
    assert result.keys() >= EVALUATION_KEYS
    assert (result["pubs"], result["samples"], result["shots"]) == (1, 20, shots)
    assert result["circuit_executions"] == (20 * shots or 20)
    low, high = result["accuracy_interval"]
    assert low <= result["accuracy"] <= high
    assert result["accuracy"] > 0.8
    folder = Path(result["folder"])
    with np.load(folder / "expectation_values.npz") as arrays:
        assert arrays["expectation_values"].shape == (20, 3)
        assert (arrays["logits"].argmax(1) == arrays["labels"]).sum() == result["counts"]["correct"]
        same = arrays["logits"].argmax(1) == arrays["noiseless_logits"].argmax(1)
        assert same.sum() == result["counts"]["agreeing"]
        assert np.bincount(arrays["labels"]).tolist() == [10, 10]
    assert (folder / "calibration.json").exists()


def test_the_same_evaluation_again_is_read_not_run(trained: Path) -> None:
    options = ["evaluate", str(trained), "--backend", "fake_manila", "--samples", "10", "--shots", "64"]
    first = call_json(*options)
    assert "evaluated before" in call(*options).stderr
    assert call_json(*options) == first


def test_the_trained_circuit_is_the_one_that_runs(trained: Path) -> None:
    trained_isa = json.loads((trained / "result.json").read_text())["isa"]
    same = call_json("evaluate", str(trained), "--backend", "fake_manila", "--samples", "4", "--shots", "16")
    assert same["isa"]["physical_qubits"] == trained_isa["physical_qubits"]
    assert same["isa"]["two_qubit_gates"] == trained_isa["two_qubit_gates"]


def test_logits_after_loading_are_those_of_training(trained: Path) -> None:
    placed, dataset = qkd.load_placed(qkd.find_run(str(trained)))
    logits = placed.student(dataset.test.pixels)
    stored = json.loads((trained / "result.json").read_text())
    assert int((logits.argmax(1) == dataset.test.labels).sum()) == stored["test_counts"][0]


def test_a_changed_profile_stays_the_backend_that_was_named() -> None:
    for assignment in ("backend.noise_scale=2", "backend.layouts=4"):
        settings = qkd.read_settings({"backend": "aer_noisy"}, assignments=[assignment])
        assert (settings.backend.name, settings.backend.noise) == ("aer_noisy", "fake_brisbane")
    settings = qkd.read_settings({"backend": "aer"}, assignments=["backend=aer_noisy"])
    assert settings.backend.noise == "fake_brisbane"


def test_equal_runs_have_equal_evaluation_ids(workplace: Path) -> None:
    folders = []
    for out in ("one", "two"):
        call("train", *SMALL, "--epochs", "1", "--teacher", "none", "--out", out, "--quiet")
        folders.append(Path(call_json("evaluate", out, "--backend", "aer", "--samples", "4")["folder"]).name)
    assert folders[0] == folders[1]


def test_a_changed_teacher_is_noticed_on_resuming(workplace: Path) -> None:
    call("train", *SMALL, "--epochs", "1", "--out", "run", "--quiet")
    Path("run/result.json").unlink()
    environment = json.loads(Path("run/environment.json").read_text())
    Path("run/environment.json").write_text(json.dumps({**environment, "teacher_sha256": "other"}))
    assert "the teacher of run changed" in call("train", "--resume", "run", code=5).stderr


def test_a_second_student_costs_no_teacher_pass(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call_json("train", *SMALL, "--epochs", "1", "--out", "first")
    passes = 0
    real = teacher_cache.torch.nn.Module.__call__

    def counting(module: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal passes
        passes += type(module).__name__ == "LeNet"
        return real(module, *arguments, **options)

    monkeypatch.setattr(teacher_cache.torch.nn.Module, "__call__", counting)
    second = call_json("train", *SMALL, "--epochs", "1", "--seed", "7", "--out", "second")
    assert second["teacher_test_accuracy"] is not None
    assert passes == 0


def test_the_latest_run_is_evaluated_by_default(workplace: Path) -> None:
    result = call_json("train", *SMALL, "--epochs", "1", "--teacher", "none")
    assert result["run"].startswith("runs/digits-qnn-aer-")
    assert result["teacher_test_accuracy"] is None
    assert call_json("evaluate", "--backend", "aer")["run"] == result["run"]


def test_noiseless_training_and_evaluation_agree_by_two_roads(workplace: Path) -> None:
    """Training measures with the engine, evaluation with Aer's one PUB: the same counts."""
    trained = call_json("train", *SMALL, "--epochs", "1", "--out", "run")
    evaluated = call_json("evaluate", "run", "--backend", "aer")
    assert evaluated["counts"]["correct"] == trained["test_counts"][0]
    assert evaluated["agreement"] == 1


def test_a_killed_training_resumes_bit_equal(workplace: Path) -> None:
    options = [*SMALL, "--epochs", "30", "--teacher", "none"]
    call("train", *options, "--out", "unbroken", "--quiet")
    command = [sys.executable, "-m", "qkd_qiskit", "train", *options, "--out", "broken", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    metrics = Path("broken/metrics.jsonl")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (metrics.exists() and metrics.read_text().count("\n") >= 3):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = metrics.read_text().count("\n")
    assert 3 <= done < 30, process.stderr.read() if process.stderr else ""
    assert "going on after epoch" in call("train", "--resume", "broken").stderr

    def losses(run: str) -> list[tuple[int, float]]:
        lines = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
        return [(line["epoch"], line["loss"]) for line in lines]

    assert losses("broken") == losses("unbroken")
    tensors = [qkd_tensors(Path(run, "checkpoints/last.safetensors")) for run in ("broken", "unbroken")]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(np.array_equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def qkd_tensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)


def test_ctrl_c_keeps_the_checkpoint_and_says_how_to_go_on(workplace: Path) -> None:
    options = [*SMALL, "--epochs", "2000", "--teacher", "none", "--out", "run"]
    command = [sys.executable, "-m", "qkd_qiskit", "train", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not Path("run/checkpoints/last.safetensors").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert out == ""
    assert "go on with: qkd-qiskit train --resume run" in err
    assert "Traceback" not in err
    assert Path("run/checkpoints/last.safetensors").exists()


def test_a_job_file_runs_and_running_it_again_does_nothing(workplace: Path) -> None:
    Path("mine.toml").write_text(
        'description = "x"\nreport = false\nout = "runs/job"\n'
        '[train]\nbackend = "aer"\ndata = {classes = "0-1"}\nstudent = {qubits = 2}\n'
        'teacher = {name = "none"}\ntraining = {epochs = 2}\n'
        '[[evaluate]]\nbackend = "aer"\n[[evaluate]]\n'
        'backend = {name = "aer_noisy", noise = "fake_manila"}\nsamples = 6\n'
    )
    first = call_json("run", "mine.toml")
    assert [item["samples"] for item in first["evaluations"]] == [72, 6]
    metrics = Path("runs/job/metrics.jsonl").read_text()
    assert call_json("run", "mine.toml") == first
    assert Path("runs/job/metrics.jsonl").read_text() == metrics
    refused = call("run", "mine.toml", "--set", "training.epochs=3", code=2)
    assert "holds a run of other settings" in refused.stderr
    Path("mine.toml").write_text(Path("mine.toml").read_text().replace("report = false", "report = true"))
    last = call("run", "mine.toml").output
    assert last.count("report: runs/job/report.html") == 1
    assert "next:" not in last  # it evaluated by itself


def test_the_python_interface_reads_as_the_method_section() -> None:
    dataset = qkd.load_dataset("digits", classes="0-1", seed=0)
    teacher = qkd.build_teacher("lenet", dataset, epochs=1)
    student = qkd.build_student(dataset, backend="aer", qubits=2, layers=1)
    with pytest.raises(ConfigurationError, match="'ce' has no teacher; leave the teacher out"):
        qkd.train(student, dataset, teacher, loss="ce", epochs=2)
    history = qkd.train(student, dataset, teacher, epochs=2)
    samples = qkd.select_samples(dataset.test, 10)
    evaluation = qkd.evaluate(student, samples, backend="fake_manila", shots=100)
    assert len(history) == 2
    assert evaluation.summary()["samples"] == 10
    best = max(facts["validation_accuracy"] for facts in history)
    correct = (student.student(dataset.validation.pixels).argmax(1) == dataset.validation.labels).float().mean()
    assert float(correct) == pytest.approx(best)


def test_a_student_that_has_not_learnt_is_remarked_on(workplace: Path) -> None:
    stuck = ["--set", "training.learning_rate=1e-9", "--reduction", "average_pool", "--qubits", "1", "--ansatz", "none"]
    told = call("train", "--teacher", "none", "--epochs", "1", *stuck, "--out", "stuck")
    assert json.loads(Path("stuck/result.json").read_text())["test_accuracy"] < 0.15
    assert "below 1.5 times chance (10.0%)" in told.stderr
    assert "times chance" not in call("train", *SMALL, "--teacher", "none", "--out", "learnt").stderr


def test_more_images_asked_for_than_there_are_is_said(workplace: Path) -> None:
    few = ["--teacher", "none", "--epochs", "1", "--qubits", "2", "--classes", "0,8"]
    told = call("train", *few, "--train-per-class", "500", "--set", "data.augment.copies=1")
    assert (
        "500 training images a class were asked for; after validation 125 are left of the rarest class" in told.stderr
    )
    assert "were asked for" not in call("train", *few, "--train-per-class", "100").stderr
