"""The head alone, fitted anew to what a backend measures of training images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from qkd_qiskit.classical.images import Dataset
from qkd_qiskit.config import LARGEST_SEED
from qkd_qiskit.distillation.losses import Objective
from qkd_qiskit.distillation.recalibration import check_refittable, refit_head
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.pipeline.placing import PlacedStudent
from qkd_qiskit.pipeline.sampling import select_rows

Measure = Callable[[np.ndarray, int], np.ndarray]
"""Measures parameter values `(N, A + P)` with a seed and returns expectation values `(N, O)`."""


def check_count(count: int, dataset: Dataset) -> None:
    """Find out whether there are so many training images.

    Raises:
        ConfigurationError: there are not, or fewer than two are asked for.
    """
    if not 2 <= count <= len(dataset.train):
        raise ConfigurationError(
            f"recalibrate {count}: the head is fitted to training images, of which there are {len(dataset.train)}; "
            f"give 2 to {len(dataset.train)}"
        )


def recalibrate(
    placed: PlacedStudent,
    dataset: Dataset,
    count: int,
    measure: Measure,
    *,
    objective: Objective | None = None,
    teacher_logits: torch.Tensor | None = None,
) -> nn.Module:
    """Measure some training images on a backend and fit the student's head anew to them.

    Args:
        placed: the student; left as it is.
        dataset: its training images.
        count: how many of them, in equal parts from the classes.
        measure: the backend.
        objective: see `refit_head`; cross-entropy with the labels if `None`.
        teacher_logits: `(N, K)` for all training images, if the objective needs them.

    Returns:
        The new head; see `QuantumStudent.classify`.

    Raises:
        ConfigurationError: the head has no weights, or there are too few images.
    """
    check_refittable(placed.student.head)
    check_count(count, dataset)
    rows = select_rows(dataset.train.labels.numpy(), count, seed=placed.seed)
    images = dataset.train.take(rows)
    values = measure(placed.student.parameter_values(images.pixels), (placed.seed + 1_000_003) % LARGEST_SEED)
    soft = None if teacher_logits is None else teacher_logits[rows]
    return refit_head(placed.student.head, values, images.labels, objective, soft)
