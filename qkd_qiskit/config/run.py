"""Settings of a training run: images, teacher, student, loss, loop."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field

from qkd_qiskit.config.backend import BackendSettings
from qkd_qiskit.config.sections import LARGEST_SEED, Section
from qkd_qiskit.files import digest_of

DEFAULTS = 1
"""Goes up when a default changes such that the same settings give another result."""


class AugmentationSettings(Section):
    """Distorted copies of the student's training images; see `qkd_qiskit.classical.augmentation`.

    Attributes:
        copies: of each image, besides the image itself; 0 for none.
        shift: largest shift along each axis, in pixels.
        rotation: largest rotation, in degrees.
        scale: largest relative change of size.
        flip: whether half of the copies are mirrored left to right.
    """

    copies: int = Field(default=0, ge=0, le=1000)
    shift: float = Field(default=2.0, ge=0)
    rotation: float = Field(default=10.0, ge=0, le=180)
    scale: float = Field(default=0.1, ge=0, lt=1)
    flip: bool = False


class DataSettings(Section):
    """Which images, and how they are split.

    Attributes:
        dataset: `digits`, `mnist`, `fashion_mnist` or `cifar10`.
        classes: such as `0-7` or `0,3,6`; all if not given.
        train_per_class: the student's training images of each class; all if not given.
        validation_per_class: validation images of each class; all if not given.
        test_per_class: test images of each class; the whole official test set if not given.
        validation_fraction: share of the official training set that is kept for validation.
        split_seed: decides the split; the run's own seed if not given.
        augment: distorted copies of the student's training images; a pass over the data is then longer.
        data_dir: folder in torchvision's layout.
    """

    dataset: str = "digits"
    classes: str | None = None
    train_per_class: int | None = Field(default=None, ge=1)
    validation_per_class: int | None = Field(default=None, ge=1)
    test_per_class: int | None = Field(default=None, ge=1)
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    split_seed: int | None = Field(default=None, ge=0, le=LARGEST_SEED)
    augment: AugmentationSettings = AugmentationSettings()
    data_dir: str | None = None


class TeacherSettings(Section):
    """The classical network that is distilled.

    Attributes:
        name: `lenet`, `alexnet`, `ensemble`, `none`, a file, or `self`: the same student, trained without a teacher
            from other initial weights, in the way the student is; of the settings below only `seed` then counts.
        epochs: of its own training; its usual number if not given.
        stop_epoch: stop after this epoch of the usual schedule and take its weights; else the best epoch's are taken.
        train_per_class: its training images of each class; all if not given.
        batch_size: images a step.
        learning_rate: Adam's largest; its usual one if not given.
        seed: decides its weights, apart from the student's seed: students with the same split share one teacher (give
            them the same `data.split_seed`, or the split and with it the teacher changes with the student's seed).
    """

    name: str = "lenet"
    epochs: int | None = Field(default=None, ge=1)
    stop_epoch: int | None = Field(default=None, ge=1)
    train_per_class: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=128, ge=1, le=1_000_000)
    learning_rate: float | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)


class StudentSettings(Section):
    """The quantum student; see `qkd_qiskit.quantum.StudentBlueprint`.

    Attributes:
        kind: `qnn` or `hybrid`.
        qubits: `Q`.
        ansatz: `hardware_efficient`, `real_amplitudes`, `efficient_su2`, `strongly_entangling`, `paper_v2` or `none`.
        layers: layers of the ansatz.
        layer: `quantum`, or a control: `frozen` (the circuit's weights are not trained), or a classical layer of as
            many weights and outputs in place of the circuit: `classical`, nearly affine, or `mlp`, nonlinear.
        reduction: `linear`, `standardised_linear` (pixels are standardised first), `convolutional` (the convolutions of
            the `hybrid` student without dropout, and a linear layer), `average_pool`, `max_pool`, `centre_crop` or
            `pca`.
        encoding: `amplitude`, `complex_amplitude` (twice as many features), `angle`, `hadamard_angle`, `qubit`, `zz` or
            `reuploading`.
        observables: `parities`, `z` or `projectors`.
        head: `affine`, `normalised` or `paper`.
        angle_range: largest angle of bounded encodings, in radians.
        normalise: standardise features in front of a bounded encoding, the cure for seeds that never learn.
        dropout: share of the `hybrid` student's CNN that is left out in training; the paper's code has 0.5.
        feature_scale: factor on the initial weights of the last linear layer in front of the circuit.
    """

    kind: str = "qnn"
    qubits: int = Field(default=4, ge=1, le=12)
    ansatz: str = "hardware_efficient"
    layers: int = Field(default=2, ge=0)
    layer: Literal["quantum", "frozen", "classical", "mlp"] = "quantum"
    reduction: str = "linear"
    encoding: str = "amplitude"
    observables: str = "parities"
    head: str = "affine"
    angle_range: float = Field(default=math.pi / 2, gt=0)
    normalise: bool = True
    dropout: float = Field(default=0.2, ge=0, lt=1)
    feature_scale: float = Field(default=1.0, gt=0)

    @property
    def has_circuit(self) -> bool:
        """Whether this is a quantum student, frozen or not, and no classical control."""
        return self.layer in ("quantum", "frozen")


class DistillationSettings(Section):
    """The loss; see `qkd_qiskit.distillation.Objective`.

    Attributes:
        loss: one of `LOSS_CONSTANTS`; if not given, `kd` with a teacher and `ce` without one.
        temperature: softens both distributions; like the next four, the loss's own if not given.
        alpha: weight of the teacher's term.
        beta: second weight of `dkd`, `dist`, `logit_std` and `rkd`.
        gamma: third weight, of `dist` and `rkd`.
        smoothing: of `label_smoothing` and `kd`: share of the labels' probability that is spread over all classes.
        temperature_end: temperature of the last step, approached geometrically; it does not change if not given.
        twin: weight, below 1, of a second teacher: the same student, distilled without noise with the same settings and
            seed. The two teachers' soft labels are mixed.
    """

    loss: str | None = None
    temperature: float | None = Field(default=None, gt=0)
    alpha: float | None = Field(default=None, ge=0)
    beta: float | None = Field(default=None, ge=0)
    gamma: float | None = Field(default=None, ge=0)
    smoothing: float | None = Field(default=None, ge=0, lt=1)
    temperature_end: float | None = Field(default=None, gt=0)
    twin: float = Field(default=0.0, ge=0, lt=1)


class TrainingSettings(Section):
    """The training loop; see `qkd_qiskit.distillation.TrainingPlan`.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step.
        learning_rate: Adam's largest.
        schedule: `cosine`, `one_cycle` or `constant`.
        clip: largest gradient norm; 0 switches clipping off.
        weight_decay: decoupled weight decay.
        engine: what evaluates the circuit in training: `exact`, or `aer`, Aer with batched parameter shift.
        device: torch device of student and exact engine: `cpu`, `cuda` or `cuda:1`.
        threads: of torch; they decide how sums are rounded. On small students one is also the fastest.
        probe: samples of the first batch that are checked against Aer before training starts.
        noise_scales: multiples of the backend's `noise_scale`, one of which is drawn at each step; validation is at the
            backend's own. Always that one if empty.
        injection: standard deviation of Gaussian noise on the expectation values, in training only.
        angle_injection: the same on the encoding's angles, in radians.
        recalibrate: fit the head anew, at the end, to the noisy expectation values of so many training images; 0 for
            not at all.
    """

    epochs: int = Field(default=60, ge=1)
    batch_size: int = Field(default=32, ge=1, le=1_000_000)
    learning_rate: float = Field(default=2e-2, gt=0)
    schedule: str = "cosine"
    clip: float = Field(default=1.0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    engine: Literal["exact", "aer"] = "exact"
    device: str = "cpu"
    threads: int = Field(default=1, ge=1, le=256)
    probe: int = Field(default=4, ge=1)
    noise_scales: tuple[Annotated[float, Field(ge=0, le=1000)], ...] = ()
    injection: float = Field(default=0.0, ge=0)
    angle_injection: float = Field(default=0.0, ge=0)
    recalibrate: int = Field(default=0, ge=0)


class Settings(Section):
    """Everything that decides a training run.

    Attributes:
        seed: decides the split, the initial weights, the order of the images, and every sampled number.
        data: which images.
        teacher: what is distilled.
        student: what is trained.
        distillation: the loss.
        training: the loop.
        backend: where the circuit runs.
    """

    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    data: DataSettings = DataSettings()
    teacher: TeacherSettings = TeacherSettings()
    student: StudentSettings = StudentSettings()
    distillation: DistillationSettings = DistillationSettings()
    training: TrainingSettings = TrainingSettings()
    backend: BackendSettings

    @property
    def loss(self) -> str:
        """The loss with its default filled in."""
        return self.distillation.loss or ("ce" if self.teacher.name == "none" else "kd")

    @property
    def constants(self) -> dict[str, float]:
        """The constants that are given, and what this kind of student wants in place of its loss's own."""
        given = self.distillation.model_dump(exclude={"loss", "twin"}, exclude_none=True)
        return {**STUDENT_CONSTANTS.get((self.student.kind, self.loss), {}), **given}

    @property
    def identity(self) -> str:
        """SHA-256 of the settings that change the result; where the images lie and descriptions do not.

        What has its default is left out, so that a setting that comes later, off by default, leaves the identity of
        runs and studies as it was. A default that changes results must raise `DEFAULTS`.
        """
        content = self.model_dump(mode="json", exclude={"data": {"data_dir"}, "backend": True}, exclude_defaults=True)
        changed = {name: value for name, value in content.items() if value != {}}
        return digest_of({"defaults": DEFAULTS, **changed, "backend": self.backend.essence})


STUDENT_DEFAULTS: dict[str, dict[str, Any]] = {"hybrid": {"training": {"learning_rate": 3e-3, "batch_size": 16}}}
"""Where a kind of student has other defaults than those above."""

LOSS_CONSTANTS: dict[str, dict[str, float]] = {
    "kd": {"temperature": 4.0, "alpha": 0.9, "smoothing": 0.0},
    "ce": {},
    "paper": {"temperature": 3.0, "alpha": 0.9},
    "dkd": {"temperature": 4.0, "alpha": 1.0, "beta": 8.0},
    "dist": {"temperature": 1.0, "beta": 2.0, "gamma": 2.0},
    "logit_std": {"temperature": 2.0, "alpha": 0.9, "beta": 9.0},
    "rkd": {"beta": 25.0, "gamma": 50.0},
    "label_smoothing": {"smoothing": 0.1},
}
"""The losses, and the constants that each has: its paper's, where settings don't say otherwise.

`kd`: as in the papers that compare with it. `dkd`, `logit_std`: on CIFAR-100. `dist`: on ImageNet. See the formulas.
"""

STUDENT_CONSTANTS: dict[tuple[str, str], dict[str, float]] = {("hybrid", "kd"): {"temperature": 1.5}}
"""Where a kind of student wants other constants of a loss."""

_PAPER_LOSS: dict[str, Any] = {"loss": "paper", "temperature": 3.0, "alpha": 0.9}
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"distillation": _PAPER_LOSS},
    "paper_v1": {
        "student": {"kind": "hybrid", "head": "paper", "angle_range": math.pi, "normalise": False, "dropout": 0.5},
        "distillation": _PAPER_LOSS,
        "training": {
            "epochs": 10,
            "batch_size": 1,
            "learning_rate": 1e-3,
            "schedule": "constant",
            "clip": 0.0,
            "weight_decay": 0.0,
        },
        "data": {"train_per_class": 150},
    },
    "corrected": {"student": {"kind": "hybrid"}, "data": {"train_per_class": 150}},
    "robust": {
        "student": {"head": "normalised", "layers": 1},
        "training": {"noise_scales": [0.5, 1.0, 2.0], "injection": 0.05},
        "distillation": {"temperature": 1.0, "alpha": 0.5},
    },
}
"""Named sets of settings.

`paper`: the distillation loss of arXiv 2311.13810 exactly as its public code has it. `paper_v1`: its v1 student and
training as coded, flaws included, on 150 training images a class; what stays ours is seeds, exact values in place of
shots, and an epoch chosen on validation images. `corrected`: the same CNN and circuit with our defaults, on as many.
`robust`: against noise, on a noisy backend: one layer, for a shorter circuit; post-measurement normalisation and noise
injection (arXiv 2110.11331), with the noise's scale drawn anew at each step; labels and teacher half and half, not
softened. Chosen on validation images of MNIST; `jobs/robust.toml` is the study.
"""
