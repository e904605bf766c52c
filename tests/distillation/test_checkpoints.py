"""Checkpoints: what is damaged is refused by name, what is killed in the middle stays loadable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from qkd_qiskit.distillation import checkpoints
from qkd_qiskit.distillation.checkpoints import load_checkpoint, restore_student, save_checkpoint
from qkd_qiskit.distillation.training import TrainingPlan, TrainingState
from qkd_qiskit.exceptions import RunError

PLAN = TrainingPlan(epochs=1, batch_size=1, learning_rate=0.1)


def make_state(outputs: int = 3, epoch: int = 1) -> TrainingState:
    state = TrainingState.start(nn.Linear(5, outputs), PLAN)
    state.student(torch.ones(2, 5)).sum().backward()
    state.optimizer.step()
    state.epoch = epoch
    return state


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "last.safetensors", make_state(), {"best": {"epoch": 1}})
    return tmp_path / "last.safetensors"


def test_facts_and_weights_come_back(saved: Path) -> None:
    tensors, facts = load_checkpoint(saved)
    assert facts == {"best": {"epoch": 1}, "epoch": 1}
    student = nn.Linear(5, 3)
    restore_student(student, tensors, saved)
    torch.testing.assert_close(student.weight.detach(), tensors["student.weight"], rtol=0, atol=0)


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_every_flipped_bit_and_cut_is_detected(saved: Path, suffix: str) -> None:
    path = saved.with_suffix(suffix)
    good = path.read_bytes()
    generator = np.random.default_rng(0)
    detected = 0
    for trial in range(100):
        damaged = bytearray(good)
        if trial % 2:
            damaged = damaged[: generator.integers(0, len(good))]
        else:
            damaged[generator.integers(0, len(good))] ^= 1 << generator.integers(0, 8)
        path.write_bytes(bytes(damaged))
        try:
            load_checkpoint(saved)
        except RunError:
            detected += 1
        else:  # only white space between JSON tokens may change without harm
            assert suffix == ".json"
            assert bytes(damaged).split() == good.split()
            detected += 1
    assert detected == 100


def test_a_kill_between_the_two_files_leaves_a_good_checkpoint(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill at the n-th write for n = 1, 2, ... until none is left: what is on disk is always the old or the new."""
    real = checkpoints.write_atomically
    for n in range(1, 10):
        calls = 0

        def killed(path: Path, write: object, limit: int = n) -> None:
            nonlocal calls
            calls += 1
            if calls == limit:
                raise KeyboardInterrupt
            real(path, write)  # type: ignore[arg-type]

        monkeypatch.setattr(checkpoints, "write_atomically", killed)
        monkeypatch.setattr("qkd_qiskit.files.write_atomically", killed)
        try:
            save_checkpoint(saved, make_state(epoch=n + 1), {"best": None})
        except KeyboardInterrupt:
            assert load_checkpoint(saved)[1]["epoch"] in (1, n + 1)
            continue
        break
    assert n == 4  # the tensors aside, the voucher, the rename, and the try with none
    assert load_checkpoint(saved)[1]["epoch"] == n + 1


def test_another_shape_is_refused_with_path_wanted_and_found(saved: Path) -> None:
    tensors, _ = load_checkpoint(saved)
    with pytest.raises(
        RunError, match=r"last.safetensors does not fit.*'bias' should be \(7,\), the checkpoint has \(3,\)"
    ):
        restore_student(nn.Linear(5, 7), tensors, saved)
    with pytest.raises(RunError, match=r"should be nothing"):
        restore_student(nn.Linear(5, 3, bias=False), tensors, saved)


def test_a_missing_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no checkpoint .*before its first epoch"):
        load_checkpoint(tmp_path / "best.safetensors")


def test_a_damaged_checkpoint_is_never_vouched_for(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-5])
    state = make_state(epoch=2)
    save_checkpoint(saved, state, {"best": None})
    vouched = checkpoints._read_voucher(saved)["sha256"]
    assert len(vouched) == 1


def test_a_full_disk_harms_nothing(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(RunError, match=r"No space left on device.*make room"):
        save_checkpoint(saved, make_state(epoch=2), {"best": None})
    assert load_checkpoint(saved)[1]["epoch"] == 1
    assert sorted(path.name for path in saved.parent.iterdir()) == ["last.json", "last.safetensors"]
