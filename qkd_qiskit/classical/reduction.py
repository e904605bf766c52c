"""From an image to the few features that a circuit can take."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.suggestions import choose

ImageShape = tuple[int, int, int]


def build_reduction(name: str, image_shape: ImageShape, num_features: int) -> nn.Module:
    """Build the part of a student that turns images `(N, C, H, W)` into features `(N, F)`.

    Args:
        name: one of `REDUCTIONS`.
        image_shape: `(C, H, W)`.
        num_features: `F`, what the encoding wants.

    Raises:
        ConfigurationError: the name is unknown, or the image has fewer pixels than `F`.
    """
    return choose("reduction", name, REDUCTIONS)(image_shape, num_features)


def _linear(image_shape: ImageShape, num_features: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(image_shape), num_features))


def _average_pool(image_shape: ImageShape, num_features: int) -> nn.Module:
    """Average over a grid of `F` regions as square as its factors allow; channels are averaged as well."""
    rows = max(divisor for divisor in range(1, math.isqrt(num_features) + 1) if num_features % divisor == 0)
    columns = num_features // rows
    _, height, width = image_shape
    if rows > height or columns > width:
        raise ConfigurationError(
            f"average_pool to {num_features} features needs {rows} x {columns} regions, more than an image of "
            f"{height} x {width} pixels has; use fewer qubits or --reduction linear"
        )
    return _AveragePool(rows, columns)


class _AveragePool(nn.Module):
    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.grid = (rows, columns)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images `(N, C, H, W)` to features `(N, rows * columns)`."""
        gray = images.mean(dim=1, keepdim=True)
        return nn.functional.adaptive_avg_pool2d(gray, self.grid).flatten(1)


REDUCTIONS: dict[str, Callable[[ImageShape, int], nn.Module]] = {
    "linear": _linear,
    "average_pool": _average_pool,
}
