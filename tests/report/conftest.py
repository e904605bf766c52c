"""A run directory written by hand: no training, every number known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import ParameterVector

from qkd_qiskit.config import Settings
from qkd_qiskit.files import digest_of_file
from qkd_qiskit.runs import RunDirectory

CLASSES = 4
DATE = "2025-02-26T14:33:06-05:00"
METRICS = {"depth": 40, "two_qubit_gates": 9, "two_qubit_depth": 8, "estimated_success": 0.9}


class SyntheticRun:
    """Writes the pieces of a run, each on its own."""

    def __init__(self, path: Path) -> None:
        self.run = RunDirectory(path)
        (path / "checkpoints").mkdir(parents=True)

    def write(self, name: str, content: object) -> None:
        path = self.run.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))

    def read(self, name: str) -> dict:
        return json.loads((self.run.path / name).read_text())

    def add_settings(self, **changes: object) -> None:
        backend = {"name": "aer_noisy", "kind": "aer", "noise": "fake_x"}
        content = {
            "student": {"qubits": 3},
            "training": {"epochs": 5},
            "distillation": {"alpha": 0.9},
            "backend": backend,
            **changes,
        }
        self.write("config.json", Settings.model_validate(content).model_dump(mode="json"))

    def add_environment(self) -> None:
        circuit = {"device": "fake_x", "physical_qubits": [1, 2, 3], "measured_qubits": [3, 1, 2], **METRICS}
        versions = {"qkd_qiskit": "0.1.0", "qiskit": "2.6.2"}
        calibration = {"device": "fake_x", "date": DATE, "sha256": "ab" * 32}
        content = {"versions": versions, "git_revision": "f" * 40, "circuit": circuit, "calibration": calibration}
        self.write("environment.json", {**content, "images_sha256": {"test": "0" * 64}, "seed": 0})

    def add_epochs(self, epochs: int = 5, *, distillation: float = 2.0) -> None:
        lines = []
        for epoch in range(1, epochs + 1):
            task, soft = 2 / epoch, distillation / epoch
            right = min(18, 8 + 3 * epoch) - (epoch == 5)
            lines.append(
                {
                    **{"epoch": epoch, "loss": 0.1 * task + 0.9 * soft, "task_loss": task, "distillation_loss": soft},
                    **{"train_accuracy": 0.5 + 0.08 * epoch, "train_samples": 90, "validation_accuracy": right / 20},
                    **{"validation_samples": 20, "validation_loss": task + 0.1, "seconds": 1.0},
                }
            )
        self.run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def add_result(self, *, teacher: bool = True) -> None:
        content = {"test_counts": [80, 100], "teacher_test_counts": [97, 100] if teacher else None, "best_epoch": 4}
        content |= {"classes": [0, 3, 6, 7], "weights": {"quantum": 12}, "teacher_weights": 1000 if teacher else None}
        self.write("result.json", content)

    def add_circuit(self) -> None:
        x, w = ParameterVector("x", 3), ParameterVector("w", 3)
        circuit = QuantumCircuit(3)
        for qubit in range(3):
            circuit.ry(x[qubit], qubit)
        circuit.cx(0, 2)
        circuit.cz(1, 2)
        for qubit in range(3):
            circuit.rz(w[qubit], qubit)
        with self.run.circuits.open("wb") as stream:
            qpy.dump([circuit, circuit], stream)
        self.write("student.json", {"sha256": digest_of_file(self.run.circuits), "metrics": METRICS})

    def add_training(self) -> None:
        self.add_environment()
        self.add_epochs()
        self.add_result()
        self.add_circuit()

    def add_evaluation(
        self, name: str = "fake_x", *, samples: int = 120, shots: int = 1000, kind: str = "fake", scores: int = CLASSES
    ) -> dict[str, np.ndarray]:
        generator = np.random.default_rng(7)
        labels = np.arange(samples) % CLASSES
        ideal = generator.uniform(-1, 1, (samples, 7))
        noise = generator.normal(0, 0.02, ideal.shape) if shots else np.zeros_like(ideal)
        measured = 0.7 * ideal + 0.05 + noise if kind != "aer" else ideal
        noiseless_logits = generator.normal(0, 1, (samples, scores))
        noiseless_logits[np.arange(samples), labels] += 2
        logits = noiseless_logits if kind == "aer" else noiseless_logits + generator.normal(0, 0.6, (samples, scores))
        arrays = {
            "expectation_values": measured,
            "standard_errors": np.full_like(ideal, 0.02 if shots else 0.0),
            "noiseless_expectation_values": ideal,
            "logits": logits,
            "noiseless_logits": noiseless_logits,
            "labels": labels,
        }
        self.write_evaluation(name, arrays, shots, kind)
        return arrays

    def write_evaluation(self, name: str, arrays: dict[str, np.ndarray], shots: int, kind: str) -> None:
        folder = f"evaluations/{name}-0123456789ab"
        right, ideal = (arrays[key].argmax(1) == arrays["labels"] for key in ("logits", "noiseless_logits"))
        samples = len(right)
        counts = {"correct": int(right.sum()), "noiseless_correct": int(ideal.sum()), "samples": samples}
        isa = {"device": "fake_x" if kind == "fake" else "", "measured_qubits": [3, 1, 2], **METRICS}
        result = {"backend": name, "counts": counts, "shots": shots, "isa": isa, "circuit_executions": samples * shots}
        self.write(f"{folder}/result.json", {**result, "qpu_seconds_estimated": 12.0, "qpu_seconds_charged": None})
        backend = {"name": name, "kind": kind, "noise": "", "noise_scale": 1.0, "resilience_level": 0}
        self.write(f"{folder}/identity.json", {"backend": backend, "images": "1" * 64, "seed": 0})
        calibration = {"device": isa["device"], "date": DATE if kind == "fake" else None, "sha256": "cd" * 32}
        self.write(f"{folder}/calibration.json", calibration)
        np.savez_compressed(self.run.path / folder / "expectation_values.npz", **arrays)


@pytest.fixture
def begun(tmp_path: Path) -> SyntheticRun:
    """A run that holds its settings and nothing else."""
    run = SyntheticRun(tmp_path / "some run")
    run.add_settings()
    return run


@pytest.fixture
def trained(begun: SyntheticRun) -> SyntheticRun:
    """A finished training without an evaluation."""
    begun.add_training()
    return begun


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> SyntheticRun:
    """A finished training with two evaluations; read by many tests, changed by none."""
    run = SyntheticRun(tmp_path_factory.mktemp("runs") / "evaluated")
    run.add_settings()
    run.add_training()
    run.add_evaluation()
    run.add_evaluation("fake_y", shots=0)
    return run


@pytest.fixture
def make_run() -> Callable[..., SyntheticRun]:
    """Write a finished run with an evaluation into a folder."""

    def make(path: Path, **settings: object) -> SyntheticRun:
        run = SyntheticRun(path)
        run.add_settings(**settings)
        run.add_training()
        if settings.get("teacher") == {"name": "none"}:
            run.add_epochs(distillation=0.0)
        run.add_evaluation()
        return run

    return make
