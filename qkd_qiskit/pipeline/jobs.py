"""Job files: a training run and its evaluations, written down once and run again at will."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from qkd_qiskit.config import (
    PRESETS,
    STUDENT_DEFAULTS,
    BackendSettings,
    JobSettings,
    Settings,
    merge,
    parse_assignments,
    validate,
)
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.execution.fakes import check_fake
from qkd_qiskit.execution.profiles import resolve_backend
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.checking import refuse_idle_teacher
from qkd_qiskit.pipeline.evaluation import evaluate_run
from qkd_qiskit.pipeline.reporting import report_if_possible
from qkd_qiskit.pipeline.spending import Spending
from qkd_qiskit.pipeline.training import train_run
from qkd_qiskit.runs import ROOT, RunDirectory
from qkd_qiskit.shipped import find_file, list_files, read_toml
from qkd_qiskit.suggestions import choose, nearest


def read_settings(
    content: Mapping[str, Any], *, preset: str | None = None, assignments: Iterable[str] = (), source: str = "settings"
) -> Settings:
    """Turn nested tables into settings; `backend` may be a name, or a table with a `name` and changes to its profile.

    Args:
        content: such as `{"seed": 1, "backend": "aer_noisy", "student": {"qubits": 4}}`.
        preset: one of `PRESETS`, laid under `content`.
        assignments: `section.key=value` texts, laid over it.
        source: where `content` is from, for messages.

    Raises:
        ConfigurationError: an unknown key, name or value.
    """
    asked = merge(name_backend(content), name_backend(parse_assignments(assignments)))
    if preset:
        asked = merge(choose("preset", preset, PRESETS), asked)
    student = asked.get("student")
    kind = str(student.get("kind")) if isinstance(student, Mapping) else ""
    table = merge(STUDENT_DEFAULTS.get(kind, {}), asked)
    changes = dict(table.get("backend", {}))
    profile = resolve_backend(str(changes.pop("name", "aer")), changes)
    return validate(Settings, {**table, "backend": profile.model_dump()}, source)


def name_backend(table: Mapping[str, Any]) -> dict[str, Any]:
    """Turn `backend = "aer_noisy"` into a table with that name, so that changes to the profile can be laid over it.

    Raises:
        ConfigurationError: it is neither a name nor a table.
    """
    backend = table.get("backend", {})
    if isinstance(backend, str):
        return {**table, "backend": {"name": backend}}
    if not isinstance(backend, Mapping):
        raise ConfigurationError(f"backend = {backend!r}: give a name such as 'aer_noisy', or a table with a name")
    return dict(table)


def read_job(name: str) -> tuple[JobSettings, Path]:
    """Read a job file by path or name.

    Returns:
        The job, and the run directory it works in.

    Raises:
        ConfigurationError: there is no such file, it is empty, or it has an unknown key (the nearest one is named).
    """
    path = find_file("jobs", name)
    if path is None:
        known = list_files("jobs")
        raise ConfigurationError(f"unknown job {name!r}{nearest(name, known)}; there are: {', '.join(known)}")
    job = validate(JobSettings, read_toml(path), str(path))
    if not job.is_study and not job.model_fields_set & {"preset", "train", "evaluate"}:
        raise ConfigurationError(
            f"{path} says nothing to do; give it a [train] table, or [[evaluate]] for the defaults"
        )
    return job, Path(job.out) if job.out else ROOT / path.stem


def run_job(
    name: str,
    out: Path | None = None,
    *,
    assignments: Iterable[str] = (),
    listener: Listener | None = None,
    confirmed: bool = False,
) -> dict[str, Any]:
    """Run a job file: train, then evaluate. What has been done already is read, what was interrupted goes on.

    Args:
        name: a path, or a name from `jobs/`.
        out: the run directory; the job's own if `None`.
        assignments: `section.key=value` texts, laid over the `[train]` table.
        listener: follows along.
        confirmed: whether evaluations on IBM devices may be paid, each up to its backend's `max_qpu_seconds`.

    Returns:
        `run`, `training` and `evaluations`, the contents of their result files.

    Raises:
        ConfigurationError: the file is wrong, or the directory holds a run of other settings.
        QkdError: whatever a stage raises.
    """
    listener = listener or Listener()
    job, folder = read_job(name)
    run = RunDirectory(out or folder)
    if job.is_study:
        raise ConfigurationError(f"{name} is a study of many runs; `qkd-qiskit run {name}` or run_study runs it")
    settings = read_settings(job.train, preset=job.preset, assignments=assignments, source=f"{name} [train]")
    refuse_idle_teacher(settings)
    backends = [resolve_evaluation(item.backend) for item in job.evaluate]  # names are checked before any training
    resume = run.config.exists()
    if resume and run.settings().identity != settings.identity:
        raise ConfigurationError(
            f"{run} holds a run of other settings than {name} asks for; give another --out (nothing was changed)"
        )
    training = train_run(settings, run.path, resume=resume, listener=listener)
    spending = Spending(confirmed=confirmed)
    evaluations = [
        evaluate_run(run, backend, samples=item.samples, shots=item.shots, listener=listener, spending=spending)
        for item, backend in zip(job.evaluate, backends)
    ]
    report = report_if_possible([run.path], listener) if job.report else None
    return {"run": str(run), "training": training, "evaluations": evaluations, "report": report}


def resolve_evaluation(backend: str | Mapping[str, Any]) -> BackendSettings:
    """Turn an evaluation's backend, a name or a table with a name, into settings.

    Raises:
        ConfigurationError: it has no name, or an unknown one.
    """
    changes = {"name": backend} if isinstance(backend, str) else dict(backend)
    if "name" not in changes:
        raise ConfigurationError(f"[[evaluate]] backend = {backend}: the table needs a name = 'aer_noisy', say")
    settings = resolve_backend(str(changes.pop("name")), changes)
    check_fake(settings)
    return settings
