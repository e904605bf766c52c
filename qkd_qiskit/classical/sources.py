"""The official images of each data set: where their files lie, how they are downloaded, read and checked."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import numpy.typing as npt
import torch

from qkd_qiskit.classical import cifar_binary, idx
from qkd_qiskit.classical._torchvision import import_torchvision
from qkd_qiskit.classical.cache_folder import locate_cache
from qkd_qiskit.classical.splits import merge_classes, split_classes
from qkd_qiskit.exceptions import DataError

# The test images of `digits` are the same in every study: scikit-learn has no official split, so this is ours.
DIGITS_TEST_FRACTION = 0.2
DIGITS_TEST_SEED = 20231113

# Any one of these will do.
_CIFAR10_FILES = (
    f"cifar-10-python.tar.gz or cifar-10-batches-py/ or {cifar_binary.FOLDER}/ (cifar-10-binary.tar.gz, unpacked)"
)


@dataclass(frozen=True, eq=False)
class OfficialImages:
    """A data set as published.

    Attributes:
        train_pixels: uint8 in 0..255 or float32 in [0, 1], shape (N, C, H, W).
        train_labels: original labels, int64, shape (N,).
        test_pixels: like `train_pixels`.
        test_labels: like `train_labels`.
        num_available: number of classes that the data set has.
    """

    train_pixels: npt.NDArray[Any]
    train_labels: npt.NDArray[np.int64]
    test_pixels: npt.NDArray[Any]
    test_labels: npt.NDArray[np.int64]
    num_available: int = 10


@dataclass(frozen=True)
class DataFolder:
    """Where to look for files.

    Attributes:
        path: a folder in torchvision's layout (`MNIST/raw/...`, `cifar-10-batches-py/...`), or with CIFAR-10's
            `cifar-10-batches-bin/...`.
        download: whether missing files may be downloaded into it.
    """

    path: Path
    download: bool


def locate_data(data_dir: str | Path | None, *, download: bool) -> DataFolder:
    """Return the folder to read: `data_dir`, else `$QKD_DATA_DIR`, else `data` in the cache.

    A folder that the user names is only read: files that it lacks are an error, never a silent download.

    Args:
        data_dir: the user's folder, or None.
        download: whether the cache may be filled from the net.

    Raises:
        DataError: If the user's folder doesn't exist.
    """
    given = data_dir or os.environ.get("QKD_DATA_DIR")
    if not given:
        return DataFolder(locate_cache() / "data", download)
    path = Path(given).expanduser()
    if not path.is_dir():
        raise DataError(
            f"the data folder {path} doesn't exist. Name another one with --data-dir or QKD_DATA_DIR, "
            "or leave both out to download into the cache."
        )
    return DataFolder(path, download=False)


def load_digits(folder: DataFolder) -> OfficialImages:
    """Return scikit-learn's 1,797 digits, scaled from 8x8 to 28x28 (bilinear); 20 % of each class are the test set.

    Args:
        folder: not used: these images come with scikit-learn.
    """
    from sklearn.datasets import load_digits as load_embedded  # slow to import, and only needed here

    embedded = load_embedded()
    small = torch.from_numpy(embedded.images).float()[:, None] / 16
    scaled = torch.nn.functional.interpolate(small, size=(28, 28), mode="bilinear").clamp(0, 1).numpy()
    labels = embedded.target.astype(np.int64)
    parts = split_classes(labels, range(10), DIGITS_TEST_FRACTION, seed=DIGITS_TEST_SEED)
    train, test = (merge_classes(part, None) for part in parts)
    return OfficialImages(scaled[train], labels[train], scaled[test], labels[test])


def load_mnist(folder: DataFolder) -> OfficialImages:
    """Return MNIST (60,000 and 10,000 images of shape (1, 28, 28))."""
    return _load_idx("MNIST", folder)


def load_fashion_mnist(folder: DataFolder) -> OfficialImages:
    """Return Fashion-MNIST (60,000 and 10,000 images of shape (1, 28, 28))."""
    return _load_idx("FashionMNIST", folder)


def load_cifar10(folder: DataFolder) -> OfficialImages:
    """Return CIFAR-10 (50,000 and 10,000 images of shape (3, 32, 32)), checked by MD5.

    The binary version is taken where it is complete, else the Python one, which torchvision reads: images and labels
    are the same.

    Raises:
        DataError: If the files are missing or damaged and can't be downloaded.
    """
    if cifar_binary.is_complete(folder.path / cifar_binary.FOLDER):
        training, testing = cifar_binary.read_batches(folder.path / cifar_binary.FOLDER)
        return OfficialImages(*training, *testing)
    source = import_torchvision().datasets.CIFAR10
    root = _unpack_cifar10(folder, source)
    try:
        train, test = source(root, train=True), source(root, train=False)
    except (OSError, RuntimeError) as error:
        batches = root / source.base_folder
        raise DataError(
            f"CIFAR-10 in {batches} is damaged or not whole. Delete that folder and unpack {source.filename} again, or "
            f"put the binary version's six files into {folder.path / cifar_binary.FOLDER}."
        ) from error
    pixels = [np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)) for part in (train, test)]
    labels = [np.asarray(part.targets, dtype=np.int64) for part in (train, test)]
    return OfficialImages(pixels[0], labels[0], pixels[1], labels[1])


def _load_idx(name: str, folder: DataFolder) -> OfficialImages:
    """Read the four files of MNIST or Fashion-MNIST, after downloading those that are missing."""
    raw = folder.path / name / "raw"
    missing = [file for file in idx.CHECKSUMS[name] if idx.find_idx(raw, file) is None]
    if missing and folder.download:
        _download(name, raw, lambda: _download_idx(name, raw))
    elif missing:
        raise DataError(_say_what_to_put(name, raw, [f"{file}[.gz]" for file in missing]))
    arrays: list[npt.NDArray[Any]] = []
    for images, labels in idx.IMAGES_AND_LABELS.values():
        for file in (images, labels):
            arrays.append(idx.read_idx(idx.find_idx(raw, file) or raw / file, idx.CHECKSUMS[name][file]))
    return OfficialImages(
        arrays[0][:, None], arrays[1].astype(np.int64), arrays[2][:, None], arrays[3].astype(np.int64)
    )


def _download_idx(name: str, raw: Path) -> None:
    """Download what is missing, each file aside first, so that a broken download leaves nothing to trip over."""
    torchvision = import_torchvision()
    source = getattr(torchvision.datasets, name)
    for archive, md5 in source.resources:
        if idx.find_idx(raw, archive.removesuffix(".gz")) is None:
            _try_mirrors(torchvision, [f"{mirror}{archive}" for mirror in source.mirrors], raw, archive, md5)


def _try_mirrors(torchvision: Any, urls: list[str], folder: Path, name: str, md5: str) -> None:
    """Download one file from the first address that has it; the last address's error is raised."""
    for url in urls:
        try:
            torchvision.datasets.utils.download_url(url, str(folder), f"{name}.part", md5)
            os.replace(folder / f"{name}.part", folder / name)
            return
        except (OSError, RuntimeError):
            if url == urls[-1]:
                raise


def _unpack_cifar10(folder: DataFolder, source: Any) -> Path:
    """Return a folder that holds CIFAR-10's batches, downloaded or unpacked into the cache where they are missing."""
    archive = folder.path / source.filename
    if (folder.path / source.base_folder).is_dir():
        return folder.path
    if folder.download:
        _fill_aside(folder.path, source.base_folder, lambda aside: source(aside, download=True))
        return folder.path
    if not archive.is_file():
        raise DataError(_say_what_to_put("CIFAR10", folder.path, [_CIFAR10_FILES]))
    files = import_torchvision().datasets.utils
    if not files.check_integrity(str(archive), source.tgz_md5):
        raise DataError(f"{archive} is damaged (its MD5 is not {source.tgz_md5}). Delete it and get it again.")
    target = locate_cache() / "data"
    _fill_aside(target, source.base_folder, lambda aside: files.extract_archive(str(archive), aside))
    return target


def _fill_aside(target: Path, name: str, fill: Callable[[str], Any]) -> None:
    """Fill a folder beside the target and move what it got in place, so that `target/name` is whole if it's there."""

    def fetch() -> None:
        if not (target / name).is_dir():
            with tempfile.TemporaryDirectory(dir=target, prefix=".part-") as aside:
                fill(aside)
                os.replace(Path(aside) / name, target / name)

    if not (target / name).is_dir():
        _download("CIFAR10", target, fetch)


def _download(name: str, folder: Path, fetch: Callable[[], Any]) -> None:
    """Run a download that only one process does at a time.

    Raises:
        DataError: If it fails: no net, no space, no right to write.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".download.lock"):
            fetch()
    except (OSError, RuntimeError) as error:
        files = [f"{file}[.gz]" for file in idx.CHECKSUMS.get(name, {})] or [_CIFAR10_FILES]
        raise DataError(f"{name} could not be downloaded: {error}.\n{_say_what_to_put(name, folder, files)}") from error


def _say_what_to_put(name: str, folder: Path, files: list[str]) -> str:
    """Say where which files belong."""
    layout = (
        "FOLDER/cifar-10-batches-py/... or FOLDER/cifar-10-batches-bin/..."
        if name == "CIFAR10"
        else f"FOLDER/{name}/raw/..."
    )
    inside = name == "CIFAR10" and folder.name in ("cifar-10-batches-py", cifar_binary.FOLDER)
    parent = " (what you named lies inside of such a FOLDER: name that one)" if inside else ""
    return (
        f"{name} is not in {folder}, which lacks {', '.join(files)}. Put the files there, or name the folder that has "
        f"them in torchvision's layout ({layout}) with --data-dir FOLDER or QKD_DATA_DIR{parent}. Without files there "
        "is --dataset digits."
    )
