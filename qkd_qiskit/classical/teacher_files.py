"""Teacher weights on disk: our safetensors files, and foreign ones with the architecture inferred. Never a pickle."""

import hashlib
import json
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from qkd_qiskit.classical.cache_folder import write_whole
from qkd_qiskit.classical.images import Dataset
from qkd_qiskit.classical.teacher_networks import TEACHERS, build_empty
from qkd_qiskit.exceptions import DataError

Weights = Mapping[str, torch.Tensor]
HOW_TO_SAVE = (
    "Save a foreign teacher with torch.save(network.state_dict(), 'teacher.pt'), or name one of: " + ", ".join(TEACHERS)
)


def write_teacher(path: Path, network: nn.Module, architecture: str, dataset: Dataset) -> str:
    """Write weights as safetensors, with what they are for in the file's metadata.

    Args:
        path: the file to make or replace.
        network: the teacher.
        architecture: one of `TEACHERS`.
        dataset: gives the shapes and the classes that the logits stand for.

    Returns:
        SHA-256 of the file.

    Raises:
        OSError: If the file can't be written.
    """
    metadata = {
        "architecture": architecture,
        "dataset": dataset.name,
        "classes": json.dumps(dataset.classes),
        "image_shape": json.dumps(dataset.image_shape),
        "digest": digest_network(architecture, network),
    }
    weights = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    content = safetensors.torch.save(weights, metadata)
    write_whole(path, content)
    return hashlib.sha256(content).hexdigest()


def read_teacher(path: Path, dataset: Dataset) -> tuple[str, nn.Module]:
    """Read a teacher: `.safetensors`, or else a state_dict saved by torch, read with `weights_only=True`.

    Args:
        path: the file.
        dataset: what the teacher is for: gives K and (C, H, W).

    Returns:
        The architecture's name and the network in evaluation mode.

    Raises:
        DataError: If the file is missing, damaged or holds more than tensors, fits no architecture for these classes
            and images, was trained for other classes, or has weights that are not finite.
    """
    if not path.is_file():
        raise DataError(f"the teacher file {path} doesn't exist. {HOW_TO_SAVE}")
    weights, metadata = _read_safetensors(path) if path.suffix == ".safetensors" else (_read_torch(path), {})
    if metadata.get("architecture") not in TEACHERS:
        return restore_network(path, weights, TEACHERS, dataset)
    classes = metadata.get("classes")
    if classes != json.dumps(dataset.classes):
        raise DataError(
            f"the teacher {path} was trained for the classes {classes}, but this data set has "
            f"{list(dataset.classes)}. Choose these with --classes, or another teacher."
        )
    architecture, network = restore_network(path, weights, [metadata["architecture"]], dataset)
    if digest_network(architecture, network) != metadata.get("digest"):
        raise DataError(f"the teacher file {path} is damaged: its digest is not the one written in it. Train it again.")
    return architecture, network


def restore_network(path: Path, weights: Weights, candidates: Iterable[str], dataset: Dataset) -> tuple[str, nn.Module]:
    """Put weights into the first candidate that they fit: by names and shapes, else by the order of their shapes.

    Args:
        path: where they are from, for messages.
        weights: tensors by name.
        candidates: names in `TEACHERS`.
        dataset: gives K and (C, H, W).

    Returns:
        The architecture's name and the network in evaluation mode.

    Raises:
        DataError: If they fit none, or are not finite.
    """
    misfits = []
    for architecture in candidates:
        network = build_empty(architecture, dataset.num_classes, dataset.image_shape)
        wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        fitting, misfit = _fit_weights(weights, wanted)
        if misfit:
            misfits.append(f"  {architecture}: {misfit}")
            continue
        bad = next((key for key, value in fitting.items() if not bool(torch.isfinite(value).all())), None)
        if bad is not None:
            raise DataError(f"the teacher {path} has values in {bad} that are not finite. Train it again.")
        network.load_state_dict(fitting, assign=True)
        return architecture, network.requires_grad_(True).eval()
    raise DataError(
        f"the teacher {path} fits no architecture for {dataset.num_classes} classes and images of shape "
        f"{dataset.image_shape}:\n" + "\n".join(misfits) + f"\n{HOW_TO_SAVE}"
    )


def digest_network(architecture: str, network: nn.Module) -> str:
    """Return a SHA-256 of architecture and weights: equal for equal teachers, wherever they are from."""
    content = hashlib.sha256(architecture.encode())
    for key, value in sorted(network.state_dict().items()):
        content.update(f"{key} {tuple(value.shape)}".encode())
        content.update(value.detach().cpu().contiguous().numpy().data)
    return content.hexdigest()


def _fit_weights(weights: Weights, wanted: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, torch.Tensor], str]:
    """Return float32 weights under the wanted names, or an empty dict and the first misfit."""
    if len(weights) != len(wanted):
        return {}, f"wanted {len(wanted)} tensors, found {len(weights)}"
    names = list(wanted) if set(wanted) == set(weights) else list(weights)
    for (key, shape), name in zip(wanted.items(), names):
        if tuple(weights[name].shape) != shape:
            return {}, f"{key}: wanted shape {shape}, found {name} of shape {tuple(weights[name].shape)}"
    return {key: weights[name].detach().float() for key, name in zip(wanted, names)}, ""


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read tensors and metadata."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise DataError(f"the teacher file {path} is damaged: {error}. Get or train it again.") from error


def _read_torch(path: Path) -> dict[str, torch.Tensor]:
    """Read a state_dict without running any code that the file may hold."""
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"the teacher file {path} is refused: it is damaged, or holds more than tensors (a whole pickled "
            f"network can run any code when it is loaded). {HOW_TO_SAVE}"
        ) from error
    except Exception as error:  # torch raises a dozen kinds (measured by flipping bits), AssertionError among them
        raise DataError(
            f"the teacher file {path} can't be read ({type(error).__name__}: {error}). {HOW_TO_SAVE}"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content or not all(torch.is_tensor(value) for value in content.values()):
        raise DataError(f"the teacher file {path} holds no state_dict, that is a dict of tensors. {HOW_TO_SAVE}")
    return {str(key): value for key, value in content.items()}
