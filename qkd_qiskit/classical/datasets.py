"""Load a data set and cut it into the parts of a study: `load_dataset`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from qkd_qiskit.classical.augmentation import Augmentation, augment
from qkd_qiskit.classical.images import Dataset, Images
from qkd_qiskit.classical.sources import (
    DataFolder,
    OfficialImages,
    load_cifar10,
    load_digits,
    load_fashion_mnist,
    load_mnist,
    locate_data,
)
from qkd_qiskit.classical.splits import Positions, merge_classes, shuffle_class, split_classes
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.suggestions import choose

__all__ = ["DATASETS", "Dataset", "Images", "load_dataset", "parse_classes"]

DATASETS: dict[str, Callable[[DataFolder], OfficialImages]] = {
    "digits": load_digits,
    "mnist": load_mnist,
    "fashion_mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
}


def load_dataset(
    name: str = "digits",
    *,
    classes: str | Sequence[int] | None = None,
    train_per_class: int | None = None,
    teacher_per_class: int | None = None,
    validation_per_class: int | None = None,
    test_per_class: int | None = None,
    validation_fraction: float = 0.1,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    data_dir: str | Path | None = None,
    download: bool = True,
) -> Dataset:
    """Load a data set, keep the chosen classes and split it.

    The training/validation split is stratified and depends on the data set, the class, the seed and the fraction only:
    caps cut it down and never reshuffle it, so the 50 images of `train_per_class=50` are among those of 150.

    Args:
        name: one of `DATASETS`; `digits` (scikit-learn's, 28x28) needs no files.
        classes: original labels, as text (`"0-7"`, `"0,3,6"`, `"all"`) or numbers; None is all.
        train_per_class: at most so many training images a class for the student.
        teacher_per_class: at most so many training images a class for the teacher, whatever the student has, and a
            quarter as many to choose its best epoch: what a large teacher on few cores is trained with.
        validation_per_class: at most so many validation images a class.
        test_per_class: at most so many official test images a class (chosen by the seed); None is the whole test set.
        validation_fraction: share of the official training images that validates, in (0, 1).
        augmentation: distorted copies that the student's training images get; the teacher trains without.
        seed: decides the split, the subsets and the copies.
        data_dir: folder with the files in torchvision's layout, plain or `.gz`; it is only read. Default: the
            environment variable QKD_DATA_DIR, else the cache.
        download: whether missing files may be downloaded into the cache.

    Returns:
        The data set.

    Raises:
        ConfigurationError: If the name or a class is unknown, or a number is out of its range.
        DataError: If files are missing or damaged, can't be downloaded, or hold too few images of a class.
    """
    load = choose("data set", name, DATASETS)
    _check_numbers(
        train_per_class=train_per_class,
        teacher_per_class=teacher_per_class,
        validation_per_class=validation_per_class,
        test_per_class=test_per_class,
    )
    if not 0 < validation_fraction < 1:
        raise ConfigurationError(f"validation_fraction is {validation_fraction}, but must be in (0, 1), e.g. 0.1")
    if seed < 0:
        raise ConfigurationError(f"seed is {seed}, but must be 0 or more")

    official = load(locate_data(data_dir, download=download) if name != "digits" else DataFolder(Path(), False))
    chosen = parse_classes(classes, official.num_available)
    large, small = split_classes(official.train_labels, chosen, validation_fraction, seed=seed)
    test = [shuffle_class(official.test_labels, label, seed=seed) for label in chosen]

    def pick_train(parts: list[Positions], cap: int | None) -> Images:
        return _pick(official.train_pixels, official.train_labels, merge_classes(parts, cap), chosen)

    whole, teacher_validation = pick_train(large, None), pick_train(small, None)
    train = pick_train(large, train_per_class) if train_per_class else whole
    return Dataset(
        name=name,
        classes=chosen,
        train=augment(train, augmentation, seed=seed) if augmentation and augmentation.copies else train,
        teacher_train=pick_train(large, teacher_per_class) if teacher_per_class else whole,
        validation=pick_train(small, validation_per_class) if validation_per_class else teacher_validation,
        test=_pick(official.test_pixels, official.test_labels, merge_classes(test, test_per_class), chosen),
        teacher_validation=pick_train(small, max(1, teacher_per_class // 4))
        if teacher_per_class
        else teacher_validation,
    )


def parse_classes(classes: str | Sequence[int] | None, num_available: int) -> tuple[int, ...]:
    """Return the chosen original labels in the order given.

    Args:
        classes: `"0-7"`, `"0,3,6"`, `"0-3,7"`, `"all"`, numbers, or None for all.
        num_available: number of classes that the data set has: labels are 0..num_available-1.

    Returns:
        K different labels.

    Raises:
        ConfigurationError: If the text can't be read, a class is unknown or there twice, or there are fewer than two.
    """
    if classes is None or classes == "all":
        return tuple(range(num_available))
    chosen = _read_classes(classes) if isinstance(classes, str) else [int(label) for label in classes]
    unknown = [label for label in chosen if not 0 <= label < num_available]
    if unknown:
        raise ConfigurationError(
            f"classes {classes!r}: there is no class {unknown[0]}; this data set has 0-{num_available - 1}"
        )
    twice = [label for index, label in enumerate(chosen) if label in chosen[:index]]
    if twice:
        raise ConfigurationError(f"classes {classes!r}: class {twice[0]} is there twice; name each class once")
    if len(chosen) < 2:
        raise ConfigurationError(f"classes {classes!r}: at least two are needed to tell them apart, e.g. 0-7 or 0,3,6")
    return tuple(chosen)


def _read_classes(text: str) -> list[int]:
    """Read `0-3,7` as 0, 1, 2, 3, 7."""
    labels: list[int] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ConfigurationError(f"classes {text!r}: can't read {part.strip()!r}; write 0-7, 0,3,6 or all")
        if dash and int(last) < int(first):
            raise ConfigurationError(f"classes {text!r}: {part.strip()!r} runs backwards; write {last}-{first}")
        if dash and int(last) > 10_000:
            raise ConfigurationError(f"classes {text!r}: there is no class {last}; write 0-7, 0,3,6 or all")
        labels.extend(range(int(first), int(last if dash else first) + 1))
    return labels


def _check_numbers(**numbers: int | None) -> None:
    """Refuse caps below 1."""
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ConfigurationError(f"{name} is {number}, but must be 1 or more; leave it out to take all images")


def _pick(
    pixels: npt.NDArray[Any], labels: npt.NDArray[np.int64], positions: Positions, classes: tuple[int, ...]
) -> Images:
    """Return the images at these positions as float32 in [0, 1], with labels 0..K-1 in the order of the classes."""
    picked = torch.from_numpy(pixels[positions])
    scaled = picked.float().div_(255) if picked.dtype == torch.uint8 else picked
    new_label = np.full(max(classes) + 1, -1, dtype=np.int64)
    new_label[list(classes)] = np.arange(len(classes))
    return Images(scaled, torch.from_numpy(new_label[labels[positions]]))
