"""Results of paid jobs: kept as they came, checked, and only then decoded to numbers."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qkd_qiskit.exceptions import RunError
from qkd_qiskit.files import write_atomically


class BadResult(Exception):
    """A result that can't be used: not readable, another shape, a value that is not finite, or too few shots."""


@dataclass(frozen=True)
class Shape:
    """What a result has to be.

    Attributes:
        samples: `N`, rows of parameter values.
        observables: `O`.
        shots: measurements a sample.
    """

    samples: int
    observables: int
    shots: int


def decode(text: str, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Decode and check a result.

    Args:
        text: as the service sent it.
        shape: what it has to be.

    Returns:
        Expectation values and standard errors, both `(N, O)`.

    Raises:
        BadResult: it is not that.
    """
    from qiskit_ibm_runtime.decoders.defaults import DEFAULT_DECODERS

    if not text.strip():
        raise BadResult("the service sent nothing")
    try:
        program = "executor" if '"semantic_role"' in text or '"schema_version"' in text else "estimator"
        stages: list[Any] = [text]
        for decoder in DEFAULT_DECODERS[program]:
            if decoder.is_applicable(stages[-1]):
                stages.append(decoder.decode(stages[-1]))
        _check_shots(stages, shape)
        result = stages[-1]
        if len(result) != 1:
            raise BadResult(f"it has {len(result)} PUBs; wanted 1")
        values, errors = (np.asarray(table, dtype=np.float64).T for table in (result[0].data.evs, result[0].data.stds))
    except BadResult:
        raise
    except Exception as error:
        raise BadResult(f"it can't be decoded ({type(error).__name__}: {str(error)[:100]})") from error
    wanted = (shape.samples, shape.observables)
    if values.shape != wanted or errors.shape != wanted:
        raise BadResult(f"it has shape {values.shape}; wanted {wanted}")
    if not np.isfinite(values).all():  # an extrapolation may have no standard error
        raise BadResult(f"{int((~np.isfinite(values)).sum())} of its {values.size} values are not finite numbers")
    return values, errors


def _check_shots(stages: list[Any], shape: Shape) -> None:
    """Count the measurements in a quantum program's raw data: whatever is boolean is `(..., shots, bits)`.

    The largest table counts: what is learnt about readout errors comes in a smaller one of its own.
    """
    for stage in stages[1:]:
        items = list(stage) if hasattr(stage, "__iter__") and not isinstance(stage, str) else []
        tables = [np.asarray(table) for item in items if hasattr(item, "values") for table in item.values()]
        counted = [table.shape for table in tables if table.dtype == bool and table.ndim >= 3]
        most = max((int(np.prod(sizes[:-1])) // shape.samples for sizes in counted), default=shape.shots)
        if most < shape.shots:
            raise BadResult(f"it has {most} measurements a sample; wanted {shape.shots}")


def keep(path: Path, text: str) -> str:
    """Write a result's text, read it again, and return its SHA-256.

    Raises:
        RunError: it can't be written, or reads differently.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda aside: _write(aside, gzip.compress(text.encode(), compresslevel=3, mtime=0)))
    digest = hashlib.sha256(text.encode()).hexdigest()
    if read(path, digest) is None:
        raise RunError(f"{path} does not read as it was written; check the disk, then `qkd-qiskit jobs resume`")
    return digest


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def read(path: Path, digest: str | None) -> str | None:
    """Read a kept result; `None` if it is missing, damaged, or not the one with that SHA-256."""
    try:
        text = gzip.decompress(path.read_bytes()).decode()
    except (OSError, EOFError, ValueError):
        return None
    return text if digest and hashlib.sha256(text.encode()).hexdigest() == digest else None
