"""Self-distillation: the same student from other weights, trained alone, its logits cached like any teacher's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import qkd_qiskit as qkd
from qkd_qiskit.pipeline import self_teaching
from qkd_qiskit.pipeline.self_teaching import other_seed

SMALL: dict[str, Any] = {
    "data": {"classes": "0-1", "split_seed": 0},
    "student": {"qubits": 2},
    "training": {"epochs": 4},
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QKD_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "teachers"


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seed of each self-teacher that is really trained."""
    seeds: list[int] = []
    real = self_teaching.train_to_best

    def count(student: Any, plan: Any, *arguments: Any, **options: Any) -> Any:
        seeds.append(plan.seed)
        return real(student, plan, *arguments, **options)

    monkeypatch.setattr(self_teaching, "train_to_best", count)
    return seeds


def settings(seed: int = 0, teacher: str = "self", **more: Any) -> qkd.Settings:
    return qkd.read_settings({**SMALL, **more, "seed": seed, "teacher": {"name": teacher}})


@pytest.mark.parametrize(
    "student", [{}, {"reduction": "pca"}, {"layer": "classical"}, {"layer": "mlp"}, {"kind": "hybrid"}]
)
def test_the_teacher_is_the_student_trained_alone_with_another_seed(student: dict, tmp_path: Path) -> None:
    chosen = {"student": {"qubits": 2, **student}}
    taught = qkd.train_run(settings(**chosen), tmp_path / "taught")
    alone = qkd.train_run(settings(other_seed(settings()), "none", **chosen), tmp_path / "alone")
    assert taught["teacher_test_counts"] == alone["test_counts"]
    assert taught["teacher_weights"] == sum(alone["weights"].values())
    assert taught["loss"]["name"] == "kd"


def test_a_second_run_reads_its_teacher(trainings: list[int], tmp_path: Path, cache: Path) -> None:
    first = qkd.train_run(settings(), tmp_path / "first")
    again = qkd.train_run(settings(), tmp_path / "again")
    assert trainings == [other_seed(settings())]
    assert again["test_counts"] == first["test_counts"]
    assert again["teacher_test_counts"] == first["teacher_test_counts"]
    (path,) = cache.glob("self-*.safetensors")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"is damaged .* trained again"):
        qkd.train_run(settings(), tmp_path / "third")
    assert len(trainings) == 2


def test_other_seeds_and_students_have_other_teachers(trainings: list[int], tmp_path: Path) -> None:
    runs = [settings(), settings(1), settings(student={"qubits": 2, "layers": 1}), settings(training={"epochs": 3})]
    for number, chosen in enumerate(runs):
        qkd.train_run(chosen, tmp_path / str(number))
    assert len(trainings) == 4
    assert other_seed(runs[0]) not in (0, other_seed(runs[1]))


def test_the_student_starts_from_its_own_weights(tmp_path: Path) -> None:
    """A teacher that is left out of the loss changes nothing: its training leaves no trace on the student's."""
    without = qkd.train_run(settings(teacher="none"), tmp_path / "without")
    ignored = qkd.train_run(settings(distillation={"alpha": 0.0}), tmp_path / "ignored")
    tensors = [qkd.load_placed(qkd.find_run(run["run"]))[0].student.state_dict() for run in (without, ignored)]
    for name, weight in tensors[0].items():
        torch.testing.assert_close(weight, tensors[1][name], rtol=1e-5, atol=1e-6)
