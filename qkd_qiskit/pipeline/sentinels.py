"""Sentinels: samples that are measured first and once more last, so that a device that drifts in between shows it.

They are rows of the same PUB, so an evaluation stays one job. Where gates or measurements are twirled, all rows are run
once for each randomisation; first and last rows are then measured in turn, and only a drift between jobs shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from qiskit.exceptions import QiskitError

from qkd_qiskit.exceptions import QkdError
from qkd_qiskit.execution.aer import evaluate_on_aer
from qkd_qiskit.execution.compilation import CompiledCircuit
from qkd_qiskit.execution.devices import Place

SAMPLES_PER_SENTINEL = 20
SIGMAS = 3.0
"""A steady device is called drifting as rarely as one number is beyond this many standard errors."""


def count_sentinels(samples: int, wanted: int) -> int:
    """Return how many samples are measured again: those wanted, but at most one for 20 samples, and one if any."""
    return min(wanted, samples, max(1, samples // SAMPLES_PER_SENTINEL))


def append_sentinels(values: np.ndarray, count: int) -> np.ndarray:
    """Repeat the first rows at the end.

    The first, not the most telling: a choice by computed numbers may come out differently when another version resumes
    the evaluation, whose jobs would then be paid again.

    Args:
        values: parameter values `(N, A + P)`.
        count: `S`, how many.

    Returns:
        `(N + S, A + P)`.
    """
    return np.concatenate([values, values[:count]])


def expect_sentinels(place: Place, compiled: CompiledCircuit, values: np.ndarray) -> np.ndarray | None:
    """Return the exact values `(S, O)` under the noise of the device's calibration; `None` if Aer can't model it."""
    try:
        noise = place.noise(compiled.physical_qubits)
        return evaluate_on_aer(compiled.cropped, values, noise_model=noise)[0]
    except (QkdError, QiskitError):  # the evaluation has been paid for and does not depend on it
        return None


@dataclass(frozen=True)
class Drift:
    """What the sentinels showed.

    Attributes:
        start: values measured at the start, `(S, O)`.
        end: values measured at the end, `(S, O)`.
        start_errors: standard errors `(S, O)`; not finite where mitigation gives none.
        end_errors: the same at the end.
        shots: measurements of each.
        expected: exact values under the calibration's noise, without mitigation; `None` if unknown.
    """

    start: np.ndarray
    end: np.ndarray
    start_errors: np.ndarray
    end_errors: np.ndarray
    shots: int
    expected: np.ndarray | None

    @property
    def difference(self) -> np.ndarray:
        """End minus start, `(S, O)`."""
        return self.end - self.start

    @property
    def standard_error(self) -> np.ndarray:
        """Of the difference, `(S, O)`; no value is surer than a single different measurement would make it."""
        least = 2 / self.shots
        return np.hypot(np.maximum(self.start_errors, least), np.maximum(self.end_errors, least))

    @property
    def sigmas(self) -> float:
        """The largest difference in standard errors; 0 if none has a standard error."""
        ratios = np.abs(self.difference) / self.standard_error
        return float(np.max(ratios[np.isfinite(ratios)], initial=0.0))

    @property
    def allowed(self) -> float:
        """Standard errors that the largest of so many differences may reach (Bonferroni's bound)."""
        normal = NormalDist()
        tail = 2 * normal.cdf(-SIGMAS) / max(1, self.start.size)
        return -normal.inv_cdf(tail / 2)

    @property
    def drifted(self) -> bool:
        """Whether chance alone hardly makes such a difference."""
        return self.sigmas > self.allowed

    def line(self) -> str:
        """Say it in a line."""
        many = f"{len(self.start)} sample{'s' if len(self.start) > 1 else ''} measured first and last"
        sure = f"differ by {self.sigmas:.1f} standard errors at most, {self.allowed:.1f} are allowed"
        return f"{many} {sure}" + (": THE DEVICE DRIFTED while it ran" if self.drifted else "")

    def describe(self) -> dict[str, Any]:
        """Return everything as plain data, tables as lists of rows."""
        tables = {
            "start": self.start,
            "end": self.end,
            "difference": self.difference,
            "standard_error": self.standard_error,
            "expected": self.expected,
        }
        return {
            "samples": len(self.start),
            "drifted": self.drifted,
            "sigmas": self.sigmas,
            "sigmas_allowed": self.allowed,
            "line": self.line(),
            **{name: None if table is None else _rows(table) for name, table in tables.items()},
        }


def _rows(table: np.ndarray) -> list[list[float | None]]:
    return [[float(value) if np.isfinite(value) else None for value in row] for row in table]
