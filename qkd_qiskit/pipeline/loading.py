"""Loading a trained run: its images, its circuits, its best weights."""

from __future__ import annotations

from qkd_qiskit.classical.images import Dataset
from qkd_qiskit.config import Settings
from qkd_qiskit.distillation.checkpoints import load_checkpoint, restore_student
from qkd_qiskit.exceptions import RunError
from qkd_qiskit.execution.circuit_files import load_circuits
from qkd_qiskit.files import digest_of, read_json
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.placing import PlacedStudent, make_blueprint, open_training_place, place_student
from qkd_qiskit.pipeline.preparing import load_data
from qkd_qiskit.runs import RunDirectory


def load_placed(run: RunDirectory, listener: Listener | None = None) -> tuple[PlacedStudent, Dataset]:
    """Rebuild a run's student from its settings and put its best weights in.

    Args:
        run: a run with at least one finished epoch.
        listener: follows along.

    Returns:
        The student where it was trained, and its data set.

    Raises:
        RunError: a file is missing, damaged or of another shape.
        DataError: the images are not there any more.
    """
    settings = run.settings()
    listener = listener or Listener()
    check_origin(run, settings)
    if not run.is_finished:
        listener.say(f"{run} is unfinished: its best epoch so far is used")
    tensors, _ = load_checkpoint(run.best)
    dataset = load_data(settings, listener)
    blueprint = make_blueprint(settings.student, dataset)
    logical, compiled = blueprint.build_circuit(), None
    if blueprint.has_circuit:
        logical, compiled = load_circuits(run.circuits, logical)
    place = open_training_place(settings.backend, settings.student.qubits)
    placed = place_student(
        blueprint,
        logical,
        compiled,
        place,
        dataset.classes,
        engine=settings.training.engine,
        device="cpu",
        seed=settings.seed,
    )
    restore_student(placed.student, tensors, run.best)
    placed.student.eval()
    return placed, dataset


def check_origin(run: RunDirectory, settings: Settings) -> None:
    """Find out whether a run's settings are those that it began with.

    Raises:
        RunError: they are not, or the run was made by a version with other identities.
    """
    environment = read_json(run.path / "environment.json")
    recorded = environment.get("settings_sha256") if isinstance(environment, dict) else None
    if recorded == settings.identity:
        return
    content = read_json(run.config)
    content.get("data", {}).pop("data_dir", None)
    content.get("backend", {}).pop("description", None)
    if recorded == digest_of(content):  # how version 0.1.0 did it
        raise RunError(
            f"{run} was made by an earlier version of qkd_qiskit; evaluate it with that one. A job that is on its "
            "way can be fetched there, or with QiskitRuntimeService().job(ID).result(): `qkd-qiskit jobs` has the ID"
        )
    raise RunError(f"{run.config} was changed since the run began, or environment.json was; put it back as it was")
