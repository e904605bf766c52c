import os
import stat
import urllib.error
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from qkd_qiskit.classical.datasets import DATASETS, Dataset, load_dataset, parse_classes
from qkd_qiskit.exceptions import ConfigurationError, DataError
from tests.classical.idx_files import write_mnist


def rows(images: Any) -> set[bytes]:
    return {pixels.numpy().tobytes() for pixels in images.pixels}


def test_parse_classes() -> None:
    assert parse_classes("0-7", 10) == tuple(range(8))
    assert parse_classes("6, 0,3", 10) == (6, 0, 3)
    assert parse_classes("0-2,9", 10) == (0, 1, 2, 9)
    assert parse_classes("all", 10) == parse_classes(None, 10) == tuple(range(10))
    assert parse_classes([3, 1], 10) == (3, 1)


@pytest.mark.parametrize(
    ("classes", "telling"),
    [
        ("0-10", "no class 10; this data set has 0-9"),
        ([0, -1], "no class -1"),
        ("0,3,3", "class 3 is there twice"),
        ("0-3,2", "class 2 is there twice"),
        ("7-0", "write 0-7"),
        ("zero", "can't read 'zero'"),
        ("0,,1", "can't read ''"),
        ("", "can't read ''"),
        ("0-", "write 0-7"),
        ("0-99999999999", "no class 99999999999"),
        ("4", "at least two"),
    ],
)
def test_parse_classes_refuses(classes: Any, telling: str) -> None:
    with pytest.raises(ConfigurationError, match=telling):
        parse_classes(classes, 10)


def test_digits_need_nothing() -> None:
    data = load_dataset()
    assert (data.name, data.num_classes, data.image_shape) == ("digits", 10, (1, 28, 28))
    assert len(data.teacher_train) + len(data.validation) + len(data.test) == 1797
    assert data.train.pixels.min() == 0
    assert data.train.pixels.max() == 1
    assert sorted(Counter(data.test.labels.tolist()).values()) == [35, 35, 36, 36, 36, 36, 36, 36, 36, 37]
    parts = [rows(part) for part in (data.teacher_train, data.validation, data.test)]
    assert sum(map(len, parts)) == 1797
    assert len(set.union(*parts)) == 1797


def test_test_images_do_not_depend_on_the_seed() -> None:
    assert load_dataset(seed=0).test.digest == load_dataset(seed=1).test.digest
    assert load_dataset(seed=0).validation.digest != load_dataset(seed=1).validation.digest


def test_split_is_stratified_and_seeded() -> None:
    first, again = (load_dataset(classes="3,5", validation_fraction=0.25, seed=4) for _ in range(2))
    assert first.validation.digest == again.validation.digest
    assert first.train.digest == again.train.digest
    for label, total in Counter(first.teacher_train.labels.tolist() + first.validation.labels.tolist()).items():
        assert int((first.validation.labels == label).sum()) == round(total / 4)


def test_caps_do_not_reshuffle() -> None:
    whole = load_dataset(seed=2)
    capped = load_dataset(seed=2, train_per_class=20, validation_per_class=3, test_per_class=5)
    assert (len(capped.train), len(capped.validation), len(capped.test)) == (200, 30, 50)
    assert set(Counter(capped.train.labels.tolist()).values()) == {20}
    assert capped.teacher_train.digest == whole.teacher_train.digest == whole.train.digest
    assert capped.teacher_validation is not None
    assert capped.teacher_validation.digest == whole.validation.digest
    assert rows(load_dataset(seed=2, train_per_class=10).train) < rows(capped.train) < rows(whole.train)
    assert rows(capped.validation) < rows(whole.validation)
    assert rows(capped.test) < rows(whole.test)
    assert load_dataset(seed=2, train_per_class=10_000).train.digest == whole.train.digest


def test_labels_follow_the_order_of_the_classes() -> None:
    forward, backward = load_dataset(classes="2,8"), load_dataset(classes="8,2")
    assert forward.classes == (2, 8)
    assert torch.equal(forward.train.pixels, backward.train.pixels)
    assert torch.equal(forward.train.labels, 1 - backward.train.labels)


@pytest.mark.parametrize(
    ("settings", "telling"),
    [
        ({"name": "mnits"}, "did you mean 'mnist'"),
        ({"name": "svhn"}, "digits, mnist, fashion_mnist, cifar10"),
        ({"train_per_class": 0}, "train_per_class is 0"),
        ({"validation_per_class": -1}, "validation_per_class is -1"),
        ({"test_per_class": 0}, "test_per_class is 0"),
        ({"validation_fraction": 0.0}, r"\(0, 1\)"),
        ({"validation_fraction": float("nan")}, r"\(0, 1\)"),
        ({"seed": -1}, "seed is -1"),
        ({"classes": "0-12"}, "no class 10"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], telling: str) -> None:
    with pytest.raises(ConfigurationError, match=telling):
        load_dataset(**settings)


@pytest.mark.parametrize("compress", [True, False])
def test_mnist_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress: bool) -> None:
    write_mnist(tmp_path, monkeypatch, compress=compress)
    data = load_dataset("mnist", data_dir=tmp_path, classes="0-7")
    assert (len(data.teacher_train), len(data.validation), len(data.test)) == (40, 8, 24)
    assert data.image_shape == (1, 28, 28)
    assert 0.9 < float(data.train.pixels.max()) <= 1
    monkeypatch.setenv("QKD_DATA_DIR", str(tmp_path))
    assert load_dataset("mnist", classes="0-7").train.digest == data.train.digest


def test_folder_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_mnist(tmp_path / "data", monkeypatch, name="FashionMNIST")
    before = sorted(path.name for path in raw.iterdir())
    for folder in (raw, raw.parent, tmp_path / "data"):
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert len(load_dataset("fashion_mnist", data_dir=tmp_path / "data").test) == 30
        assert sorted(path.name for path in raw.iterdir()) == before
    finally:
        for folder in (tmp_path / "data", raw.parent, raw):
            folder.chmod(stat.S_IRWXU)


def test_class_without_images_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path, monkeypatch, labels=[0, 1, 2])
    assert load_dataset("mnist", data_dir=tmp_path, classes="0,2").num_classes == 2
    with pytest.raises(DataError, match="class 5 has 0 images"):
        load_dataset("mnist", data_dir=tmp_path, classes="0,5")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_named_folder_without_the_files_is_never_filled(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"--data-dir FOLDER or QKD_DATA_DIR") as caught:
        load_dataset(name, data_dir=tmp_path)
    wanted = "cifar-10-python.tar.gz" if name == "cifar10" else "train-images-idx3-ubyte[.gz]"
    assert wanted in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert not any(tmp_path.iterdir())
    monkeypatch.setenv("QKD_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="nowhere doesn't exist"):
        load_dataset(name)


def test_only_the_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_mnist(tmp_path, monkeypatch)
    (raw / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"which lacks t10k-labels-idx1-ubyte\[.gz\]\. Put"):
        load_dataset("mnist", data_dir=tmp_path)


def test_download_refused(cache: Path) -> None:
    with pytest.raises(DataError, match="which lacks train-images"):
        load_dataset("mnist", download=False)
    assert not cache.exists()


def test_no_net_says_where_to_put_what(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise urllib.error.URLError("no route to host")

    from qkd_qiskit.classical._torchvision import import_torchvision

    torchvision = import_torchvision()
    monkeypatch.setattr(torchvision.datasets.utils, "download_url", fail)
    monkeypatch.setattr(torchvision.datasets.cifar.CIFAR10, "download", fail)
    for name, folder in (("mnist", cache / "data" / "MNIST" / "raw"), ("cifar10", cache / "data")):
        with pytest.raises(DataError, match="no route to host") as caught:
            load_dataset(name)
        assert f"is not in {folder}" in str(caught.value)


def test_download_fills_the_cache_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qkd_qiskit.classical._torchvision import import_torchvision

    published = write_mnist(tmp_path / "net", monkeypatch)
    fetched: list[str] = []

    def download_url(url: str, root: str, filename: str, md5: str) -> None:
        fetched.append(url)
        if len(fetched) == 1:
            raise RuntimeError("File not found or corrupted.")  # the first mirror fails, the second one has it
        assert filename.endswith(".gz.part")
        (Path(root) / filename).write_bytes((published / os.path.basename(url)).read_bytes())

    monkeypatch.setattr(import_torchvision().datasets.utils, "download_url", download_url)
    assert len(load_dataset("mnist").test) == 30
    assert len(fetched) == 5
    assert sorted(path.suffix for path in (cache / "data/MNIST/raw").iterdir() if "idx" in path.name) == [".gz"] * 4
    assert len(load_dataset("mnist").test) == 30
    assert len(fetched) == 5


def test_every_name_has_a_loader() -> None:
    assert list(DATASETS) == ["digits", "mnist", "fashion_mnist", "cifar10"]


@pytest.mark.mnist
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_real_files(real_data: Path, name: str) -> None:
    data: Dataset = load_dataset(name, data_dir=real_data, classes="0-7", train_per_class=150)
    per_class = {"mnist": 8017, "fashion_mnist": 8000}
    assert len(data.test) == per_class[name]
    assert len(data.train) == 1200
    assert len(data.teacher_train) + len(data.validation) == {"mnist": 48200, "fashion_mnist": 48000}[name]
