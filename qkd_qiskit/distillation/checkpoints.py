"""Checkpoints: one safetensors file with everything the next epoch needs, and a JSON file that vouches for it.

The JSON holds the digest of the tensors it belongs to and of the ones they replace. It is written first; so whenever
the process is killed, the tensors on disk are vouched for, old or new. A damaged file is refused by name.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from qkd_qiskit.distillation.training import TrainingState
from qkd_qiskit.exceptions import RunError
from qkd_qiskit.files import digest_of, digest_of_file, read_json, write_atomically, write_json

FORMAT = "qkd_qiskit checkpoint 1"


def save_checkpoint(path: Path, state: TrainingState, facts: dict[str, Any]) -> None:
    """Save a training state.

    Args:
        path: the `.safetensors` file; a `.json` of the same name is written beside it.
        state: what to save.
        facts: plain data kept with it (accuracy, best epoch, ...).

    Raises:
        RunError: a file can't be written; the previous checkpoint is then still good.
    """
    header = {"format": FORMAT, "facts": json.dumps({**facts, "epoch": state.epoch})}
    aside = path.with_name(f".{path.name}.next")
    write_atomically(aside, lambda place: save_file(_pack(state), place, metadata=header))
    accepted = [digest_of_file(aside), *_vouched_for(path)]
    voucher = {"format": FORMAT, "sha256": accepted, "epoch": state.epoch, "facts": facts}
    write_json(path.with_suffix(".json"), {**voucher, "self": digest_of(voucher)})
    write_atomically(path, lambda place: _move(aside, place))


def _vouched_for(path: Path) -> list[str]:
    """Return the digest of the checkpoint that is about to be replaced, if it is a good one."""
    try:
        digest = digest_of_file(path)
        return [digest] if digest in _read_voucher(path)["sha256"] else []
    except RunError:
        return []


def _read_voucher(path: Path) -> dict[str, Any]:
    voucher = read_json(path.with_suffix(".json"))
    own = voucher.pop("self", None) if isinstance(voucher, dict) else None
    if own is None or own != digest_of(voucher):
        raise RunError(f"{path.with_suffix('.json')} was changed or damaged; {_remedy(path)}")
    return voucher


def _move(source: Path, target: Path) -> None:
    source.replace(target)


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a checkpoint after checking its digest.

    Args:
        path: the `.safetensors` file.

    Returns:
        Its tensors by name and its facts.

    Raises:
        RunError: it is missing, truncated, changed, or of another format.
    """
    if not path.exists():
        raise RunError(f"there is no checkpoint {path}; the run was stopped before its first epoch ended")
    if digest_of_file(path) not in _read_voucher(path)["sha256"]:
        raise RunError(
            f"{path} was changed or damaged (its SHA-256 is not the one recorded beside it); {_remedy(path)}"
        )
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} can't be read as safetensors: {error}; {_remedy(path)}") from error
    if header.get("format") != FORMAT:
        raise RunError(f"{path} has format {header.get('format')!r}, this version reads {FORMAT!r}")
    return tensors, json.loads(header["facts"])


def _remedy(path: Path) -> str:
    return "go on with `qkd-qiskit train --resume` if the run is unfinished, else train again"


def digest_weights(student: nn.Module) -> str:
    """Return the SHA-256 of a student's weights by name: equal for equal students, whatever file they came from."""
    content = hashlib.sha256()
    for name, tensor in sorted(name_weights(student).items()):
        content.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        content.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()


def restore_student(student: nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Put a checkpoint's weights into a student of the same shape.

    Raises:
        RunError: a weight is missing, unknown, or of another shape; path, wanted and found are named.
    """
    found = {name.removeprefix("student."): tensor for name, tensor in tensors.items() if name.startswith("student.")}
    wanted = name_weights(student)
    for name in sorted(wanted.keys() | found.keys()):
        shapes = [tuple(table[name].shape) if name in table else "nothing" for table in (wanted, found)]
        if shapes[0] != shapes[1]:
            raise RunError(
                f"{path} does not fit this student: weight {name!r} should be {shapes[0]}, the checkpoint has "
                f"{shapes[1]}; its config.json and its checkpoint are from different runs or versions"
            )
    with torch.no_grad():
        for name, weight in wanted.items():
            weight.copy_(found[name])


def restore_state(state: TrainingState, tensors: dict[str, torch.Tensor], facts: dict[str, Any], path: Path) -> None:
    """Put a whole training state back, so that training goes on as if it had never stopped.

    Raises:
        RunError: the checkpoint is of another shape.
    """
    restore_student(state.student, tensors, path)
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = tensor
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    state.order.set_state(tensors["order"])
    state.epoch = int(facts["epoch"])


def name_weights(student: nn.Module) -> dict[str, torch.Tensor]:
    """Name each trainable weight and buffer once (`TorchConnector` registers its weight under two names)."""
    named = [*student.named_parameters(), *student.named_buffers()]
    saved = student.state_dict().keys()
    return {name: tensor for name, tensor in named if name in saved}


def _pack(state: TrainingState) -> dict[str, torch.Tensor]:
    tensors = {f"student.{name}": tensor.detach() for name, tensor in name_weights(state.student).items()}
    for index, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in moments.items()}
    tensors["order"] = state.order.get_state()
    return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
