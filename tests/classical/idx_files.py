"""Write small data sets in torchvision's layout, with their checksums, so that tests need no download."""

import gzip
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest

from qkd_qiskit.classical import idx


def encode_idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.asarray(array.shape, dtype=">i4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def write_mnist(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    compress: bool = True,
    labels: range | list[int] = range(10),
    name: str = "MNIST",
) -> Path:
    """Write 60 training and 30 test images of 28x28 and make their checksums the wanted ones."""
    raw = folder / name / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    checksums = {}
    for split, count in (("train", 60), ("test", 30)):
        images, targets = idx.IMAGES_AND_LABELS[split]
        wanted = np.resize(np.asarray(labels), count)
        for file, array in ((images, generator.integers(0, 256, (count, 28, 28))), (targets, wanted)):
            content = encode_idx(array)
            checksums[file] = hashlib.sha256(content).hexdigest()
            path = raw / (f"{file}.gz" if compress else file)
            path.write_bytes(gzip.compress(content) if compress else content)
    monkeypatch.setitem(idx.CHECKSUMS, name, checksums)
    return raw


def write_cifar10(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write CIFAR-10 batches of 20 images each and make their MD5 sums the wanted ones."""
    from qkd_qiskit.classical._torchvision import import_torchvision

    source = import_torchvision().datasets.CIFAR10
    batches = folder / source.base_folder
    batches.mkdir(parents=True)
    generator = np.random.default_rng(0)

    def write(name: str, content: dict) -> str:
        (batches / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((batches / name).read_bytes()).hexdigest()

    def write_batch(name: str) -> list[str]:
        data = generator.integers(0, 256, (20, 3072), dtype=np.uint8)
        return [name, write(name, {"data": data, "labels": [index % 10 for index in range(20)]})]

    monkeypatch.setattr(source, "train_list", [write_batch(f"data_batch_{index}") for index in range(1, 6)])
    monkeypatch.setattr(source, "test_list", [write_batch("test_batch")])
    names = {"label_names": [str(index) for index in range(10)]}
    monkeypatch.setattr(source, "meta", {**source.meta, "md5": write("batches.meta", names)})
    return batches
