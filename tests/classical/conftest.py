"""Small data and a cache of its own for every test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from qkd_qiskit.classical.datasets import Dataset, Images, load_dataset

USER_DATA = os.environ.get("QKD_DATA_DIR")


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing from threads, and lose much to them where several tests run at once."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("QKD_CACHE_DIR", str(folder))
    monkeypatch.delenv("QKD_DATA_DIR", raising=False)
    return folder


@pytest.fixture
def real_data() -> Path:
    if not USER_DATA:
        pytest.skip("QKD_DATA_DIR is not set: no folder with the real MNIST and Fashion-MNIST files")
    return Path(USER_DATA)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits", classes="0,1,2")


@pytest.fixture
def tiny() -> Dataset:
    """Two classes of 16x16 images that differ in brightness."""

    def draw(count: int, seed: int) -> Images:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(count) % 2
        noise = torch.rand(count, 1, 16, 16, generator=generator)
        return Images(0.5 * noise + 0.5 * labels.view(-1, 1, 1, 1), labels)

    train = draw(24, 0)
    return Dataset("tiny", (0, 1), train, train, draw(8, 1), draw(8, 2))
