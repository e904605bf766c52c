import pytest
import torch

from qkd_qiskit.classical.images import Dataset, Images
from qkd_qiskit.exceptions import DataError


def make_images(count: int = 4) -> Images:
    return Images(torch.linspace(0, 1, count * 4).view(count, 1, 2, 2), torch.arange(count))


def test_equal_content_has_an_equal_digest() -> None:
    assert make_images().digest == make_images().digest
    transposed = make_images().pixels.transpose(2, 3).contiguous().transpose(2, 3)  # same values, other strides
    assert Images(transposed, make_images().labels).digest == make_images().digest


@pytest.mark.parametrize("part", ["pixels", "labels", "shape"])
def test_any_change_changes_the_digest(part: str) -> None:
    images = make_images()
    pixels, labels = images.pixels.clone(), images.labels.clone()
    if part == "pixels":
        pixels[2, 0, 1, 1] += 1e-3
    elif part == "labels":
        labels[0] = 1
    else:
        pixels = pixels.reshape(4, 1, 1, 4)
    assert Images(pixels, labels).digest != images.digest


def test_take_keeps_the_order_asked_for() -> None:
    taken = make_images().take([3, 0])
    assert len(taken) == 2
    assert taken.labels.tolist() == [3, 0]
    assert torch.equal(taken.pixels[1], make_images().pixels[0])
    assert make_images().take(torch.tensor([1])).labels.tolist() == [1]


def test_show_size_and_identity() -> None:
    assert repr(make_images()).startswith("Images(N=4, shape=(1, 2, 2), digest=")


@pytest.mark.parametrize(
    ("pixels", "labels", "telling"),
    [
        (torch.zeros(3, 2, 2), torch.zeros(3, dtype=torch.int64), r"shape \(N, C, H, W\)"),
        (torch.zeros(3, 1, 2, 2).double(), torch.zeros(3, dtype=torch.int64), "float64"),
        (torch.zeros(3, 1, 2, 2), torch.zeros(2, dtype=torch.int64), r"\(3,\)"),
        (torch.zeros(3, 1, 2, 2), torch.zeros(3), r"labels.long\(\)"),
    ],
)
def test_refuse_other_shapes_and_types(pixels: torch.Tensor, labels: torch.Tensor, telling: str) -> None:
    with pytest.raises(DataError, match=telling):
        Images(pixels, labels)


def test_dataset_tells_its_sizes() -> None:
    images = make_images()
    dataset = Dataset("x", (4, 7, 9), images, images, images, images)
    assert dataset.num_classes == 3
    assert dataset.image_shape == (1, 2, 2)
    assert dataset.teacher_validation is None
