"""The teachers' architectures: LeNet-5, AlexNet in the paper's 28x28 form, and the two together.

Each is built from (num_classes, image_shape), gives logits of shape (N, K), and takes any image that is large enough:
the first linear layer is sized from the image. None has dropout or batch statistics, so training mode changes nothing.
"""

import math
from collections.abc import Callable

import torch
from torch import nn

from qkd_qiskit.exceptions import ConfigurationError

ImageShape = tuple[int, int, int]


class LeNet(nn.Module):
    """LeNet-5 (LeCun et al. 1998) with tanh and average pooling; 44,256 parameters for 8 classes of (1, 28, 28).

    Args:
        num_classes: K.
        image_shape: (C, H, W), at least 16x16.

    Raises:
        ConfigurationError: If the image is too small for two 5x5 convolutions with pooling.
    """

    def __init__(self, num_classes: int, image_shape: ImageShape) -> None:
        super().__init__()
        channels, height, width = image_shape
        sides = [((side - 4) // 2 - 4) // 2 for side in (height, width)]
        _check_sides("lenet", image_shape, sides, smallest=16)
        self.features = nn.Sequential(
            nn.Conv2d(channels, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * sides[0] * sides[1], 120),
            nn.Tanh(),
            nn.Linear(120, 84),
            nn.Tanh(),
            nn.Linear(84, num_classes),
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return logits (N, K) of pixels (N, C, H, W)."""
        return self.classifier(self.features(pixels))


class AlexNet(nn.Module):
    """AlexNet in the paper's small form: three 3x3 convolutions (64, 192, 384), two poolings, 4096-4096-K.

    94,663,880 parameters for 8 classes of (1, 28, 28).

    Args:
        num_classes: K.
        image_shape: (C, H, W), at least 4x4.

    Raises:
        ConfigurationError: If the image is too small for two poolings.
    """

    def __init__(self, num_classes: int, image_shape: ImageShape) -> None:
        super().__init__()
        channels, height, width = image_shape
        sides = [side // 4 for side in (height, width)]
        _check_sides("alexnet", image_shape, sides, smallest=4)
        self.features = nn.Sequential(
            nn.Conv2d(channels, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 192, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(384 * sides[0] * sides[1], 4096),
            nn.ReLU(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, num_classes),
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return logits (N, K) of pixels (N, C, H, W)."""
        return self.classifier(self.features(pixels))


class Ensemble(nn.Module):
    """LeNet and AlexNet as one network, trained jointly: its logits are the mean of theirs.

    94,708,136 parameters for 8 classes of (1, 28, 28).

    Args:
        num_classes: K.
        image_shape: (C, H, W).

    Raises:
        ConfigurationError: If the image is too small for a member.
    """

    def __init__(self, num_classes: int, image_shape: ImageShape) -> None:
        super().__init__()
        self.lenet = LeNet(num_classes, image_shape)
        self.alexnet = AlexNet(num_classes, image_shape)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return logits (N, K) of pixels (N, C, H, W)."""
        return (self.lenet(pixels) + self.alexnet(pixels)) / 2


TEACHERS: dict[str, Callable[[int, ImageShape], nn.Module]] = {
    "lenet": LeNet,
    "alexnet": AlexNet,
    "ensemble": Ensemble,
}


def build_empty(architecture: str, num_classes: int, image_shape: ImageShape) -> nn.Module:
    """Return a network without weights (on the `meta` device): shapes only, nothing drawn, no memory used.

    Args:
        architecture: one of `TEACHERS`.
        num_classes: K.
        image_shape: (C, H, W).
    """
    with torch.device("meta"):
        return TEACHERS[architecture](num_classes, image_shape)


def build_initial(architecture: str, num_classes: int, image_shape: ImageShape, *, seed: int) -> nn.Module:
    """Return a network with random weights in torch's usual ranges, drawn from the seed alone.

    Args:
        architecture: one of `TEACHERS`.
        num_classes: K.
        image_shape: (C, H, W).
        seed: decides the weights.
    """
    network = build_empty(architecture, num_classes, image_shape).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            bound = 1 / math.sqrt(layer.weight[0].numel())  # torch's default: uniform by fan-in, also for the bias
            for parameter in layer.parameters(recurse=False):
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return network


def _check_sides(name: str, image_shape: ImageShape, sides: list[int], *, smallest: int) -> None:
    """Refuse images of which the convolutions leave nothing."""
    if min(sides) < 1:
        raise ConfigurationError(
            f"{name} can't take images of shape (C, H, W) = {image_shape}: it needs at least {smallest}x{smallest} "
            "pixels. Enlarge the images or choose another teacher."
        )
