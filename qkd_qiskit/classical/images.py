"""Labelled images, and the four sets of them that a study needs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from qkd_qiskit.exceptions import DataError


@dataclass(frozen=True, eq=False)
class Images:
    """N labelled images.

    Attributes:
        pixels: float32 tensor of shape (N, C, H, W), values in [0, 1].
        labels: int64 tensor of shape (N,), values in 0..K-1: positions in the chosen classes, not original labels.

    Raises:
        DataError: If the shapes or the types of pixels and labels are not these.
    """

    pixels: torch.Tensor
    labels: torch.Tensor

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.dtype != torch.float32:
            raise DataError(
                f"pixels must be float32 of shape (N, C, H, W), but are {self.pixels.dtype} of shape "
                f"{tuple(self.pixels.shape)}. Convert with pixels.float() and reshape, e.g. to (N, 1, 28, 28)."
            )
        if self.labels.shape != self.pixels.shape[:1] or self.labels.dtype != torch.int64:
            raise DataError(
                f"labels must be int64 of shape ({len(self.pixels)},) for {len(self.pixels)} images, but are "
                f"{self.labels.dtype} of shape {tuple(self.labels.shape)}. Convert with labels.long()."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Images(N={len(self)}, shape={tuple(self.pixels.shape[1:])}, digest={self.digest[:12]})"

    def take(self, indices: torch.Tensor | Sequence[int]) -> "Images":
        """Return the images at these positions, in their order.

        Args:
            indices: positions of shape (M,).

        Returns:
            M images.
        """
        positions = torch.as_tensor(indices, dtype=torch.int64)
        return Images(self.pixels[positions], self.labels[positions])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of shape, pixels and labels: equal for equal content, on whatever path it was loaded."""
        content = hashlib.sha256(str(tuple(self.pixels.shape)).encode())
        content.update(self.pixels.detach().cpu().contiguous().numpy().data)
        content.update(self.labels.detach().cpu().contiguous().numpy().data)
        return content.hexdigest()


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set cut into the parts of a distillation study; test images never choose anything.

    Attributes:
        name: the name that `load_dataset` knows it by.
        classes: the K original labels, in the order of the new labels 0..K-1.
        train: the student's training images, at most `train_per_class` a class.
        teacher_train: the whole training split of the chosen classes (at most `teacher_per_class`).
        validation: images of the official training set that are in no training split (at most `validation_per_class`).
        test: the official test images of the chosen classes (at most `test_per_class` a class).
        teacher_validation: the whole validation split (with `teacher_per_class` a quarter as many a class); a teacher
            does not change with the caps of a student. Left out, it is `validation`.
    """

    name: str
    classes: tuple[int, ...]
    train: Images
    teacher_train: Images
    validation: Images
    test: Images
    teacher_validation: Images | None = None

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.train.pixels.shape[1:]
        return channels, height, width
