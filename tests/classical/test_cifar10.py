import pickle
import shutil
import tarfile
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from qkd_qiskit.classical import cifar_binary
from qkd_qiskit.classical._torchvision import import_torchvision
from qkd_qiskit.classical.datasets import load_dataset
from qkd_qiskit.exceptions import DataError
from tests.classical.idx_files import write_cifar10


def test_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, monkeypatch)
    data = load_dataset("cifar10", data_dir=tmp_path, classes="0,4", validation_fraction=0.2)
    assert data.image_shape == (3, 32, 32)
    assert (len(data.teacher_train), len(data.validation), len(data.test)) == (16, 4, 4)


def test_damaged_batch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = write_cifar10(tmp_path, monkeypatch)
    (batches / "data_batch_3").write_bytes(b"damaged")
    with pytest.raises(DataError, match="is damaged"):
        load_dataset("cifar10", data_dir=tmp_path)


def test_archive_is_unpacked_into_the_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = write_cifar10(tmp_path / "unpacked", monkeypatch)
    given = tmp_path / "given"
    given.mkdir()
    source = import_torchvision().datasets.CIFAR10
    with tarfile.open(given / source.filename, "w:gz") as archive:
        archive.add(batches, arcname=source.base_folder)
    monkeypatch.setattr(source, "tgz_md5", md5((given / source.filename).read_bytes()).hexdigest())
    for _ in range(2):
        assert len(load_dataset("cifar10", data_dir=given).test) == 20
    assert [path.name for path in given.iterdir()] == [source.filename]
    assert (cache / "data" / source.base_folder).is_dir()

    (given / source.filename).write_bytes(b"damaged")
    with pytest.raises(DataError, match="its MD5 is not"):
        load_dataset("cifar10", data_dir=given)


def test_download_fills_the_cache_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = write_cifar10(tmp_path / "net", monkeypatch)
    source = import_torchvision().datasets.CIFAR10
    downloads: list[str] = []

    def download(self: Any) -> None:
        downloads.append(self.root)
        shutil.copytree(batches, Path(self.root) / source.base_folder)

    monkeypatch.setattr(source, "download", download)
    for _ in range(2):
        assert len(load_dataset("cifar10").test) == 20
    assert len(downloads) == 1
    assert [path.name for path in (cache / "data").iterdir() if path.is_dir()] == [source.base_folder]


def test_the_binary_version_holds_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = load_dataset("cifar10", data_dir=write_cifar10(tmp_path / "python", monkeypatch).parent)
    batches = tmp_path / "given" / cifar_binary.FOLDER
    batches.mkdir(parents=True)
    for name in cifar_binary.CHECKSUMS:
        content = pickle.loads((tmp_path / "python" / "cifar-10-batches-py" / name.removesuffix(".bin")).read_bytes())
        records = [bytes([label]) + pixels.tobytes() for label, pixels in zip(content["labels"], content["data"])]
        (batches / name).write_bytes(b"".join(records))
        monkeypatch.setitem(cifar_binary.CHECKSUMS, name, md5(b"".join(records)).hexdigest())
    found = load_dataset("cifar10", data_dir=batches.parent)
    for part in ("train", "validation", "test", "teacher_train"):
        assert getattr(found, part).digest == getattr(wanted, part).digest
    (batches.parent / "cifar-10-batches-py").mkdir()  # an empty folder hides nothing
    assert load_dataset("cifar10", data_dir=batches.parent).test.digest == wanted.test.digest
    (batches / "data_batch_2.bin").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"data_batch_2\.bin is damaged.*Unpack cifar-10-binary\.tar\.gz again"):
        load_dataset("cifar10", data_dir=batches.parent)
    (batches / "data_batch_2.bin").unlink()
    with pytest.raises(DataError, match=r"cifar-10-batches-py is damaged or not whole.*six files into .*batches-bin"):
        load_dataset("cifar10", data_dir=batches.parent)
    (batches.parent / "cifar-10-batches-py").rmdir()
    with pytest.raises(DataError, match=r"lacks cifar-10-python\.tar\.gz.*cifar-10-batches-bin/ \(cifar-10-binary"):
        load_dataset("cifar10", data_dir=batches.parent)
    with pytest.raises(DataError, match="lies inside of such a FOLDER"):
        load_dataset("cifar10", data_dir=batches)
    shutil.copytree(tmp_path / "python" / "cifar-10-batches-py", batches.parent / "cifar-10-batches-py")
    assert load_dataset("cifar10", data_dir=batches.parent).test.digest == wanted.test.digest
