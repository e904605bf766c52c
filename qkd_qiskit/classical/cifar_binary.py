"""CIFAR-10's binary version: six files of 10,000 records, each a label and 3 x 32 x 32 pixels; no pickle is loaded."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qkd_qiskit.exceptions import DataError

FOLDER = "cifar-10-batches-bin"
SHAPE = (3, 32, 32)
CHECKSUMS = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
"""MD5 of the official files."""
REMEDY = f"Unpack cifar-10-binary.tar.gz again into the folder that holds {FOLDER}."
Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def is_complete(folder: Path) -> bool:
    """Find out whether all six files are there."""
    return all((folder / name).is_file() for name in CHECKSUMS)


def read_batches(folder: Path) -> tuple[Batch, Batch]:
    """Read and check all batches.

    Args:
        folder: that holds them, `.../cifar-10-batches-bin`.

    Returns:
        Pixels `(N, 3, 32, 32)` and labels `(N,)` of the training and of the test images.

    Raises:
        DataError: a file is missing, can't be read, or is not the official one.
    """
    *train, test = (_read_batch(folder / name, checksum) for name, checksum in CHECKSUMS.items())
    pixels, labels = zip(*train)
    return (np.concatenate(pixels), np.concatenate(labels)), test


def _read_batch(path: Path, checksum: str) -> Batch:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}. {REMEDY}") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != checksum:
        raise DataError(f"{path} is damaged: its MD5 is {found}, wanted {checksum}. {REMEDY}")
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + int(np.prod(SHAPE)))
    return records[:, 1:].reshape(-1, *SHAPE).copy(), records[:, 0].astype(np.int64)
