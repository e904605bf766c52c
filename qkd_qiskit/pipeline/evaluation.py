"""Evaluation: one PUB, parameter values `(N, P)` against all observables; the head is applied to what comes back.

It never goes through `EstimatorQNN.forward`, which makes a PUB for each observable and keeps no job id.
"""

from __future__ import annotations

import contextlib
import io
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from torch import nn

from qkd_qiskit.classical.images import Dataset, Images
from qkd_qiskit.config import BackendSettings, validate
from qkd_qiskit.distillation.checkpoints import digest_weights
from qkd_qiskit.exceptions import BackendError, ConfigurationError
from qkd_qiskit.execution.aer import evaluate_on_aer
from qkd_qiskit.execution.compilation import CompiledCircuit, digest_circuit
from qkd_qiskit.execution.cost import circuit_duration, estimate_qpu_seconds
from qkd_qiskit.execution.devices import Place
from qkd_qiskit.execution.profiles import resolve_backend
from qkd_qiskit.execution.simulated_mitigation import check_simulated_mitigation
from qkd_qiskit.files import read_json, write_atomically, write_json
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.hardware import HardwareEvaluation, name_evaluation
from qkd_qiskit.pipeline.loading import load_placed
from qkd_qiskit.pipeline.outcomes import Evaluation, Measured
from qkd_qiskit.pipeline.placing import PlacedStudent
from qkd_qiskit.pipeline.sampling import select_rows
from qkd_qiskit.pipeline.simulating import fit_head, measure_on_simulator, open_for
from qkd_qiskit.pipeline.spending import Collected, Pending, Spending
from qkd_qiskit.runs import CHART, RunDirectory


def evaluate(
    placed: PlacedStudent,
    images: Images,
    *,
    backend: str | BackendSettings = "aer",
    shots: int | None = None,
    seed: int = 0,
    listener: Listener | None = None,
    spending: Spending | None = None,
    dataset: Dataset | None = None,
) -> Evaluation:
    """Evaluate a student on a backend.

    Args:
        placed: the student.
        images: test images; see `select_samples` to take fewer.
        backend: a name or settings: `aer`, `aer_noisy`, any `fake_*`, a snapshot's path, any `ibm_*` of your account.
        shots: measurements a sample; the backend's own number if `None`.
        seed: decides simulated counts.
        listener: follows along.
        spending: what may be paid on hardware; nothing if `None`.
        dataset: its training images recalibrate the head, where the backend's `recalibrate` asks for it.

    Raises:
        ConfigurationError: the backend is unknown, the images have more classes than the student, hardware is asked
            for exact values, this is a classical control, or there are no images to recalibrate with.
        BudgetError: the price was not confirmed, or is above what is allowed.
        BackendError: the backend can't be reached, or the job failed.
    """
    settings = resolve_shots(backend if isinstance(backend, BackendSettings) else resolve_backend(backend), shots)
    listener = listener or Listener()
    placed.require_circuit()
    if len(images) and int(images.labels.max()) >= len(placed.classes):
        raise ConfigurationError(
            f"the images have a class {int(images.labels.max())}, the student has 0 to {len(placed.classes) - 1}; load "
            f"them with classes='{','.join(map(str, placed.classes))}'"
        )
    values = placed.student.parameter_values(images.pixels)
    if settings.kind == "ibm":
        name = name_evaluation({"backend": settings.essence, "values": values.tolist()})
        hardware = HardwareEvaluation(name, settings, placed, values, None, {}, spending or Spending(), listener)
        outcome = hardware.run()
        if isinstance(outcome, Pending):
            raise ConfigurationError("dry_run and wait=False need a run directory; use evaluate_run")
        return conclude(placed, outcome.compiled, settings, images, values, _measured(outcome))
    if settings.recalibrate and dataset is None:
        raise ConfigurationError("backend.recalibrate needs training images; give evaluate(..., dataset=dataset)")
    place, compiled = open_for(settings, placed, listener)
    measured = measure_on_simulator(place, compiled, values, seed, listener)
    head, measured = fit_head(placed, dataset, place, compiled, measured, listener)
    return conclude(placed, compiled, settings, images, values, measured, head)


def resolve_shots(settings: BackendSettings, shots: int | None) -> BackendSettings:
    """Lay the user's number of shots over the backend's own.

    Raises:
        ConfigurationError: fewer than one, none on hardware, or mitigation that a simulator hasn't.
    """
    if shots is not None and shots < 1:
        raise ConfigurationError(
            f"--shots {shots}: a measurement needs at least 1; leave it out for {settings.name}'s own"
        )
    if shots is not None:
        settings = validate(BackendSettings, {**settings.model_dump(), "shots": shots}, "--shots")
    if settings.kind != "ibm":
        check_simulated_mitigation(settings)
    elif not settings.shots:
        raise ConfigurationError(f"{settings.name} can't give exact values; give --shots 1024, say")
    return settings


def _measured(collected: Collected) -> Measured:
    """Put the jobs' tables together.

    Raises:
        BackendError: a job has no result.
    """
    if collected.missing:
        raise BackendError("not every job has a result\n" + "\n".join(collected.missing))
    records = [record for record in collected.records if record is not None]
    facts: dict[str, Any] = {
        "price": collected.price.describe(),
        "calibration_drifted": collected.calibration["drifted"],
        "sentinels": collected.drift.describe() if collected.drift else None,
    }
    return Measured(
        *collected.samples,
        tuple(record.job_id for record in records if record.job_id),
        collected.charged,
        records[-1].mode or "job",
        facts,
        collected.price.executions,
    )


def conclude(
    placed: PlacedStudent,
    compiled: CompiledCircuit,
    settings: BackendSettings,
    images: Images,
    parameter_values: np.ndarray,
    measured: Measured,
    head: nn.Module | None = None,
) -> Evaluation:
    """Apply the head (one fitted anew, to measured values) to measured and to exact noiseless expectation values."""
    ideal, _ = evaluate_on_aer(placed.logical, parameter_values)
    return Evaluation(
        measured=measured,
        noiseless_values=ideal,
        logits=placed.student.classify(measured.values, head),
        noiseless_logits=placed.student.classify(ideal),
        labels=images.labels.numpy(),
        compiled=compiled,
        shots=settings.shots,
    )


def select_samples(images: Images, samples: int | None, *, seed: int = 0) -> Images:
    """Draw samples in equal parts from the classes (as equal as their number allows), in a seeded order.

    Args:
        images: `N` test images.
        samples: how many; all if `None`.
        seed: decides which.

    Raises:
        ConfigurationError: fewer than one, or more than there are.
    """
    if samples is None:
        return images
    if not 1 <= samples <= len(images):
        raise ConfigurationError(f"--samples {samples}: there are {len(images)} test images; give 1 to {len(images)}")
    return images.take(select_rows(images.labels.numpy(), samples, seed=seed))


def evaluate_run(
    run: RunDirectory,
    backend: BackendSettings,
    *,
    samples: int | None = None,
    shots: int | None = None,
    listener: Listener | None = None,
    spending: Spending | None = None,
) -> dict[str, Any]:
    """Evaluate a run's best checkpoint and keep everything under `evaluations/<backend>-<id>/`.

    The id is a hash of what changes the answer (weights, circuit, samples, backend settings, shots, seed), so the same
    evaluation asked for again is read, not run.

    Args:
        run: a trained run.
        backend: where to evaluate.
        samples: test images in equal parts from the classes; all if `None`.
        shots: measurements a sample; the backend's own number if `None`.
        listener: follows along.
        spending: what may be paid on hardware; nothing if `None`.

    Returns:
        The content of the evaluation's `result.json`; if there is none yet (`dry_run`, or `wait=False`), `state`,
        `price` and `job_ids`.

    Raises:
        RunError: the run or its checkpoint is missing or damaged, or can't be written.
        ConfigurationError: numbers out of range, or the run is a classical control.
        BudgetError: the price was not confirmed, or is above what is allowed.
        BackendError: the backend can't be reached, or a job failed; what the others gave is in `partial.json`.
    """
    listener = listener or Listener()
    settings = resolve_shots(backend, shots)
    placed, dataset = load_placed(run, listener)
    placed.require_circuit()
    images = select_samples(dataset.test, samples, seed=placed.seed)
    identity = _identify(placed, settings, images)
    name = name_evaluation(identity)
    folder = run.evaluations / f"{settings.name}-{name[:12]}"
    if (folder / "result.json").exists():
        listener.say(f"evaluated before; reading {folder}")
        return read_json(folder / "result.json")
    values, began = placed.student.parameter_values(images.pixels), time.perf_counter()
    with contextlib.ExitStack() as stack:

        def begin() -> None:
            stack.enter_context(RunDirectory(folder).lock())
            write_json(folder / "identity.json", identity)

        if settings.kind != "ibm":
            place, compiled = open_for(settings, placed, listener)
            begin()
            measured = measure_on_simulator(place, compiled, values, placed.seed, listener)
            head, measured = fit_head(placed, dataset, place, compiled, measured, listener)
            evaluation = conclude(placed, compiled, settings, images, values, measured, head)
            if head is not None:
                _keep_head(folder, head)
            calibration = place.calibration(compiled.physical_qubits)
            return _keep(run, folder, place, evaluation, calibration, time.perf_counter() - began)
        request = {"run": str(run.path.resolve()), "backend": backend.model_dump(), "samples": samples, "shots": shots}
        purse = spending or Spending()
        hardware = HardwareEvaluation(name, settings, placed, values, folder, request, purse, listener, begin)
        outcome = hardware.run()
        if isinstance(outcome, Pending):
            return _describe_pending(run, folder, outcome)
        if outcome.missing:
            raise BackendError(_keep_partial(folder, placed, images, outcome))
        evaluation = conclude(placed, outcome.compiled, settings, images, values, _measured(outcome))
        return _keep(run, folder, outcome.place, evaluation, outcome.calibration, time.perf_counter() - began)


def _keep_head(folder: Path, head: nn.Module) -> None:
    weights = {name: tensor.contiguous() for name, tensor in head.state_dict().items()}
    write_atomically(folder / "head.safetensors", lambda aside: save_file(weights, aside))


def _describe_pending(run: RunDirectory, folder: Path, pending: Pending) -> dict[str, Any]:
    return {
        "run": str(run),
        "state": pending.state,
        "price": pending.price.describe(),
        "would_be_refused": pending.refusal.replace("; nothing was submitted", "") or None,
        "job_ids": list(pending.job_ids),
        "folder": str(folder),
    }


def _keep_partial(folder: Path, placed: PlacedStudent, images: Images, collected: Collected) -> str:
    """Write what there is of an evaluation with missing jobs, and say what is missing."""
    correct = measured = 0
    for unit, table in zip(collected.units, collected.tables):
        if table is not None:
            labels = images.labels.numpy()[unit.start : unit.stop]  # what lies beyond the last sample is a sentinel
            correct += int((placed.student.classify(table[0][: len(labels)]).argmax(1) == labels).sum())
            measured += len(labels)
    counts = {"correct": correct, "samples": measured, "planned": len(images)}
    accuracy = correct / measured if measured else None
    write_json(
        folder / "partial.json",
        {
            "accuracy": accuracy,
            "counts": counts,
            "missing": collected.missing,
            "qpu_seconds_charged": collected.charged,
            "job_ids": [record.job_id for record in collected.records if record],
        },
    )
    return (
        f"{measured} of {len(images)} samples have a result (kept in {folder / 'partial.json'}); missing are\n"
        + "\n".join(collected.missing)
        + f"\n{collected.advice}"
    )


def _identify(placed: PlacedStudent, settings: BackendSettings, images: Images) -> dict[str, Any]:
    """Collect what changes the answer. A simulator's version does; a device is not paid again for an update."""
    simulators = ("qiskit", "qiskit-aer", "qiskit-ibm-runtime") if settings.kind != "ibm" else ()
    return {
        "backend": settings.essence,
        "weights": digest_weights(placed.student),
        "circuit": digest_circuit(placed.compiled.isa),
        "images": images.digest,
        "seed": placed.seed,
        "versions": {name: version(name) for name in simulators},
    }


def _keep(
    run: RunDirectory,
    folder: Path,
    place: Place,
    evaluation: Evaluation,
    calibration: dict[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """Write raw values, calibration and, last, the result: it exists only if the rest does."""
    arrays = {
        "expectation_values": evaluation.measured.values,
        "standard_errors": evaluation.measured.errors,
        "noiseless_expectation_values": evaluation.noiseless_values,
        "logits": evaluation.logits,
        "noiseless_logits": evaluation.noiseless_logits,
        "labels": evaluation.labels,
    }
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    write_atomically(folder / "expectation_values.npz", lambda aside: _write_bytes(aside, stream.getvalue()))
    write_json(folder / "calibration.json", calibration)
    write_json(folder / CHART, place.chart())
    settings, summary = place.settings, evaluation.summary()
    estimated = evaluation.measured.facts.get("price", {}).get("seconds")
    if settings.kind == "fake" and place.target is not None:
        compiled = evaluation.compiled
        duration = circuit_duration(compiled.isa.circuit, compiled.measured_qubits, place.target)
        estimated = estimate_qpu_seconds(summary["circuit_executions"], duration)
    result = {
        "run": str(run),
        "backend": settings.name,
        **summary,
        "qpu_seconds_estimated": estimated,
        "noise_scale": settings.noise_scale,
        **evaluation.measured.facts,
        "seconds": seconds,
        "folder": str(folder),
    }
    write_json(folder / "result.json", result)
    return result


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
