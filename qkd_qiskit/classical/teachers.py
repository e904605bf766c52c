"""Build a teacher, trained or read from a file, whose logits are computed once: `build_teacher`."""

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qkd_qiskit.classical.cache_folder import locate_cache
from qkd_qiskit.classical.images import Dataset, Images
from qkd_qiskit.classical.teacher_cache import fetch_logits, fetch_teacher
from qkd_qiskit.classical.teacher_files import digest_network, read_teacher, write_teacher
from qkd_qiskit.classical.teacher_networks import TEACHERS
from qkd_qiskit.classical.teacher_training import Progress, TeacherTraining, compute_logits, train_teacher
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.suggestions import nearest

__all__ = ["TEACHERS", "Teacher", "build_teacher"]

# Goes up whenever training gives other weights for the same settings.
CACHE_FORMAT = 2


@dataclass(frozen=True)
class TrainingDefaults:
    """What a teacher is trained with unless the caller says otherwise.

    Attributes:
        epochs: at least so many.
        steps: at least so many optimizer steps; small data sets get more epochs.
        learning_rate: highest learning rate of the one-cycle schedule.
    """

    epochs: int
    steps: int
    learning_rate: float


DEFAULTS = {
    "lenet": TrainingDefaults(epochs=12, steps=1000, learning_rate=1e-2),
    "alexnet": TrainingDefaults(epochs=10, steps=150, learning_rate=5e-4),
    "ensemble": TrainingDefaults(epochs=10, steps=150, learning_rate=5e-4),
}


class Teacher:
    """A trained classical network, asked for its logits at most once per set of images.

    Attributes:
        name: the architecture, or the name of the file that it was read from.
        architecture: one of `TEACHERS`.
        network: the network, (N, C, H, W) to logits (N, K), in evaluation mode.

    Args:
        name: see above.
        architecture: see above.
        network: see above; it is moved to `device`.
        cache_folder: the `teachers` folder of a cache, for logits.
        device: where logits are computed.
    """

    def __init__(
        self, name: str, architecture: str, network: nn.Module, *, cache_folder: Path, device: str = "cpu"
    ) -> None:
        self.name = name
        self.architecture = architecture
        self.network = network.eval().to(device)
        self._cache_folder = cache_folder
        self._device = device
        self._logits: dict[str, torch.Tensor] = {}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of architecture and weights."""
        return digest_network(self.architecture, self.network)

    @property
    def num_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def logits(self, images: Images) -> torch.Tensor:
        """Return float32 logits of shape (N, K); from memory or disk if these images were ever asked for.

        Args:
            images: N images.
        """
        key = images.digest
        if key not in self._logits:
            self._logits[key] = fetch_logits(
                self._cache_folder, self.digest, key, lambda: compute_logits(self.network, images, self._device)
            )
        return self._logits[key]

    def accuracy(self, images: Images) -> tuple[int, int]:
        """Return how many of the images are classified right, and how many there are.

        Args:
            images: N images.
        """
        return int((self.logits(images).argmax(1) == images.labels).sum()), len(images)


def build_teacher(
    name_or_path: str | Path,
    dataset: Dataset,
    *,
    epochs: int | None = None,
    stop_epoch: int | None = None,
    batch_size: int = 128,
    learning_rate: float | None = None,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> Teacher:
    """Return a teacher for these images: from the cache, newly trained, or read from a file.

    It is trained on `dataset.teacher_train`, whatever part of that the student gets, and the epoch that is best on the
    validation split is kept. A file is taken as it is; the training arguments then have no effect.

    Args:
        name_or_path: one of `TEACHERS`, or a file: `.safetensors`, or a state_dict saved by torch (`.pt`).
        dataset: what it is for.
        epochs: passes over the training split; None is the architecture's default, more on small data sets.
        stop_epoch: stop after this epoch of the usual schedule and take its weights, in place of the best epoch's.
        batch_size: images a step.
        learning_rate: highest learning rate of the one-cycle schedule; None is the architecture's default.
        seed: decides initial weights and order.
        cache_dir: cache folder; None is `$QKD_CACHE_DIR`, else the user's own.
        progress: called after each epoch with a dict: stage, epoch, epochs, loss, validation_accuracy, seconds.
        device: where to train and compute logits, e.g. `cpu` or `cuda`.

    Returns:
        The teacher.

    Raises:
        ConfigurationError: If there is no such teacher or device, the images are too small for the teacher, or a number
            is out of range.
        DataError: If a teacher file is missing, damaged or doesn't fit.
    """
    _check_device(device)
    folder = locate_cache(cache_dir) / "teachers"
    name = str(name_or_path)
    path = find_teacher(name)
    if path is not None:
        architecture, network = read_teacher(path, dataset)
        return Teacher(path.name, architecture, network, cache_folder=folder, device=device)

    training = _complete_settings(name, dataset, epochs, batch_size, learning_rate, seed)
    if stop_epoch is not None:
        check_stop(stop_epoch, training.epochs)
        training = replace(training, stop_epoch=stop_epoch)
    network = fetch_teacher(
        folder,
        identify_teacher(name, dataset, training, device),
        lambda: train_teacher(name, dataset, training, progress=progress, device=device),
        read=lambda path: read_teacher(path, dataset)[1],
        write=lambda path, network: write_teacher(path, network, name, dataset),
    )
    return Teacher(name, name, network, cache_folder=folder, device=device)


def identify_teacher(architecture: str, dataset: Dataset, training: TeacherTraining, device: str) -> dict[str, Any]:
    """Return all that a trained teacher's weights depend on: the cache's key is a hash of this.

    Args:
        architecture: one of `TEACHERS`.
        dataset: its images count by content, its classes by what the logits mean.
        training: the hyper-parameters and the seed.
        device: only its kind counts (`cuda`, not `cuda:1`).
    """
    validation = dataset.teacher_validation or dataset.validation
    return {
        "format": CACHE_FORMAT,
        "architecture": architecture,
        "classes": list(dataset.classes),
        "image_shape": list(dataset.image_shape),
        "train": dataset.teacher_train.digest,
        "validation": validation.digest,
        "training": {name: value for name, value in asdict(training).items() if value is not None},
        "device": torch.device(device).type,
    }


def _complete_settings(
    name: str, dataset: Dataset, epochs: int | None, batch_size: int, learning_rate: float | None, seed: int
) -> TeacherTraining:
    """Fill in the architecture's defaults and refuse numbers out of range."""
    defaults = DEFAULTS[name]
    for label, number, least in (("epochs", epochs, 1), ("batch_size", batch_size, 1), ("seed", seed, 0)):
        if number is not None and number < least:
            raise ConfigurationError(f"the teacher's {label} is {number}, but must be {least} or more")
    if learning_rate is not None and not 0 < learning_rate < float("inf"):
        raise ConfigurationError(f"the teacher's learning_rate is {learning_rate}, but must be above 0, e.g. 0.001")
    steps_per_epoch = -(-len(dataset.teacher_train) // batch_size)
    return TeacherTraining(
        epochs=epochs or max(defaults.epochs, -(-defaults.steps // steps_per_epoch)),
        batch_size=batch_size,
        learning_rate=learning_rate or defaults.learning_rate,
        seed=seed,
        threads=1 if name == "lenet" else torch.get_num_threads(),  # LeNet is fastest, and the same anywhere, on one
    )


def check_stop(stop_epoch: int, epochs: int) -> None:
    """Find out whether a training gets as far as the epoch at which it is to stop.

    Raises:
        ConfigurationError: it does not.
    """
    if not 1 <= stop_epoch <= epochs:
        raise ConfigurationError(
            f"the teacher's stop_epoch is {stop_epoch}, but it is trained for 1 to {epochs} epochs"
        )


def _check_device(device: str) -> None:
    """Refuse a device that torch doesn't know or have."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA raises the second
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"can't compute on the device {device!r}: {reason}. Type cpu instead.") from error


def find_teacher(name: str) -> Path | None:
    """Return the file that a teacher's name stands for, or `None` for one of `TEACHERS`.

    Raises:
        ConfigurationError: it is neither an architecture nor looks like a file.
    """
    path = Path(name).expanduser()
    if name in TEACHERS:
        return None
    if name == "self":
        raise ConfigurationError(
            "the teacher 'self' is a student, which `qkd-qiskit train --teacher self`, or train_run with "
            "teacher.name = 'self', trains; here give lenet, alexnet, ensemble or a FILE"
        )
    if path.is_file() or path.suffix in (".safetensors", ".pt", ".pth") or "/" in name:
        return path
    raise ConfigurationError(
        f"unknown teacher {name!r}{nearest(name, [*TEACHERS, 'self', 'none'])}; there are: {', '.join(TEACHERS)}, "
        "self, none, or a FILE ending in .safetensors or .pt"
    )
