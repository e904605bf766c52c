"""Loading a trained run: its images, its circuits, its best weights."""

from __future__ import annotations

from qkd_qiskit.classical.images import Dataset
from qkd_qiskit.distillation.checkpoints import load_checkpoint, restore_student
from qkd_qiskit.exceptions import RunError
from qkd_qiskit.execution.circuit_files import load_circuits
from qkd_qiskit.files import read_json
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
    environment = read_json(run.path / "environment.json")
    if not isinstance(environment, dict) or environment.get("settings_sha256") != settings.identity:
        raise RunError(f"{run.config} was changed since the run began, or environment.json was; put it back as it was")
    if not run.is_finished:
        listener.say(f"{run} is unfinished: its best epoch so far is used")
    tensors, _ = load_checkpoint(run.best)
    dataset = load_data(settings, listener)
    blueprint = make_blueprint(settings.student, dataset)
    logical, compiled = blueprint.build_circuit(), None
    if blueprint.layer != "classical":
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
