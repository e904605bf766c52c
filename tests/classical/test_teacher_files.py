import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from qkd_qiskit.classical.images import Dataset
from qkd_qiskit.classical.teacher_files import digest_network, read_teacher, write_teacher
from qkd_qiskit.classical.teacher_networks import build_initial
from qkd_qiskit.classical.teachers import build_teacher
from qkd_qiskit.exceptions import DataError


@pytest.fixture
def network() -> torch.nn.Module:
    return build_initial("lenet", 2, (1, 16, 16), seed=0)


def test_round_trip(tmp_path: Path, tiny: Dataset, network: torch.nn.Module) -> None:
    write_teacher(tmp_path / "a.safetensors", network, "lenet", tiny)
    architecture, restored = read_teacher(tmp_path / "a.safetensors", tiny)
    assert architecture == "lenet"
    assert digest_network("lenet", restored) == digest_network("lenet", network)
    assert not restored.training


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("rename", [False, True])
def test_foreign_state_dict(tmp_path: Path, tiny: Dataset, network: torch.nn.Module, wrap: bool, rename: bool) -> None:
    state = network.state_dict()
    if rename:
        state = {f"module.layer{index}": value.double() for index, value in enumerate(state.values())}
    torch.save({"state_dict": state} if wrap else state, tmp_path / "foreign.pt")
    teacher = build_teacher(tmp_path / "foreign.pt", tiny)
    assert (teacher.name, teacher.architecture) == ("foreign.pt", "lenet")
    assert teacher.digest == digest_network("lenet", network)


def test_foreign_safetensors_without_metadata(tmp_path: Path, tiny: Dataset, network: torch.nn.Module) -> None:
    safetensors.torch.save_file(network.state_dict(), tmp_path / "a.safetensors")
    assert read_teacher(tmp_path / "a.safetensors", tiny)[0] == "lenet"


def test_pickled_code_is_refused_and_never_run(tmp_path: Path, tiny: Dataset, network: torch.nn.Module) -> None:
    class Malicious:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "run"),)

    torch.save({"weight": Malicious()}, tmp_path / "malicious.pt")
    torch.save(network, tmp_path / "whole.pt")
    for name in ("malicious.pt", "whole.pt"):
        with pytest.raises(DataError, match=rf"{name} is refused.*network.state_dict\(\)"):
            read_teacher(tmp_path / name, tiny)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [[1, 2], {}, {"weight": 3}, torch.zeros(3)])
def test_not_a_state_dict(tmp_path: Path, tiny: Dataset, content: Any) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match="holds no state_dict"):
        read_teacher(tmp_path / "a.pt", tiny)


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x80\x02}q\x00.", bytes(64)])
def test_damaged_files(tmp_path: Path, tiny: Dataset, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} (is|can't|holds)"):
        read_teacher(tmp_path / name, tiny)


def test_truncated_and_flipped(tmp_path: Path, tiny: Dataset, network: torch.nn.Module) -> None:
    path = tmp_path / "a.safetensors"
    write_teacher(path, network, "lenet", tiny)
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[-100] ^= 1
    for damaged in (content[:-10], bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="is damaged"):
            read_teacher(path, tiny)


def test_missing_file(tmp_path: Path, tiny: Dataset) -> None:
    with pytest.raises(DataError, match="doesn't exist"):
        build_teacher(tmp_path / "nowhere.pt", tiny)


def test_other_shape_says_wanted_and_found(tmp_path: Path, tiny: Dataset) -> None:
    ten = build_initial("lenet", 10, (1, 16, 16), seed=0)
    torch.save(ten.state_dict(), tmp_path / "ten.pt")
    with pytest.raises(DataError, match=r"wanted shape \(2, 84\), found classifier.5.weight of shape \(10, 84\)"):
        read_teacher(tmp_path / "ten.pt", tiny)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "one.pt")
    with pytest.raises(DataError, match=r"alexnet: wanted 12 tensors, found 1"):
        read_teacher(tmp_path / "one.pt", tiny)


def test_other_classes(tmp_path: Path, tiny: Dataset, network: torch.nn.Module) -> None:
    write_teacher(tmp_path / "a.safetensors", network, "lenet", tiny)
    swapped = Dataset("tiny", (1, 0), tiny.train, tiny.train, tiny.validation, tiny.test)
    with pytest.raises(DataError, match=r"trained for the classes \[0, 1\].*\[1, 0\]"):
        read_teacher(tmp_path / "a.safetensors", swapped)


def test_weights_that_are_not_finite(tmp_path: Path, tiny: Dataset, network: torch.nn.Module) -> None:
    state = network.state_dict()
    state["classifier.1.bias"][3] = float("nan")
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(DataError, match=r"classifier\.1\.bias that are not finite"):
        read_teacher(tmp_path / "a.pt", tiny)
