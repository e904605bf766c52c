"""Distil classical CNNs into quantum students, train them under exact device noise, evaluate them on hardware.

The names below are in the order in which data flows. They are imported when first used, so that
`import qkd_qiskit` and `qkd-qiskit --help` cost nothing.
"""

from importlib import import_module
from typing import Any

from qkd_qiskit._version import __version__

_HOME = {
    "load_dataset": "qkd_qiskit.classical.datasets",
    "build_teacher": "qkd_qiskit.classical.teachers",
    "build_student": "qkd_qiskit.pipeline.placing",
    "train": "qkd_qiskit.pipeline.training",
    "select_samples": "qkd_qiskit.pipeline.evaluation",
    "evaluate": "qkd_qiskit.pipeline.evaluation",
    "resolve_backend": "qkd_qiskit.execution.profiles",
    "crop_target": "qkd_qiskit.execution.noise",
    "device_noise": "qkd_qiskit.execution.noise",
    "Settings": "qkd_qiskit.config",
    "read_settings": "qkd_qiskit.pipeline.jobs",
    "train_run": "qkd_qiskit.pipeline.training",
    "find_run": "qkd_qiskit.runs",
    "load_placed": "qkd_qiskit.pipeline.loading",
    "evaluate_run": "qkd_qiskit.pipeline.evaluation",
    "run_job": "qkd_qiskit.pipeline.jobs",
    "run_study": "qkd_qiskit.study.running",
    "load_outcomes": "qkd_qiskit.study.outcomes",
    "export_run": "qkd_qiskit.pipeline.exporting",
    "load_export": "qkd_qiskit.pipeline.exporting",
    "QkdError": "qkd_qiskit.exceptions",
}

__all__ = [
    "load_dataset",
    "build_teacher",
    "build_student",
    "train",
    "select_samples",
    "evaluate",
    "resolve_backend",
    "crop_target",
    "device_noise",
    "Settings",
    "read_settings",
    "train_run",
    "find_run",
    "load_placed",
    "evaluate_run",
    "run_job",
    "run_study",
    "load_outcomes",
    "export_run",
    "load_export",
    "QkdError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'qkd_qiskit' has no attribute {name!r}; there are: {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
