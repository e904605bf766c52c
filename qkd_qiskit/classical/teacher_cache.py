"""Trained teachers and their logits, kept by content: what is asked for again is read, never computed twice.

    teachers/<architecture>-<key>.safetensors    weights
    teachers/<architecture>-<key>.json           what the key is a hash of, the weights' SHA-256, what training gave
    teachers/logits/<teacher>-<images>.safetensors

A file that fails its SHA-256 is computed again, with a warning; so is one that can't be written.
"""

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import safetensors
import safetensors.torch
import torch
from torch import nn

from qkd_qiskit.classical.cache_folder import write_whole
from qkd_qiskit.classical.teacher_training import TrainedTeacher
from qkd_qiskit.exceptions import DataError

logger = logging.getLogger(__name__)


def hash_identity(identity: dict[str, Any]) -> str:
    """Return the SHA-256 of a dict's canonical JSON.

    Args:
        identity: everything that changes the answer, and nothing else.
    """
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


Read = Callable[[Path], nn.Module]
"""Reads a network; raises `DataError` if it can't."""
Write = Callable[[Path, nn.Module], str]
"""Writes a network and returns the file's SHA-256."""


def fetch_teacher(
    folder: Path,
    identity: dict[str, Any],
    train: Callable[[], TrainedTeacher],
    *,
    read: Read,
    write: Write,
) -> nn.Module:
    """Return the teacher of this identity: read if it is there, else trained and written.

    Of two processes that want the same new teacher, the second waits for the first and reads.

    Args:
        folder: the `teachers` folder of a cache.
        identity: what the weights depend on; `identity["architecture"]` is in the file's name.
        train: trains it.
        read: reads a network that `write` wrote.
        write: writes it.

    Returns:
        The network in evaluation mode.
    """
    path = folder / f"{identity['architecture']}-{hash_identity(identity)[:24]}.safetensors"
    network = _read_entry(path, identity, read)
    if network is not None:
        return network
    with _lock_entry(path) as writable:
        network = _read_entry(path, identity, read, quiet=True)
        if network is not None:
            return network
        trained = train()
        if writable:
            _write_entry(path, identity, write, trained)
        return trained.network


def fetch_logits(
    folder: Path, teacher_digest: str, images_digest: str, compute: Callable[[], torch.Tensor]
) -> torch.Tensor:
    """Return the logits of one teacher for some images: read if they are there, else computed and written.

    Args:
        folder: the `teachers` folder of a cache.
        teacher_digest: identity of the weights.
        images_digest: identity of the N images.
        compute: computes them.

    Returns:
        float32 logits of shape (N, K).
    """
    path = folder / "logits" / f"{teacher_digest[:24]}-{images_digest[:24]}.safetensors"
    identity = {"teacher": teacher_digest, "images": images_digest}
    if path.is_file():
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                logits, metadata = file.get_tensor("logits"), file.metadata() or {}
            if metadata == {**identity, "digest": _digest_tensor(logits)}:
                return logits
            problem = "its content is not what its digest says"
        except (OSError, safetensors.SafetensorError) as error:
            problem = str(error)
        _warn(f"the cached logits {path} are damaged ({problem}); they are computed again")
    logits = compute()
    with _tolerate_unwritable(path):
        metadata = {**identity, "digest": _digest_tensor(logits)}
        write_whole(path, safetensors.torch.save({"logits": logits.contiguous()}, metadata))
    return logits


def _read_entry(path: Path, identity: dict[str, Any], read: Read, *, quiet: bool = False) -> nn.Module | None:
    """Return a cached teacher, or None (with a warning) if it is missing (is damaged)."""
    record_path = path.with_suffix(".json")
    if not record_path.is_file():
        return None
    try:
        record = json.loads(record_path.read_bytes())
        if record["identity"] != json.loads(json.dumps(identity)):
            raise DataError("its record is of another teacher")
        if hashlib.sha256(path.read_bytes()).hexdigest() != record["sha256"]:
            raise DataError("its SHA-256 is not the recorded one")
        return read(path)
    except (OSError, ValueError, KeyError, TypeError, DataError) as error:
        if not quiet:
            _warn(f"the cached teacher {path} is damaged ({error}); it is trained again")
        return None


def _write_entry(path: Path, identity: dict[str, Any], write: Write, trained: TrainedTeacher) -> None:
    """Write weights first and their record last: an entry without a record doesn't exist."""
    with _tolerate_unwritable(path):
        digest = write(path, trained.network)
        record = {
            "identity": identity,
            "sha256": digest,
            "best_epoch": trained.best_epoch,
            "validation_correct": trained.validation_correct,
            "validation_total": trained.validation_total,
            "seconds": round(trained.seconds, 3),
            "torch": torch.__version__,
        }
        write_whole(path.with_suffix(".json"), json.dumps(record, indent=2).encode())


@contextmanager
def _lock_entry(path: Path) -> Iterator[bool]:
    """Hold the entry's lock; yield False, with a warning, where the cache can't be written and so not locked."""
    lock = filelock.FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            logger.warning("another process is training this teacher (%s); waiting for it", path.stem)
            lock.acquire()
    except OSError as error:
        _warn(f"the cache {path.parent} can't be written ({error}); set QKD_CACHE_DIR to a folder that can")
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def _tolerate_unwritable(path: Path) -> Iterator[None]:
    """Turn a failed write into a warning: the result is there, only the next run has to compute it again."""
    try:
        yield
    except OSError as error:
        _warn(f"{path} can't be written ({error}); set QKD_CACHE_DIR to a folder that can. It will be computed again")


def _digest_tensor(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().data).hexdigest()


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=4)
