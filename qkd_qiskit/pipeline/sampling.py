"""Which images are measured, where not all are."""

from __future__ import annotations

import numpy as np


def select_rows(labels: np.ndarray, samples: int, *, seed: int = 0) -> list[int]:
    """Draw rows in equal parts from the classes (as equal as their number allows), in ascending order.

    Args:
        labels: `(N,)`.
        samples: how many, at most `N`.
        seed: decides which.
    """
    generator = np.random.default_rng(seed)
    position, order = np.empty(len(labels)), generator.permutation(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        position[members] = np.arange(len(members)) + generator.random()
    return np.sort(np.argsort(position)[:samples]).tolist()
