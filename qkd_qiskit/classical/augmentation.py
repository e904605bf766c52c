"""More training images out of few: seeded, distorted copies, made once so that a teacher's logits for them are cached.

A student that sees the same distorted copies as its teacher is taught consistently (Beyer et al., arXiv 2106.05237).
"""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from qkd_qiskit.classical.images import Images
from qkd_qiskit.exceptions import ConfigurationError

MOST_BYTES = 8 * 2**30
"""Pixels of all copies together may not take more memory."""


@dataclass(frozen=True)
class Augmentation:
    """How images are distorted; each copy is drawn anew, uniformly within these limits.

    Attributes:
        copies: distorted copies of each image, besides the image itself; 0 switches augmentation off.
        shift: largest shift along each axis, in pixels.
        rotation: largest rotation, in degrees.
        scale: largest relative change of size, below 1.
        flip: whether half of the copies are mirrored left to right (not for digits).
    """

    copies: int = 0
    shift: float = 2.0
    rotation: float = 10.0
    scale: float = 0.1
    flip: bool = False

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigurationError: one is out of range.
        """
        if self.copies < 0:
            raise ConfigurationError(f"augmentation makes 0 or more copies, not {self.copies}")
        if not (self.shift >= 0 and 0 <= self.rotation <= 180 and 0 <= self.scale < 1):
            raise ConfigurationError(
                f"augmentation by shift {self.shift}, rotation {self.rotation}, scale {self.scale}: give a shift of 0 "
                "or more pixels, a rotation of 0 to 180 degrees and a scale from 0 to below 1"
            )


def augment(images: Images, augmentation: Augmentation, *, seed: int = 0) -> Images:
    """Return the images, followed by distorted copies of all of them, copy by copy.

    Pixels are interpolated linearly; what comes from outside an image repeats its edge.

    Args:
        images: `N` images.
        augmentation: how many copies, and how far they may go.
        seed: decides every copy; more copies begin with the same ones.

    Returns:
        `N (1 + copies)` images in [0, 1].

    Raises:
        ConfigurationError: the copies would not fit into memory.
    """
    needed = images.pixels.nbytes * augmentation.copies
    if needed > MOST_BYTES:
        most = MOST_BYTES // images.pixels.nbytes
        raise ConfigurationError(
            f"{augmentation.copies} copies of {len(images)} images take {needed / 2**30:.0f} GiB; give at most {most}, "
            "or fewer images with train_per_class"
        )
    generators = [torch.Generator().manual_seed(1_000_003 * (seed + 1) + copy) for copy in range(augmentation.copies)]
    copies = [_distort(images.pixels, augmentation, generator) for generator in generators]
    return Images(torch.cat([images.pixels, *copies]), images.labels.repeat(1 + augmentation.copies))


def _distort(pixels: torch.Tensor, augmentation: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Distort each image by its own random rotation, scale, shift and flip."""
    count, _, height, width = pixels.shape
    draws = 2 * torch.rand(count, 5, generator=generator) - 1
    angle = draws[:, 0] * math.radians(augmentation.rotation)
    size = 1 + draws[:, 1] * augmentation.scale
    mirror = torch.where(draws[:, 4] < 0, -1.0, 1.0) if augmentation.flip else torch.ones(count)
    cosine, sine = size * angle.cos(), size * angle.sin()
    # torch's coordinates go from -1 to 1 along either side, so a pixel is 2/width and 2/height of them
    rows = [
        torch.stack([mirror * cosine, -sine * height / width, 2 * augmentation.shift / width * draws[:, 2]], dim=1),
        torch.stack([mirror * sine * width / height, cosine, 2 * augmentation.shift / height * draws[:, 3]], dim=1),
    ]
    parts = [
        functional.grid_sample(
            part,
            functional.affine_grid(maps, list(part.shape), align_corners=False),
            padding_mode="border",
            align_corners=False,
        )
        for part, maps in zip(pixels.split(4096), torch.stack(rows, dim=1).split(4096))
    ]
    return torch.cat(parts).clamp_(0, 1)
