"""Whether a cell can exist, found out without its images and before anything runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from qkd_qiskit.classical.datasets import parse_classes
from qkd_qiskit.classical.reduction import check_reduction
from qkd_qiskit.config import Settings
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.pipeline.checking import check_settings
from qkd_qiskit.pipeline.placing import make_blueprint

NUM_CLASSES = 10
"""Of every data set that there is."""
IMAGE_SHAPES = {"cifar10": (3, 32, 32)}
"""Where images are not 1 x 28 x 28."""


def check_cell(settings: Settings) -> None:
    """Find names, numbers and combinations that can't be.

    Raises:
        ConfigurationError: a name is unknown, the circuit can't be built, the image has fewer pixels than features
            or is too small for convolutions, or a PCA has more components than samples.
    """
    if settings.backend.kind == "ibm":
        raise ConfigurationError(
            f"training on {settings.backend.name} would need thousands of paid jobs; train on aer_noisy and name the "
            "device in [[evaluate]]"
        )
    check_settings(settings)
    num_classes = len(parse_classes(settings.data.classes, NUM_CLASSES))
    shape = IMAGE_SHAPES.get(settings.data.dataset, (1, 28, 28))
    dataset: Any = SimpleNamespace(image_shape=shape, num_classes=num_classes)
    blueprint = make_blueprint(settings.student, dataset)
    blueprint.build_circuit()
    if blueprint.kind == "qnn":
        check_reduction(blueprint.reduction, shape, blueprint.encode().num_features)
    if blueprint.reduction == "pca" and blueprint.kind == "qnn":
        _check_pca(blueprint.encode().num_features, settings, num_classes)


def _check_pca(components: int, settings: Settings, num_classes: int) -> None:
    each = settings.data.train_per_class
    if each is not None and components > each * (1 + settings.data.augment.copies) * num_classes:
        raise ConfigurationError(
            f"a PCA of {components} components can't be fitted to {each * num_classes} training images ({each} of each "
            f"of {num_classes} classes); raise data.train_per_class to {-(-components // num_classes)}, or take fewer "
            "qubits or another encoding"
        )
