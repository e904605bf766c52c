"""Which image goes where: stratified, seeded, and the same for a class whatever other classes are chosen."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qkd_qiskit.exceptions import DataError

Positions = npt.NDArray[np.int64]


def shuffle_class(labels: npt.NDArray[np.int64], original_label: int, *, seed: int) -> Positions:
    """Return the positions of one class in an order that depends on the seed and the class alone.

    Args:
        labels: original labels of shape (N,).
        original_label: the class.
        seed: decides the order.

    Returns:
        Positions of shape (number of images of the class,).

    Raises:
        DataError: If the class has fewer than two images, so that it can't be split.
    """
    positions = np.flatnonzero(labels == original_label)
    if len(positions) < 2:
        counts = {int(label): int(count) for label, count in zip(*np.unique(labels, return_counts=True))}
        raise DataError(
            f"class {original_label} has {len(positions)} images in this data, but a split needs at least 2 a class. "
            f"Images by class: {counts}. Leave the class out with --classes, or use complete data files."
        )
    return np.random.default_rng([seed, original_label]).permutation(positions)


def split_classes(
    labels: npt.NDArray[np.int64], classes: Sequence[int], fraction: float, *, seed: int
) -> tuple[list[Positions], list[Positions]]:
    """Cut each class into a large and a small part.

    Args:
        labels: original labels of shape (N,).
        classes: the K original labels to split.
        fraction: share of each class that goes into the small part, in (0, 1); at least one image does.
        seed: decides which.

    Returns:
        The large and the small parts: K arrays of positions each, in shuffled order, so that the first M of one are a
        random M, and the same ones whatever the other classes are.

    Raises:
        DataError: If a class has fewer than two images.
    """
    large, small = [], []
    for original_label in classes:
        positions = shuffle_class(labels, original_label, seed=seed)
        cut = min(max(1, round(fraction * len(positions))), len(positions) - 1)
        small.append(positions[:cut])
        large.append(positions[cut:])
    return large, small


def merge_classes(parts: Sequence[Positions], per_class: int | None) -> Positions:
    """Return the first `per_class` positions of each class (all if None) in the data set's own order.

    Args:
        parts: K arrays of positions.
        per_class: the most that are taken of each class.

    Returns:
        Sorted positions of shape (M,).
    """
    return np.sort(np.concatenate([part[:per_class] for part in parts]))
