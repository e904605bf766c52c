"""Controls and reductions that are fitted, from the command line to the files they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

import qkd_qiskit as qkd
from qkd_qiskit.cli import main
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.pipeline.placing import probe

SMALL = ["--classes", "0-1", "--qubits", "2", "--epochs", "3", "--teacher", "none"]
CLASSICAL = pytest.mark.parametrize("layer", ["classical", "mlp"])


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [*arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def train(*options: str, out: str) -> dict[str, Any]:
    return json.loads(call("train", *SMALL, *options, "--out", out, "--json").stdout)


@CLASSICAL
def test_a_classical_control_is_trained_like_a_student(workplace: Path, layer: str) -> None:
    quantum, control = train(out="quantum"), train("--layer", layer, out="control")
    assert control["weights"] == quantum["weights"]
    assert control["test_accuracy"] > 0.9
    assert (control["layer"], control["isa"]) == (layer, None)
    files = [{path.name for path in Path(run).rglob("*.*")} for run in ("quantum", "control")]
    assert files[0] - files[1] == {"student.qpy", "student.json"}
    placed, dataset = qkd.load_placed(qkd.find_run("control"))
    correct = int((placed.student(dataset.test.pixels).argmax(1) == dataset.test.labels).sum())
    assert correct == control["test_counts"][0]
    assert "next:" not in call("train", *SMALL, "--layer", layer).stdout
    assert "next: qkd-qiskit evaluate runs/" in call("train", *SMALL).stdout


@CLASSICAL
def test_a_classical_control_is_resumed(workplace: Path, layer: str) -> None:
    whole = train("--layer", layer, out="control")
    Path("control/result.json").unlink()
    again = json.loads(call("train", "--resume", "control", "--json").stdout)
    assert again["test_counts"] == whole["test_counts"]


@CLASSICAL
def test_a_classical_control_has_a_report(workplace: Path, layer: str) -> None:
    train("--layer", layer, out="control")
    call("report", "control")
    assert "has not been compiled" in Path("control/report.html").read_text()


@CLASSICAL
@pytest.mark.parametrize("command", ["evaluate", "estimate"])
def test_a_classical_control_runs_on_no_backend(workplace: Path, command: str, layer: str) -> None:
    train("--layer", layer, out="control")
    backend = "ibm_brisbane" if command == "estimate" else "fake_manila"
    refused = call(command, "control", "--backend", backend, code=2)
    assert "no circuit to compile or to run on a device" in refused.stderr
    assert "result.json" in refused.stderr


@CLASSICAL
def test_a_classical_control_is_not_exported(workplace: Path, layer: str) -> None:
    train("--layer", layer, out="control")
    refused = call("export", "control", code=2)
    assert "it has no circuit to export" in refused.stderr
    assert not Path("control/export").exists()


@CLASSICAL
def test_a_classical_control_in_memory(layer: str) -> None:
    dataset = qkd.load_dataset("digits", classes="0-1", seed=0)
    control = qkd.build_student(dataset, qubits=2, layer=layer)
    assert qkd.train(control, dataset, epochs=3)[-1]["validation_accuracy"] > 0.8
    with pytest.raises(ConfigurationError, match="no circuit to compile"):
        qkd.evaluate(control, dataset.test, backend="aer")
    with pytest.raises(ConfigurationError, match=r"no gates that the noise of aer_noisy.*--backend aer"):
        qkd.build_student(dataset, backend="aer_noisy", layer=layer)


def test_a_frozen_circuit_is_trained_around_and_evaluated(workplace: Path) -> None:
    result = train("--layer", "frozen", out="frozen")
    assert result["weights"]["quantum"] == 0
    initial = qkd.build_student(qkd.load_dataset("digits", classes="0-1"), qubits=2).student
    placed, _ = qkd.load_placed(qkd.find_run("frozen"))
    assert (placed.student.quantum_weights == initial.quantum_weights).all()
    evaluated = json.loads(call("evaluate", "frozen", "--backend", "aer", "--json").stdout)
    assert evaluated["counts"]["correct"] == result["test_counts"][0]


def test_principal_components_are_those_of_training_wherever_they_are_loaded(workplace: Path) -> None:
    result = train("--reduction", "pca", "--train-per-class", "10", out="run")
    placed, dataset = qkd.load_placed(qkd.find_run("run"))
    flat = dataset.train.pixels.flatten(1)
    torch.testing.assert_close(placed.student.features.mean, flat.mean(0))
    evaluated = json.loads(call("evaluate", "run", "--backend", "aer", "--json").stdout)
    assert evaluated["counts"]["correct"] == result["test_counts"][0]
    built = qkd.build_student(dataset, qubits=2, reduction="pca").student
    torch.testing.assert_close(built.features.components, placed.student.features.components)


@pytest.mark.parametrize(
    ("options", "telling"),
    [
        (["--reduction", "pca", "--train-per-class", "1"], "needs as many training images, not 2"),
        (["--layer", "classical", "--backend", "aer_noisy"], "no gates that the noise of aer_noisy"),
        (["--layer", "mlp", "--backend", "aer_noisy"], "student.layer = mlp) has no gates"),
        (["--layer", "clasical"], "student.layer"),
        (["--encoding", "reuploading", "--ansatz", "none"], "there is none; give --layers 1"),
        (["--reduction", "pca", "--head", "paper", "--ansatz", "none"], "nothing in this student is trained"),
        (["--reduction", "max_pool", "--head", "paper", "--layer", "frozen"], "nothing in this student is trained"),
        (["--observables", "projectors", "--qubits", "9"], "at most --qubits 8"),
        (["--ansatz", "real_amplitude"], "did you mean 'real_amplitudes'"),
    ],
)
def test_what_can_not_be_is_refused(workplace: Path, options: list[str], telling: str) -> None:
    assert telling in call("train", *SMALL, *options, code=2).stderr
    assert [path for path in workplace.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("loss", ["dkd", "dist", "logit_std", "rkd", "label_smoothing"])
@pytest.mark.parametrize("head", ["affine", "paper"])
def test_every_loss_trains_a_student(loss: str, head: str) -> None:
    dataset = qkd.load_dataset("digits", classes="0-2", train_per_class=50, seed=0)
    teacher = qkd.build_teacher("lenet", dataset, epochs=1)
    student = qkd.build_student(dataset, qubits=2, head=head)
    distilled = teacher if loss != "label_smoothing" else None
    history = qkd.train(student, dataset, distilled, loss=loss, epochs=2)
    assert history[-1]["loss"] < history[0]["loss"]


def test_settings_reach_the_loss(workplace: Path) -> None:
    constants = ["--set", "distillation.smoothing=0.3"]
    result = train("--loss", "label_smoothing", *constants, out="run")
    assert result["loss"] == {"name": "label_smoothing", "smoothing": 0.3, "num_classes": 2}
    assert result["teacher_test_accuracy"] is None


def test_the_papers_first_student_is_a_preset() -> None:
    settings = qkd.read_settings({}, preset="paper_v1")
    assert (settings.student.kind, settings.student.head, settings.student.normalise) == ("hybrid", "paper", False)
    assert (settings.training.batch_size, settings.training.schedule, settings.training.clip) == (1, "constant", 0)
    assert settings.constants == {"temperature": 3.0, "alpha": 0.9}
    corrected = qkd.read_settings({}, preset="corrected")
    assert (corrected.training.batch_size, corrected.constants, corrected.student.normalise) == (
        16,
        {"temperature": 1.5},
        True,
    )


def test_the_papers_first_student_trains(workplace: Path) -> None:
    options = ["--preset", "paper_v1", "--loss", "ce", "--train-per-class", "20"]
    assert train(*options, out="run")["weights"] == {
        "features": 260 + 5_020 + 320 * 50 + 50 + 102,
        "quantum": 0,
        "head": 0,
    }


@pytest.mark.parametrize(
    ("options", "telling"),
    [
        (["--loss", "dist", "--batch-size", "1"], "give --batch-size 2 or more"),
        (["--loss", "dkd"], "'dkd' needs a teacher"),
        (["--teacher", "selff"], "did you mean 'self'"),
        (["--set", "teacher.epochs=3", "--set", "teacher.stop_epoch=4"], "stop_epoch is 4"),
        (["--set", "distillation.beta=2", "--teacher", "lenet"], "'kd' has no beta"),
        (["--loss", "ce", "--set", "distillation.temperature_end=2"], "'ce' has no temperature"),
    ],
)
def test_losses_that_can_not_be_are_refused(workplace: Path, options: list[str], telling: str) -> None:
    assert telling in call("train", *SMALL, *options, code=2).stderr


@pytest.mark.parametrize(
    "choices",
    [
        {"encoding": "zz", "ansatz": "real_amplitudes", "observables": "projectors"},
        {"encoding": "reuploading", "ansatz": "strongly_entangling"},
    ],
)
def test_new_circuits_are_compiled_for_a_device_and_agree_with_aer_under_its_noise(choices: dict[str, Any]) -> None:
    dataset = qkd.load_dataset("digits", classes="0-1", seed=0)
    noisy = qkd.resolve_backend("aer_noisy", {"noise": "fake_manila", "layouts": 1})
    student = qkd.build_student(dataset, backend=noisy, qubits=3, **choices)  # compares ISA and logical circuit
    assert student.compiled.metrics.two_qubit_gates >= 4
    assert probe(student, dataset.train.pixels[:3]) < 1e-12
