"""Exporting a trained student: circuits, weights and what they mean, in files that other programs can read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from qkd_qiskit.config import BackendSettings, validate
from qkd_qiskit.distillation.checkpoints import name_weights, restore_student
from qkd_qiskit.exceptions import ConfigurationError, RunError
from qkd_qiskit.execution.circuit_export import plain_name, read_circuit, write_circuit
from qkd_qiskit.execution.circuit_files import adopt_parameters
from qkd_qiskit.execution.compilation import CompiledCircuit, IsaMetrics, check_equivalence, lay_out
from qkd_qiskit.files import digest_of, digest_of_file, read_json, write_atomically, write_json
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.loading import load_placed
from qkd_qiskit.pipeline.placing import PlacedStudent, open_training_place, place_student
from qkd_qiskit.quantum.circuit import StudentCircuit
from qkd_qiskit.quantum.student import StudentBlueprint
from qkd_qiskit.runs import RunDirectory, describe_environment

FORMAT = "qkd_qiskit export 1"
MANIFEST, WEIGHTS = "export.json", "weights.safetensors"


def export_run(run: RunDirectory, out: Path | None = None, *, listener: Listener | None = None) -> dict[str, Any]:
    """Export a run's best student.

    The folder then holds `logical` and `isa` as `.qpy` and `.qasm` (symbolic parameters) and again as `*_trained` (the
    weights bound, the inputs symbolic), `weights.safetensors`, and `export.json`: blueprint, classes, observables,
    layout, circuit metrics, versions and the SHA-256 of each file.

    Args:
        run: a finished run.
        out: a folder that does not exist or is empty; `<run>/export` if `None`.
        listener: follows along.

    Returns:
        The content of `export.json`, with the folder's path under `folder`.

    Raises:
        ConfigurationError: the run is a classical control, which has no circuit.
        RunError: the run has not ended, one of its files is damaged, or the folder is not empty or can't be written.
        DataError: the images are not there any more.
    """
    settings, out = run.settings(), out or run.path / "export"
    if not run.is_finished:
        raise RunError(f"{run} has not ended: nothing final to export; go on with `qkd-qiskit train --resume {run}`")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} is not an empty folder; choose another --out, nothing was changed")
    placed, _ = load_placed(run, listener)
    if placed.compilation is None:
        raise ConfigurationError(
            f"{run} is a classical control: it has no circuit to export; its weights are in {run.best}"
        )
    result, environment = read_json(run.result), read_json(run.path / "environment.json")
    facts = {
        "format": FORMAT,
        "run": run.path.resolve().name,
        "dataset": settings.data.dataset,
        **_describe(placed),
        "backend": settings.backend.model_dump(mode="json"),
        "engine": settings.training.engine,
        "test_counts": result["test_counts"],
        "calibration": environment.get("calibration"),
        "trained_with": environment.get("versions"),
        "exported_with": describe_environment()["versions"],
    }
    _fill_folder(out, lambda folder: _write_files(folder, facts, placed))
    return {"folder": str(out), **read_json(out / MANIFEST)}


def _describe(placed: PlacedStudent) -> dict[str, Any]:
    """Say what the files mean: which parameter is what, which observable has which number, which score which class."""
    logical, isa = placed.logical, placed.compiled.isa
    return {
        "blueprint": asdict(placed.student.blueprint),
        "classes": list(placed.classes),
        "seed": placed.seed,
        "inputs": [_name(item.name) for item in logical.input_params],
        "trained": [
            {**_name(item.name), "value": float(value)}
            for item, value in zip(logical.weight_params, placed.student.quantum_weights)
        ],
        "observables": {"logical": _list_paulis(logical), "isa": _list_paulis(isa)},
        "circuit": placed.compiled.describe(),
        "weights": placed.student.num_weights(),
    }


def _name(parameter: str) -> dict[str, Any]:
    return {"qpy": parameter, "qasm": plain_name(parameter)}


def _list_paulis(circuit: StudentCircuit) -> list[list[list[Any]]]:
    """List each observable as terms `[Pauli letters, qubits, coefficient]`."""
    return [
        [[label, list(qubits), float(coefficient.real)] for label, qubits, coefficient in item.to_sparse_list()]
        for item in circuit.observables
    ]


def _fill_folder(out: Path, write: Callable[[Path], None]) -> None:
    """Write a folder aside, then rename it: a kill leaves no half of one.

    Raises:
        RunError: it can't be written.
    """
    aside = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        aside.mkdir(parents=True)
        write(aside)
        os.replace(aside, out)  # over an empty folder, if there is one
    except OSError as error:
        raise RunError(f"can't write {out}: {error.strerror or error}; choose another --out") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_files(folder: Path, facts: dict[str, Any], placed: PlacedStudent) -> None:
    weights = {name: item.detach().cpu().contiguous().clone() for name, item in name_weights(placed.student).items()}
    write_atomically(folder / WEIGHTS, lambda aside: save_file(weights, aside, metadata={"format": FORMAT}))
    names = [WEIGHTS]
    for name, circuit in (("logical", placed.logical), ("isa", placed.compiled.isa)):
        names += write_circuit(folder, name, circuit, placed.student.quantum_weights)
    content = {**facts, "files": {name: digest_of_file(folder / name) for name in names}}
    write_json(folder / MANIFEST, {**content, "self": digest_of(content)})


def load_export(folder: str | Path, *, device: str = "cpu") -> PlacedStudent:
    """Load what `qkd-qiskit export` wrote: a student that gives the same logits; no images are needed.

    Args:
        folder: the export.
        device: torch device of student and exact engine.

    Returns:
        The student in its training conditions: `placed.student(images)` are its logits.

    Raises:
        RunError: a file is missing, was changed (its SHA-256 is not the recorded one), or is of another format.
    """
    folder = Path(folder)
    facts = _read_manifest(folder)
    for name, digest in facts["files"].items():
        if not (folder / name).is_file():
            raise RunError(f"{folder / name} is missing; export the run again")
        if digest_of_file(folder / name) != digest:
            raise RunError(
                f"{folder / name} was changed or damaged: its SHA-256 is not the one in {MANIFEST}; export again"
            )
    blueprint = _read_blueprint(folder, facts)
    logical, compiled = _read_circuits(folder, facts, blueprint)
    backend = validate(BackendSettings, facts["backend"], str(folder / MANIFEST))
    place = open_training_place(backend, blueprint.num_qubits)
    placed = place_student(
        blueprint,
        logical,
        compiled,
        place,
        tuple(facts["classes"]),
        engine=facts["engine"],
        device=device,
        seed=facts["seed"],
    )
    restore_student(placed.student, _read_weights(folder / WEIGHTS), folder / WEIGHTS)
    placed.student.eval()
    return placed


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.exists():
        raise RunError(
            f"{folder} is not an export (no {MANIFEST}); make one with `qkd-qiskit export RUN --out {folder}`"
        )
    facts = read_json(path)
    found = facts.get("format") if isinstance(facts, dict) else None
    if found != FORMAT:
        raise RunError(f"{path} has format {found!r}, this version reads {FORMAT!r}")
    own = facts.pop("self", None)
    if own != digest_of(facts):
        raise RunError(f"{path} was changed or damaged; export the run again")
    return facts


def _read_blueprint(folder: Path, facts: dict[str, Any]) -> StudentBlueprint:
    try:
        fields = {**facts["blueprint"], "image_shape": tuple(facts["blueprint"]["image_shape"])}
        return StudentBlueprint(**fields)
    except (KeyError, TypeError) as error:
        raise RunError(f"{folder / MANIFEST} is of another version: {error}; export the run again") from error


def _read_circuits(
    folder: Path, facts: dict[str, Any], blueprint: StudentBlueprint
) -> tuple[StudentCircuit, CompiledCircuit]:
    template = blueprint.build_circuit()
    logical, isa = (
        adopt_parameters(template, read_circuit(folder / f"{name}.qpy"), folder / f"{name}.qpy")
        for name in ("logical", "isa")
    )
    circuit = facts["circuit"]
    metrics = IsaMetrics(**{name: circuit[name] for name in IsaMetrics.__dataclass_fields__})
    compiled = lay_out(isa, tuple(circuit["measured_qubits"]), circuit["device"], metrics)
    check_equivalence(logical, compiled)
    return logical, compiled


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        return {f"student.{name}": tensor for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} can't be read as safetensors: {error}; export the run again") from error
