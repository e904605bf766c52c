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
        ConfigurationError: the name is unknown, the image has fewer pixels than `F`, or is too small for convolutions.
    """
    return choose("reduction", name, REDUCTIONS)(image_shape, num_features)


def check_reduction(name: str, image_shape: ImageShape, num_features: int) -> None:
    """Find out whether `build_reduction` would take these, without memory for weights.

    Raises:
        ConfigurationError: see `build_reduction`.
    """
    with torch.device("meta"):
        build_reduction(name, image_shape, num_features)


def _linear(image_shape: ImageShape, num_features: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(image_shape), num_features))


def _standardised_linear(image_shape: ImageShape, num_features: int) -> nn.Module:
    """The linear layer after a step that standardises each pixel: "normalise" in the paper's picture."""
    size = math.prod(image_shape)
    return nn.Sequential(nn.Flatten(), StandardisedPixels(size), nn.Linear(size, num_features))


def _convolutional(image_shape: ImageShape, num_features: int) -> nn.Module:
    """The convolutions of the paper's first student, without its dropout, and one linear layer to `F` features."""
    convolutions, width = build_convolutions("the reduction convolutional", image_shape, "--reduction linear")
    return nn.Sequential(*convolutions, nn.Linear(width, num_features))


def build_convolutions(
    name: str, image_shape: ImageShape, otherwise: str, *, dropout: float | None = None
) -> tuple[list[nn.Module], int]:
    """Build the convolutions of the paper's v1 student (arXiv 2311.13810): 5 x 5, 10 and 20 channels, each pooled.

    Args:
        name: of what they are for, in errors.
        image_shape: `(C, H, W)`.
        otherwise: what to type for smaller images.
        dropout: share of the second one's channels that is left out in training; there is no such layer if `None`.

    Returns:
        Layers that take images `(N, C, H, W)` to `(N, D)`, and `D`.

    Raises:
        ConfigurationError: the image is too small for both.
    """
    channels, height, width = image_shape
    rows, columns = (((side - 4) // 2 - 4) // 2 for side in (height, width))
    if min(rows, columns) < 1:
        raise ConfigurationError(
            f"{name} needs images of at least 16 x 16 pixels, not {height} x {width}; give larger ones, or {otherwise}"
        )
    layers: list[nn.Module] = [
        nn.Conv2d(channels, 10, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(10, 20, 5),
        *([] if dropout is None else [nn.Dropout2d(dropout)]),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
    ]
    return layers, 20 * rows * columns


def _average_pool(image_shape: ImageShape, num_features: int) -> nn.Module:
    """Average over a grid of `F` regions as square as its factors allow; channels are averaged as well."""
    return _Pool(nn.AdaptiveAvgPool2d(_fit_grid("average_pool", image_shape, num_features)))


def _max_pool(image_shape: ImageShape, num_features: int) -> nn.Module:
    """Take the brightest pixel of each region of the grid that `average_pool` has, of the gray image."""
    return _Pool(nn.AdaptiveMaxPool2d(_fit_grid("max_pool", image_shape, num_features)))


def _centre_crop(image_shape: ImageShape, num_features: int) -> nn.Module:
    """Keep the `F` pixels in the middle of the gray image, in a rectangle as square as the factors of `F` allow."""
    rows, columns = _fit_grid("centre_crop", image_shape, num_features)
    _, height, width = image_shape
    return _CentreCrop((height - rows) // 2, (width - columns) // 2, rows, columns)


def _pca(image_shape: ImageShape, num_features: int) -> nn.Module:
    """Project the gray image onto `F` principal components of the training images; see `fit_reduction`."""
    _, height, width = image_shape
    if num_features > height * width:
        raise ConfigurationError(
            f"pca to {num_features} components needs as many pixels, and a gray image of {height} x {width} has only "
            f"{height * width}; use fewer qubits or --reduction linear"
        )
    return PrincipalComponents(height * width, num_features)


def _fit_grid(name: str, image_shape: ImageShape, num_features: int) -> tuple[int, int]:
    """Return rows and columns of a grid with `F` cells, as square as the factors of `F` allow."""
    rows = max(divisor for divisor in range(1, math.isqrt(num_features) + 1) if num_features % divisor == 0)
    columns = num_features // rows
    _, height, width = image_shape
    if rows > height or columns > width:
        raise ConfigurationError(
            f"{name} to {num_features} features needs {rows} x {columns} regions, more than an image of "
            f"{height} x {width} pixels has; use fewer qubits or --reduction linear"
        )
    return rows, columns


def _gray(images: torch.Tensor) -> torch.Tensor:
    return images if images.shape[1] == 1 else images.mean(dim=1, keepdim=True)


class _Pool(nn.Module):
    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images `(N, C, H, W)` to features `(N, rows * columns)`."""
        return self.pool(_gray(images)).flatten(1)


class _CentreCrop(nn.Module):
    def __init__(self, top: int, left: int, rows: int, columns: int) -> None:
        super().__init__()
        self.window = (slice(None), slice(None), slice(top, top + rows), slice(left, left + columns))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images `(N, C, H, W)` to features `(N, rows * columns)`."""
        return _gray(images)[self.window].flatten(1)


class StandardisedPixels(nn.Module):
    """`(x - mean) / (deviation + 0.1)` of each pixel. Both are buffers, NaN before `fit`: see `PrincipalComponents`.

    The 0.1 (pixels are in [0, 1]) leaves those small that hardly ever differ, such as a picture's corners.

    Args:
        num_pixels: `D` of a flattened image.
    """

    FLOOR = 0.1

    def __init__(self, num_pixels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((num_pixels,), math.nan))
        self.register_buffer("deviation", torch.full((num_pixels,), math.nan))
        self.mean: torch.Tensor
        self.deviation: torch.Tensor

    def fit(self, images: torch.Tensor) -> None:
        """Find every pixel's mean and standard deviation over images `(N, C, H, W)`, in float64."""
        pixels = images.flatten(1).double().cpu()
        self.mean.copy_(pixels.mean(0))
        self.deviation.copy_(pixels.std(0, correction=0))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Standardise flattened images `(N, D)`."""
        return (pixels - self.mean) / (self.deviation + self.FLOOR)


class PrincipalComponents(nn.Module):
    """Scores on the directions of largest variance. Mean and directions are buffers: a checkpoint holds them.

    Before `fit` they are NaN, so that a step that was forgotten can't pass for a result.

    Args:
        num_pixels: `D` of a gray image.
        num_components: `F <= D`.
    """

    def __init__(self, num_pixels: int, num_components: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((num_pixels,), math.nan))
        self.register_buffer("components", torch.full((num_components, num_pixels), math.nan))
        self.mean: torch.Tensor
        self.components: torch.Tensor

    def fit(self, images: torch.Tensor) -> None:
        """Find mean and components of images `(N, C, H, W)`; of each direction the largest entry is positive.

        They are the eigenvectors of the `(D, D)` covariance in float64. Scores keep the images' own scale: amplitude
        encoding divides by their norm anyway, and in front of a bounded encoding `normalise` standardises them.

        Raises:
            ConfigurationError: there are fewer images than components.
        """
        count, wanted = len(images), len(self.components)
        if wanted > count:
            raise ConfigurationError(
                f"pca to {wanted} components needs as many training images, not {count}; give --train-per-class a "
                "larger number, fewer --qubits, or --reduction linear"
            )
        pixels = _gray(images).flatten(1).double().cpu()
        mean = pixels.mean(0)
        centred = pixels - mean
        _, vectors = torch.linalg.eigh(centred.T @ centred / count)
        components = vectors.T.flip(0)[:wanted]
        largest = components.gather(1, components.abs().argmax(1, keepdim=True))
        self.mean.copy_(mean)
        self.components.copy_(components * largest.sign())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images `(N, C, H, W)` to scores `(N, F)`."""
        return (_gray(images).flatten(1) - self.mean) @ self.components.T


def fit_reduction(features: nn.Module, images: torch.Tensor) -> None:
    """Fit what a student's features need to have seen of its training images; most need nothing.

    Args:
        features: a student's features; `PrincipalComponents` and `StandardisedPixels` among them are changed in place.
        images: the student's training images, `(N, C, H, W)`.

    Raises:
        ConfigurationError: there are fewer images than components.
    """
    for module in features.modules():
        if isinstance(module, (PrincipalComponents, StandardisedPixels)):
            module.fit(images)


REDUCTIONS: dict[str, Callable[[ImageShape, int], nn.Module]] = {
    "linear": _linear,
    "standardised_linear": _standardised_linear,
    "convolutional": _convolutional,
    "average_pool": _average_pool,
    "max_pool": _max_pool,
    "centre_crop": _centre_crop,
    "pca": _pca,
}
TRAINED = ("linear", "standardised_linear", "convolutional")
"""Reductions that have weights."""
