"""What can't be trained is found before anything is loaded, trained or written."""

from __future__ import annotations

from qkd_qiskit.classical.datasets import DATASETS
from qkd_qiskit.classical.reduction import REDUCTIONS, TRAINED
from qkd_qiskit.classical.teachers import check_stop, find_teacher
from qkd_qiskit.config import Settings, StudentSettings
from qkd_qiskit.distillation.losses import Objective
from qkd_qiskit.distillation.training import SCHEDULES
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.pipeline.placing import (
    check_batch_size,
    check_control,
    check_device,
    draw_blueprint,
    open_training_place,
)
from qkd_qiskit.quantum import student as students
from qkd_qiskit.quantum.ansatz import ANSAETZE
from qkd_qiskit.quantum.encoding import AMPLITUDES, ENCODINGS
from qkd_qiskit.quantum.heads import HEADS, build_head
from qkd_qiskit.quantum.observables import OBSERVABLES
from qkd_qiskit.suggestions import choose


def check_training_noise(settings: Settings) -> None:
    """Find out whether the noise that is for training only can be made.

    Raises:
        ConfigurationError: the engine can't draw noise, there is none to scale, or there is no head to fit anew.
    """
    training = settings.training
    if training.noise_scales and not settings.student.has_circuit:
        raise ConfigurationError(
            "training.noise_scales: a classical control has no gates that noise could act on; leave it out, or give "
            "another --preset than robust"
        )
    if training.noise_scales and training.engine != "exact":
        raise ConfigurationError("training.noise_scales needs the exact engine; leave --engine out")
    if training.noise_scales and settings.backend.kind == "aer" and not settings.backend.noise:
        raise ConfigurationError("training.noise_scales has no noise to scale; give --backend aer_noisy")
    if training.recalibrate and settings.student.head == "paper":
        raise ConfigurationError("training.recalibrate: the paper's head has no weights; give --head affine")
    if training.recalibrate and not settings.student.has_circuit:
        raise ConfigurationError("training.recalibrate: a classical control measures nothing; leave it out")


def _check_student(chosen: StudentSettings) -> None:
    """Build the circuit once, for any image and the fewest classes, and look whether anything can be trained.

    Raises:
        ConfigurationError: a name is unknown, numbers don't fit, or nothing is trained.
    """
    _refuse_idle_stages(chosen)
    blueprint = draw_blueprint(chosen, (1, 28, 28), 2)
    circuit = blueprint.build_circuit()
    fixed = chosen.kind == "qnn" and (chosen.reduction not in TRAINED or chosen.encoding in AMPLITUDES)
    if chosen.feature_scale != 1 and (fixed or chosen.normalise):
        raise ConfigurationError(
            f"student.feature_scale = {chosen.feature_scale:g} would be divided out again, by standardising or by the "
            "norm of the amplitudes, or there are no weights to scale; leave it out, or give a trained reduction, a "
            "bounded encoding and --set student.normalise=false"
        )
    head = build_head(chosen.head, chosen.qubits, len(circuit.observables), blueprint.num_classes)
    in_circuit = len(circuit.weight_params) if chosen.layer != "frozen" else 0
    if not in_circuit and chosen.kind == "qnn" and chosen.reduction not in TRAINED and not [*head.parameters()]:
        raise ConfigurationError(
            f"nothing in this student is trained: reduction {chosen.reduction} and head {chosen.head} have no weights, "
            "and the circuit has none or is frozen; give --head affine, or --reduction linear"
        )


def _refuse_idle_stages(chosen: StudentSettings) -> None:
    usual = StudentSettings()
    if chosen.kind != "hybrid":
        if chosen.dropout != usual.dropout:
            raise ConfigurationError(
                f"student.dropout = {chosen.dropout:g} is of the hybrid student's CNN, and a {chosen.kind} student has "
                "none; leave it out, or give --student hybrid"
            )
        return
    for name, own in (("reduction", None), ("encoding", "hadamard_angle"), ("ansatz", "none"), ("observables", None)):
        value = getattr(chosen, name)
        if value not in (getattr(usual, name), own):
            raise ConfigurationError(
                f"student.{name} = {value} has no effect on the hybrid student, which has a CNN, H and RY a qubit "
                "and all parities of its own; leave it out, or give --student qnn"
            )


def refuse_idle_teacher(settings: Settings) -> None:
    """Find out whether a teacher was asked for that the loss has no use for; a default one may be idle.

    Args:
        settings: as they were typed, not read from a run, where every setting is given.

    Raises:
        ConfigurationError: it was.
    """
    given = settings.teacher.model_fields_set
    if not given or settings.teacher.name == "none":
        return
    if settings.teacher.name != "self":
        find_teacher(settings.teacher.name)
    if not Objective(settings.loss, **settings.constants).needs_teacher:  # type: ignore[arg-type]
        what = f"teacher {settings.teacher.name!r}" if "name" in given else f"teacher.{min(given)}"
        raise ConfigurationError(
            f"loss {settings.loss!r} has no teacher, so {what} would have no effect; give --loss kd to distil it, or "
            "--teacher none"
        )


def check_settings(settings: Settings) -> None:
    """Find unknown names and contradictions before anything is loaded, trained or written.

    Raises:
        ConfigurationError: a name is unknown, or the loss needs a teacher and there is none.
    """
    chosen = settings.student
    for kind, name, choices in (
        ("student", chosen.kind, students.STUDENTS),
        ("reduction", chosen.reduction, REDUCTIONS),
        ("encoding", chosen.encoding, ENCODINGS),
        ("ansatz", chosen.ansatz, ANSAETZE),
        ("observables", chosen.observables, OBSERVABLES),
        ("head", chosen.head, HEADS),
        ("schedule", settings.training.schedule, SCHEDULES),
    ):
        choose(kind, name, choices)
    choose("data set", settings.data.dataset, DATASETS)
    if settings.teacher.name not in ("none", "self"):
        find_teacher(settings.teacher.name)
    if settings.teacher.stop_epoch and settings.teacher.epochs:
        check_stop(settings.teacher.stop_epoch, settings.teacher.epochs)
    check_device(settings.training.device)
    check_control(chosen, settings.backend)
    open_training_place(settings.backend, chosen.qubits)
    check_training_noise(settings)
    _check_student(chosen)
    check_batch_size(settings.training.batch_size, chosen)
    objective = Objective(settings.loss, **settings.constants)  # type: ignore[arg-type]
    objective.check_batch_size(settings.training.batch_size)
    if objective.needs_teacher and settings.teacher.name == "none":
        raise ConfigurationError(f"loss {settings.loss!r} needs a teacher; give --teacher lenet, or --loss ce")
    if settings.distillation.twin and not objective.needs_teacher:
        raise ConfigurationError(
            f"distillation.twin is a second teacher, and loss {settings.loss!r} has none; give --loss kd"
        )
