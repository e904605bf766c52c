import math

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from qkd_qiskit.classical.augmentation import Augmentation, augment
from qkd_qiskit.classical.images import Images
from qkd_qiskit.exceptions import ConfigurationError


def make_images(count: int = 6, height: int = 12, width: int = 16) -> Images:
    generator = torch.Generator().manual_seed(5)
    pixels = torch.zeros(count, 1, height, width)
    pixels[:, :, 3:-3, 3:-3] = torch.rand(count, 1, height - 6, width - 6, generator=generator)
    return Images(pixels, torch.arange(count) % 3)


def test_originals_come_first_and_labels_follow() -> None:
    images = make_images()
    more = augment(images, Augmentation(copies=2))
    assert len(more) == 18
    assert torch.equal(more.pixels[:6], images.pixels)
    assert torch.equal(more.labels, images.labels.repeat(3))
    assert not torch.equal(more.pixels[6:12], more.pixels[12:])


def test_a_seed_decides_and_more_copies_begin_alike() -> None:
    images = make_images()
    two, three = (augment(images, Augmentation(copies=copies), seed=3) for copies in (2, 3))
    assert torch.equal(two.pixels, three.pixels[:18])
    assert not torch.equal(two.pixels, augment(images, Augmentation(copies=2), seed=4).pixels)


def test_nothing_is_changed_where_every_limit_is_zero() -> None:
    images = make_images()
    copy = augment(images, Augmentation(copies=1, shift=0, rotation=0, scale=0)).pixels[6:]
    assert torch.allclose(copy, images.pixels, atol=1e-6)


def test_flipping_mirrors_some_and_only_mirrors() -> None:
    images = make_images(40)
    copy = augment(images, Augmentation(copies=1, shift=0, rotation=0, scale=0, flip=True)).pixels[40:]
    kept = [torch.allclose(copy[i], images.pixels[i], atol=1e-5) for i in range(40)]
    mirrored = [torch.allclose(copy[i], images.pixels[i].flip(2), atol=1e-5) for i in range(40)]
    assert all(a != b for a, b in zip(kept, mirrored))
    assert 5 < sum(mirrored) < 35


def test_distortion_is_scipys() -> None:
    images, limits = make_images(), Augmentation(copies=1, shift=1.5, rotation=20, scale=0.2)
    copy = augment(images, limits, seed=7).pixels[6:, 0].numpy()
    draws = 2 * torch.rand(6, 5, generator=torch.Generator().manual_seed(8 * 1_000_003)).double().numpy() - 1
    for index, (turn, size, across, down, _) in enumerate(draws):
        angle, factor = math.radians(20) * turn, 1 + 0.2 * size
        # from the copy's (row, column), seen from the middle, to where its pixel comes from
        matrix = factor * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        middle = np.array([5.5, 7.5])
        offset = middle + 1.5 * np.array([down, across]) - matrix @ middle
        expected = affine_transform(images.pixels[index, 0].numpy().astype(float), matrix, offset, order=1)
        assert np.abs(copy[index] - expected).max() < 1e-4


@pytest.mark.parametrize("wrong", [{"copies": -1}, {"shift": -1}, {"rotation": 181}, {"scale": 1}, {"shift": math.nan}])
def test_numbers_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigurationError, match="augmentation"):
        Augmentation(**wrong)


def test_more_copies_than_memory_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="train_per_class"):
        augment(make_images(), Augmentation(copies=10_000_000))
