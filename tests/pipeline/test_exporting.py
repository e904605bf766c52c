from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from qiskit import QuantumCircuit, qasm3, qpy
from qiskit.quantum_info import SparsePauliOp, Statevector

import qkd_qiskit as qkd
from qkd_qiskit.cli import main
from qkd_qiskit.exceptions import ConfigurationError, RunError
from qkd_qiskit.execution.aer import evaluate_on_aer
from qkd_qiskit.runs import RunDirectory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A student with weights in features, circuit and head, trained for one epoch under a device's noise."""
    settings = qkd.read_settings(
        {
            "backend": {"name": "aer_noisy", "noise": "fake_manila"},
            "data": {"classes": "0-1", "train_per_class": 20},
            "teacher": {"name": "none"},
            "student": {"qubits": 3, "encoding": "angle"},
            "training": {"epochs": 1},
        }
    )
    path = tmp_path_factory.mktemp("runs") / "small"
    qkd.train_run(settings, path)
    return RunDirectory(path)


@pytest.fixture(scope="module")
def folder(run: RunDirectory) -> Path:
    """The run's export; read by many tests, changed by none."""
    return Path(qkd.export_run(run)["folder"])


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """An export that a test may damage."""
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def measure_with_qiskit_alone(circuit: QuantumCircuit, bound: dict[str, float], paulis: list) -> list[float]:
    """Return expectation values by statevector; idle qubits of a device are dropped first."""
    named = {parameter.name: parameter for parameter in circuit.parameters}
    circuit = circuit.assign_parameters({named[name]: value for name, value in bound.items()})
    used = sorted({circuit.find_bit(qubit).index for item in circuit.data for qubit in item.qubits})
    narrow = QuantumCircuit(len(used))
    for item in circuit.data:
        narrow.append(item.operation, [used.index(circuit.find_bit(qubit).index) for qubit in item.qubits])
    state = Statevector(narrow)
    observables = [
        SparsePauliOp.from_sparse_list(
            [(label, [used.index(qubit) for qubit in qubits], weight) for label, qubits, weight in terms],
            num_qubits=len(used),
        )
        for terms in paulis
    ]
    return [state.expectation_value(item).real for item in observables]


def test_the_loaded_student_gives_the_same_logits_to_the_last_bit(run, folder, monkeypatch):
    placed, dataset = qkd.load_placed(run)
    with torch.no_grad():
        wanted = placed.student(dataset.test.pixels)
    monkeypatch.setattr("qkd_qiskit.pipeline.preparing.load_dataset", None)  # no images may be asked for
    back = qkd.load_export(folder)
    with torch.no_grad():
        found = back.student(dataset.test.pixels)
    assert wanted.abs().max() > 0.01
    assert torch.equal(wanted, found)
    assert back.classes == (0, 1)


def test_the_loaded_student_is_evaluated_on_backends_and_is_told_in_a_line(run, folder):
    placed, dataset = qkd.load_placed(run)
    loaded, samples = qkd.load_export(folder), qkd.select_samples(dataset.test, 10)
    for backend in ("aer", "fake_manila"):
        wanted, found = (qkd.evaluate(item, samples, backend=backend, seed=3) for item in (placed, loaded))
        assert wanted.summary() == found.summary()
    with pytest.raises(ConfigurationError, match=r"class 9, the student has 0 to 1.*classes='0,1'"):
        qkd.evaluate(loaded, qkd.load_dataset("digits").test)
    said = repr(loaded)
    assert len(said) < 200
    for words in ("qnn, 3 qubits", "'head': 16", "classes (0, 1)", "compiled for fake_manila, with its noise"):
        assert words in said


def test_a_student_that_was_trained_without_a_device_is_exported_for_none(tmp_path):
    settings = {"data": {"classes": "0-1", "train_per_class": 20}, "student": {"qubits": 1}, "training": {"epochs": 1}}
    qkd.train_run(qkd.read_settings({**settings, "teacher": {"name": "none"}}), tmp_path / "ideal")
    said = CliRunner().invoke(main, ["export", str(tmp_path / "ideal")])
    assert said.exit_code == 0, said.output
    assert "trained on aer; train on aer_noisy" in said.output
    assert "without noise" in repr(qkd.load_export(tmp_path / "ideal" / "export"))


@pytest.mark.parametrize("suffix", ["qasm", "qpy"])
@pytest.mark.parametrize("name", ["logical", "isa", "logical_trained", "isa_trained"])
def test_qiskit_alone_gets_the_expectation_values(run, folder, name, suffix):
    placed, dataset = qkd.load_placed(run)
    table = placed.student.parameter_values(dataset.test.pixels[:2])
    wanted, _ = evaluate_on_aer(placed.logical, table)
    facts = json.loads((folder / "export.json").read_text())
    path = folder / f"{name}.{suffix}"
    circuit = qasm3.loads(path.read_text()) if suffix == "qasm" else qpy.load(path.open("rb"))[0]
    trained = {} if "trained" in name else {item[suffix]: item["value"] for item in facts["trained"]}
    for row, values in zip(table, wanted):
        bound = {item[suffix]: value for item, value in zip(facts["inputs"], row)} | trained
        found = measure_with_qiskit_alone(circuit, bound, facts["observables"][name.removesuffix("_trained")])
        assert np.abs(np.array(found) - values).max() < 1e-9
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-3


def test_the_manifest_says_what_the_files_mean(folder):
    facts = json.loads((folder / "export.json").read_text())
    assert set(facts["files"]) == {path.name for path in folder.iterdir()} - {"export.json"}
    assert facts["blueprint"]["num_qubits"] == 3
    assert facts["circuit"]["device"] == "fake_manila"
    assert facts["circuit"]["depth"] > 0
    assert facts["exported_with"]["qiskit"]
    assert len(facts["observables"]["isa"]) == 7


@pytest.mark.parametrize("name", ["weights.safetensors", "isa.qpy", "logical_trained.qasm"])
def test_a_damaged_file_is_refused_by_name(copied, name):
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(bytes(content))
    with pytest.raises(RunError, match=rf"{name} was changed or damaged"):
        qkd.load_export(copied)


def test_a_missing_file_a_changed_manifest_and_another_format_are_refused(copied):
    path = copied / "export.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "classes": [1, 0]}))
    with pytest.raises(RunError, match=r"export\.json was changed"):
        qkd.load_export(copied)
    path.write_text(json.dumps({**facts, "format": "qkd_qiskit export 99"}))
    with pytest.raises(RunError, match=r"export 99.*reads 'qkd_qiskit export 1'"):
        qkd.load_export(copied)
    path.write_text(json.dumps(facts))
    (copied / "isa.qasm").unlink()
    with pytest.raises(RunError, match=r"isa\.qasm is missing"):
        qkd.load_export(copied)
    path.unlink()
    with pytest.raises(RunError, match="not an export"):
        qkd.load_export(copied)


def test_an_occupied_folder_an_unfinished_run_and_a_missing_one_are_refused(run, tmp_path):
    (tmp_path / "mine").write_text("keep me")
    with pytest.raises(RunError, match="not an empty folder"):
        qkd.export_run(run, tmp_path)
    with pytest.raises(RunError, match="not an empty folder"):
        qkd.export_run(run, tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    unfinished = Path(shutil.copytree(run.path, tmp_path / "unfinished"))
    (unfinished / "result.json").unlink()
    with pytest.raises(RunError, match=r"has not ended.*--resume"):
        qkd.export_run(RunDirectory(unfinished), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    answer = CliRunner().invoke(main, ["export", str(tmp_path / "nowhere"), "--json"])
    assert answer.exit_code == RunError.exit_code
    assert "there is no run" in json.loads(answer.stdout)["error"]


def test_the_command_exports_into_an_empty_folder_and_prints_one_object(run, tmp_path):
    out = tmp_path / "empty"
    out.mkdir()
    answer = CliRunner().invoke(main, ["export", str(run.path), "--out", str(out), "--json"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["folder"] == str(out)
    assert qkd.load_export(out).student.num_weights()["quantum"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
