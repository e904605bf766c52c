"""Evaluation: one PUB, parameter values `(N, P)` against all observables; the head is applied to what comes back.

It never goes through `EstimatorQNN.forward`, which makes a PUB for each observable and keeps no job id.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from qkd_qiskit.classical.images import Images
from qkd_qiskit.config import BackendSettings, validate
from qkd_qiskit.distillation.checkpoints import digest_weights
from qkd_qiskit.exceptions import ConfigurationError, InterruptedRunError
from qkd_qiskit.execution.aer import evaluate_on_aer
from qkd_qiskit.execution.compilation import CompiledCircuit, digest_circuit
from qkd_qiskit.execution.cost import circuit_duration, estimate_qpu_seconds
from qkd_qiskit.execution.devices import Place, open_simulator
from qkd_qiskit.execution.profiles import resolve_backend
from qkd_qiskit.files import digest_of, read_json, write_atomically, write_json
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.loading import load_placed
from qkd_qiskit.pipeline.placing import PlacedStudent
from qkd_qiskit.runs import RunDirectory
from qkd_qiskit.study.statistics import wilson_interval


@dataclass(frozen=True)
class Measured:
    """What a backend returned.

    Attributes:
        values: expectation values `(N, O)`.
        errors: their standard errors `(N, O)`; zero where exact.
        job_ids: of the service's jobs; empty on simulators.
        qpu_seconds: charged; `None` where nothing is.
        mode: `session`, `batch`, `job`, or `local`.
    """

    values: np.ndarray
    errors: np.ndarray
    job_ids: tuple[str, ...] = ()
    qpu_seconds: float | None = None
    mode: str = "local"


@dataclass(frozen=True)
class Evaluation:
    """One student on one backend.

    Attributes:
        measured: what the backend returned.
        noiseless_values: exact ideal expectation values of the same samples, `(N, O)`.
        logits: `(N, K)`, the head on `measured.values`.
        noiseless_logits: `(N, K)`.
        labels: `(N,)`.
        compiled: the circuit that ran.
        shots: measurements a sample; 0 is exact.
    """

    measured: Measured
    noiseless_values: np.ndarray
    logits: np.ndarray
    noiseless_logits: np.ndarray
    labels: np.ndarray
    compiled: CompiledCircuit
    shots: int

    @property
    def correct(self) -> int:
        """Samples classified rightly on the backend."""
        return int((self.logits.argmax(1) == self.labels).sum())

    @property
    def noiseless_correct(self) -> int:
        """Samples classified rightly without noise."""
        return int((self.noiseless_logits.argmax(1) == self.labels).sum())

    @property
    def agreeing(self) -> int:
        """Samples that backend and noiseless simulation classify alike."""
        return int((self.logits.argmax(1) == self.noiseless_logits.argmax(1)).sum())

    def summary(self) -> dict[str, Any]:
        """Return counts first, and what is derived from them."""
        total = len(self.labels)
        return {
            "accuracy": self.correct / total,
            "accuracy_interval": list(wilson_interval(self.correct, total)),
            "noiseless_accuracy": self.noiseless_correct / total,
            "agreement": self.agreeing / total,
            "counts": {
                "correct": self.correct,
                "noiseless_correct": self.noiseless_correct,
                "agreeing": self.agreeing,
                "samples": total,
            },
            "samples": total,
            "shots": self.shots,
            "pubs": 1,
            "circuit_executions": total * self.shots if self.shots else total,
            "job_ids": list(self.measured.job_ids),
            "mode": self.measured.mode,
            "qpu_seconds_charged": self.measured.qpu_seconds,
            "isa": self.compiled.describe(),
        }


def evaluate(
    placed: PlacedStudent,
    images: Images,
    *,
    backend: str | BackendSettings = "aer",
    shots: int | None = None,
    seed: int = 0,
    listener: Listener | None = None,
) -> Evaluation:
    """Evaluate a student on a backend.

    Args:
        placed: the student.
        images: test images; see `select_samples` to take fewer.
        backend: a name or settings: `aer`, `aer_noisy`, any `fake_*`, any `ibm_*` of your account.
        shots: measurements a sample; the backend's own number if `None`.
        seed: decides simulated counts.
        listener: follows along.

    Raises:
        ConfigurationError: the backend is unknown, or hardware is asked for exact values.
        BackendError: the backend can't be reached, or the job failed.
    """
    settings = resolve_shots(backend if isinstance(backend, BackendSettings) else resolve_backend(backend), shots)
    listener = listener or Listener()
    place = open_place(settings, placed)
    compiled = _compile_for(place, placed, listener)
    values = placed.student.parameter_values(images.pixels)
    if settings.kind == "ibm":
        measured = measure_on_device(place, compiled, values, None, listener)
    else:
        measured = measure_on_simulator(place, compiled, values, seed, listener)
    return conclude(placed, compiled, settings, images, values, measured)


def resolve_shots(settings: BackendSettings, shots: int | None) -> BackendSettings:
    """Lay the user's number of shots over the backend's own.

    Raises:
        ConfigurationError: fewer than one, or none on hardware.
    """
    if shots is not None and shots < 1:
        raise ConfigurationError(
            f"--shots {shots}: a measurement needs at least 1; leave it out for {settings.name}'s own"
        )
    if shots is not None:
        settings = validate(BackendSettings, {**settings.model_dump(), "shots": shots}, "--shots")
    if settings.kind == "ibm" and not settings.shots:
        raise ConfigurationError(f"{settings.name} can't give exact values; give --shots 1024, say")
    return settings


def open_place(settings: BackendSettings, placed: PlacedStudent) -> Place:
    """Open the backend an evaluation runs on."""
    if settings.kind == "ibm":
        from qkd_qiskit.execution.runtime import open_device

        return open_device(settings)
    return open_simulator(settings, placed.logical.circuit.num_qubits)


def _compile_for(place: Place, placed: PlacedStudent, listener: Listener) -> CompiledCircuit:
    compiled, anew = place.adopt(placed.compiled, placed.logical)
    trained_for = placed.compiled.device or "an ideal simulator"
    if anew and place.target is not None:
        listener.say(
            f"the student was trained for {trained_for}: its logical circuit was compiled anew for {place.device}"
        )
    return compiled


def measure_on_simulator(
    place: Place, compiled: CompiledCircuit, parameter_values: np.ndarray, seed: int, listener: Listener
) -> Measured:
    """Run on Aer, with the place's noise, exactly or counting."""
    values, errors = evaluate_on_aer(
        compiled.cropped,
        parameter_values,
        noise_model=place.noise(compiled.physical_qubits),
        shots=place.settings.shots or None,
        seed=seed,
        report=lambda done, total: listener.progress(f"evaluating on {place.settings.name}", done, total),
    )
    return Measured(values, errors)


def measure_on_device(
    place: Place, compiled: CompiledCircuit, parameter_values: np.ndarray, folder: Path | None, listener: Listener
) -> Measured:
    """Run on hardware; in a folder, the job id is on disk before anything waits, and a second call finds the job.

    Raises:
        BackendError: the job was refused or failed.
        InterruptedRunError: Ctrl-C while waiting; the job goes on.
    """
    from qkd_qiskit.execution import runtime

    record = folder / "job.json" if folder else None
    try:
        if record and record.exists():
            known = read_json(record)
            listener.say(f"job {known['job_id']} was submitted earlier; asking for it")
            return _collect(
                place, runtime.reattach(place, known["job_id"]), compiled, parameter_values, known["mode"], listener
            )
        with runtime.submit(
            place, compiled, parameter_values, shots=place.settings.shots, say=listener.say
        ) as submission:
            if record:
                facts = {"job_id": submission.job_id, "mode": submission.mode, "session_id": submission.session_id}
                write_json(record, {**facts, "backend": place.device, "submitted": time.time()})
            listener.say(f"submitted job {submission.job_id}")
            return _collect(place, submission.job, compiled, parameter_values, submission.mode, listener)
    except KeyboardInterrupt:
        kept = " and its id is kept: run the same command again to fetch it" if record and record.exists() else ""
        raise InterruptedRunError(f"interrupted; a job that was submitted goes on{kept}") from None


def _collect(
    place: Place, job: Any, compiled: CompiledCircuit, parameter_values: np.ndarray, mode: str, listener: Listener
) -> Measured:
    from qkd_qiskit.execution import runtime

    runtime.wait(job, hours=place.settings.wait_hours, say=listener.say)
    values, errors, charged = runtime.fetch(job, len(parameter_values), len(compiled.isa.observables))
    return Measured(values, errors, (job.job_id(),), charged, mode)


def conclude(
    placed: PlacedStudent,
    compiled: CompiledCircuit,
    settings: BackendSettings,
    images: Images,
    parameter_values: np.ndarray,
    measured: Measured,
) -> Evaluation:
    """Apply the head to measured and to exact noiseless expectation values."""
    ideal, _ = evaluate_on_aer(placed.logical, parameter_values)
    return Evaluation(
        measured=measured,
        noiseless_values=ideal,
        logits=placed.student.classify(measured.values),
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
    generator, labels = np.random.default_rng(seed), images.labels.numpy()
    position, order = np.empty(len(images)), generator.permutation(len(images))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        position[members] = np.arange(len(members)) + generator.random()
    return images.take(np.sort(np.argsort(position)[:samples]).tolist())


def evaluate_run(
    run: RunDirectory,
    backend: BackendSettings,
    *,
    samples: int | None = None,
    shots: int | None = None,
    listener: Listener | None = None,
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

    Returns:
        The content of the evaluation's `result.json`.

    Raises:
        RunError: the run or its checkpoint is missing or damaged, or can't be written.
        ConfigurationError: numbers out of range.
        BackendError: the backend can't be reached, or the job failed.
    """
    listener = listener or Listener()
    settings = resolve_shots(backend, shots)
    placed, dataset = load_placed(run, listener)
    images = select_samples(dataset.test, samples, seed=placed.seed)
    identity = _identify(placed, settings, images)
    folder = run.evaluations / f"{settings.name}-{digest_of(identity)[:12]}"
    if (folder / "result.json").exists():
        listener.say(f"evaluated before; reading {folder}")
        return read_json(folder / "result.json")
    with RunDirectory(folder).lock():
        write_json(folder / "identity.json", identity)
        place = open_place(settings, placed)
        compiled = _compile_for(place, placed, listener)
        values = placed.student.parameter_values(images.pixels)
        measure: Callable[[], Measured] = (
            (lambda: measure_on_device(place, compiled, values, folder, listener))
            if settings.kind == "ibm"
            else (lambda: measure_on_simulator(place, compiled, values, placed.seed, listener))
        )
        began = time.perf_counter()
        evaluation = conclude(placed, compiled, settings, images, values, measure())
        return _keep(run, folder, place, evaluation, time.perf_counter() - began)


def _identify(placed: PlacedStudent, settings: BackendSettings, images: Images) -> dict[str, Any]:
    """Collect what changes the answer; how long to wait, in which mode and what it may cost do not."""
    content = settings.model_dump(mode="json", exclude={"description", "wait_hours", "mode", "max_qpu_seconds"})
    return {
        "backend": content,
        "weights": digest_weights(placed.student),
        "circuit": digest_circuit(placed.compiled.isa),
        "images": images.digest,
        "seed": placed.seed,
        "versions": {name: version(name) for name in ("qiskit", "qiskit-aer", "qiskit-ibm-runtime")},
    }


def _keep(run: RunDirectory, folder: Path, place: Place, evaluation: Evaluation, seconds: float) -> dict[str, Any]:
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
    write_json(folder / "calibration.json", place.calibration(evaluation.compiled.physical_qubits))
    settings, summary = place.settings, evaluation.summary()
    estimated = None
    if settings.kind != "aer" and place.target is not None:
        compiled = evaluation.compiled
        duration = circuit_duration(compiled.isa.circuit, compiled.measured_qubits, place.target)
        estimated = estimate_qpu_seconds(summary["circuit_executions"], duration)
    result = {
        "run": str(run),
        "backend": settings.name,
        **summary,
        "qpu_seconds_estimated": estimated,
        "noise_scale": settings.noise_scale,
        "seconds": seconds,
        "folder": str(folder),
    }
    write_json(folder / "result.json", result)
    return result


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
