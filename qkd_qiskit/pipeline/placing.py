"""A student on a backend: built, compiled for it, with the layer that trains it, and checked against Aer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from qiskit_aer.noise import NoiseModel

from qkd_qiskit.classical.images import Dataset
from qkd_qiskit.classical.reduction import fit_reduction
from qkd_qiskit.config import BackendSettings, StudentSettings, TrainingSettings, validate
from qkd_qiskit.distillation.training import device_of
from qkd_qiskit.exceptions import BackendError, ConfigurationError
from qkd_qiskit.execution.aer import evaluate_on_aer
from qkd_qiskit.execution.compilation import CompiledCircuit
from qkd_qiskit.execution.devices import Place, open_simulator
from qkd_qiskit.execution.engines import build_quantum_layer
from qkd_qiskit.execution.profiles import resolve_backend
from qkd_qiskit.execution.simulated_mitigation import is_mitigated
from qkd_qiskit.execution.training_noise import inject_noise
from qkd_qiskit.quantum import student as students
from qkd_qiskit.quantum.circuit import StudentCircuit
from qkd_qiskit.quantum.encoding import AMPLITUDES
from qkd_qiskit.quantum.student import QuantumStudent, StudentBlueprint

LARGEST_DIFFERENCE = 1e-6
"""Above this difference from Aer, an exact engine must not train."""


@dataclass(frozen=True)
class PlacedStudent:
    """A student and where it is trained.

    Attributes:
        student: the network.
        logical: its circuit before compilation; in a classical control, the circuit that it stands in for.
        compilation: its circuit for the backend; `None` in a classical control.
        place: the backend.
        noise: noise on the qubits in use; ideal if `None`.
        classes: the original labels of classes `0 .. K-1`.
        seed: decided its weights.
    """

    student: QuantumStudent
    logical: StudentCircuit
    compilation: CompiledCircuit | None
    place: Place
    noise: NoiseModel | None
    classes: tuple[int, ...]
    seed: int

    def __repr__(self) -> str:
        blueprint = self.student.blueprint
        circuit = "no circuit"
        if self.compilation is not None:
            noise = "without noise" if self.noise is None else "with its noise"
            circuit = f"compiled for {self.place.device or 'an ideal simulator'}, {noise}"
        return (
            f"PlacedStudent({blueprint.kind}, {blueprint.num_qubits} qubits, weights {self.student.num_weights()}, "
            f"classes {self.classes}, {circuit})"
        )

    @property
    def compiled(self) -> CompiledCircuit:
        """The circuit for the backend.

        Raises:
            ConfigurationError: this is a classical control.
        """
        self.require_circuit()
        assert self.compilation is not None
        return self.compilation

    def require_circuit(self) -> None:
        """Find out whether there is a circuit to compile and to run.

        Raises:
            ConfigurationError: this is a classical control.
        """
        if self.compilation is None:
            raise ConfigurationError(
                f"a classical control (student.layer = {self.student.blueprint.layer}) has no circuit to compile or to "
                "run on a device; its accuracy on the test images is what training ends with, in result.json"
            )


def build_student(
    dataset: Dataset,
    *,
    backend: str | BackendSettings = "aer",
    engine: str = "exact",
    device: str = "cpu",
    seed: int = 0,
    training: TrainingSettings | None = None,
    **student: Any,
) -> PlacedStudent:
    """Build a quantum student for a data set and compile its circuit for a backend.

    Args:
        dataset: gives image shape and classes; its training images fit a reduction that needs it (`pca`,
            `standardised_linear`).
        backend: a simulator's name or settings: `aer`, `aer_noisy`, any `fake_*`, a snapshot's path.
        engine: `exact` or `aer`: what evaluates circuit and gradient in training.
        device: torch device of student and exact engine.
        seed: decides the initial weights.
        training: its `noise_scales`, `injection` and `angle_injection` are noise that there is in training only.
        **student: settings such as `qubits=4, layers=2, encoding="amplitude"`; see `StudentSettings`.

    Raises:
        ConfigurationError: a name is unknown, or numbers don't fit.
        BackendError: the circuit doesn't fit the device.
    """
    settings = validate(StudentSettings, student, "student")
    resolved = backend if isinstance(backend, BackendSettings) else resolve_backend(backend)
    check_control(settings, resolved)
    blueprint = make_blueprint(settings, dataset)
    logical = blueprint.build_circuit()
    place = open_training_place(resolved, settings.qubits)
    compiled = place.compile(logical) if settings.has_circuit else None
    how: dict[str, Any] = {"engine": engine, "device": device, "seed": seed, "training": training}
    placed = place_student(blueprint, logical, compiled, place, dataset.classes, **how)
    fit_reduction(placed.student.features, dataset.train.pixels)
    return placed


def place_student(
    blueprint: StudentBlueprint,
    logical: StudentCircuit,
    compiled: CompiledCircuit | None,
    place: Place,
    classes: tuple[int, ...],
    *,
    engine: str,
    device: str,
    seed: int,
    training: TrainingSettings | None = None,
) -> PlacedStudent:
    """Join a blueprint and a compiled circuit (`None` for a classical control) into a student with fresh weights.

    Args:
        blueprint: what to build.
        logical: its circuit.
        compiled: its circuit for the place.
        place: gives the noise.
        classes: the original labels.
        engine: see `build_quantum_layer`.
        device: torch device.
        seed: decides the weights.
        training: noise that there is in training only; none if `None`.

    Raises:
        ConfigurationError: torch has no such device.
    """
    check_device(device)
    noise, scales = (
        place.noise(compiled.physical_qubits) if compiled else None,
        training.noise_scales if training else (),
    )
    drawn = [place.noise(compiled.physical_qubits, times=scale) for scale in scales] if compiled else []
    ideal = compiled is not None and not compiled.device and noise is None and not drawn
    from_state = engine == "exact" and ideal and not (training and training.angle_injection)
    ansatz = blueprint.build_ansatz_circuit() if from_state else None
    layer = build_quantum_layer(engine, noise, device=device, drawn=drawn, ansatz=ansatz)
    circuit = compiled.cropped if compiled else logical
    student = students.build_student(blueprint, layer, circuit=circuit, seed=seed).to(device)
    if training:
        inject_noise(student.quantum, values=training.injection, angles=training.angle_injection)
    return PlacedStudent(student, logical, compiled, place, noise, classes, seed)


def check_batch_size(batch_size: int, student: StudentSettings | StudentBlueprint) -> None:
    """Find out whether a student can learn from batches of this size.

    Raises:
        ConfigurationError: it standardises its features over the batch, and a batch is one image.
    """
    bounded = student.kind == "hybrid" or student.encoding not in AMPLITUDES
    if batch_size == 1 and bounded and student.normalise:
        raise ConfigurationError(
            "--batch-size 1: this student standardises its features over the batch; give 2 or more, or --set "
            "student.normalise=false"
        )
    if batch_size == 1 and student.head == "normalised":
        raise ConfigurationError(
            "--batch-size 1: this head standardises expectation values over the batch; give 2 or more, or --set "
            "student.head=affine"
        )


def check_device(name: str) -> None:
    """Find out whether torch can compute there.

    Raises:
        ConfigurationError: it can't.
    """
    try:
        torch.zeros(1, dtype=torch.float64, device=name)
    except (RuntimeError, AssertionError, TypeError) as error:  # AssertionError: a torch built without CUDA
        raise ConfigurationError(f"torch can't compute on device {name!r}; leave --device out, or give cpu") from error


def make_blueprint(settings: StudentSettings, dataset: Dataset) -> StudentBlueprint:
    """Turn settings and a data set's shape into a blueprint."""
    return draw_blueprint(settings, dataset.image_shape, dataset.num_classes)


def draw_blueprint(settings: StudentSettings, image_shape: tuple[int, int, int], num_classes: int) -> StudentBlueprint:
    """Turn settings into a blueprint for images `(C, H, W)` of `K` classes."""
    return StudentBlueprint(
        kind=settings.kind,
        num_qubits=settings.qubits,
        ansatz=settings.ansatz,
        layers=settings.layers,
        layer=settings.layer,
        reduction=settings.reduction,
        encoding=settings.encoding,
        observables=settings.observables,
        head=settings.head,
        angle_range=settings.angle_range,
        normalise=settings.normalise,
        dropout=settings.dropout,
        feature_scale=settings.feature_scale,
        image_shape=image_shape,
        num_classes=num_classes,
    )


def open_training_place(settings: BackendSettings, num_qubits: int) -> Place:
    """Open a backend to train on.

    Raises:
        ConfigurationError: it is real hardware, or values are to be mitigated. A simulator's shots count in evaluation
            only: training is exact.
    """
    if settings.kind != "ibm" and is_mitigated(settings):
        raise ConfigurationError(
            "training sees the noise itself: mitigation is for evaluation; leave backend.mitigation out, and give "
            "it to evaluate --set mitigation.readout=true"
        )
    if settings.recalibrate:
        raise ConfigurationError(
            "backend.recalibrate is for evaluation; give training.recalibrate for the end of training"
        )
    if settings.kind == "ibm":
        raise ConfigurationError(
            f"training on {settings.name} would need thousands of paid jobs; train with --backend aer_noisy (add "
            f"--set backend.noise=fake_... for another device's noise) and then evaluate --backend {settings.name}"
        )
    return open_simulator(settings, num_qubits)


def probe(placed: PlacedStudent, pixels: torch.Tensor) -> float:
    """Evaluate the student's layer and Aer on the same images.

    Args:
        placed: the student.
        pixels: `(N, C, H, W)`.

    Returns:
        The largest difference between two expectation values.

    Raises:
        BackendError: it is above `LARGEST_DIFFERENCE`: engine and Aer disagree, training would be wrong.
    """
    student = placed.student
    values = student.parameter_values(pixels)
    reference, _ = evaluate_on_aer(placed.compiled.cropped, values, noise_model=placed.noise)
    own = student.measure_exactly(pixels.to(device_of(student))).numpy()
    difference = float(np.abs(own - reference).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise BackendError(
            f"the engine's expectation values differ from Aer's by {difference:.1e}, more than "
            f"{LARGEST_DIFFERENCE:.0e}; refusing to train. Give --engine aer, and report this with config.json"
        )
    return difference


def check_control(student: StudentSettings, backend: BackendSettings) -> None:
    """Find out whether a classical control is asked to be noisy.

    Raises:
        ConfigurationError: noise acts on gates, and there are none.
    """
    if not student.has_circuit and (backend.kind != "aer" or backend.noise):
        raise ConfigurationError(
            f"a classical control (student.layer = {student.layer}) has no gates that the noise of {backend.name} "
            "could act on; give --backend aer"
        )
