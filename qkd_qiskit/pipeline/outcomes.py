"""What came of an evaluation: what a backend returned, and what the head makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qkd_qiskit.execution.compilation import CompiledCircuit
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
        facts: of a paid evaluation, its price and its calibrations; of a mitigated one, what was done.
        executions: circuits that were run; shots (or 1) a sample if `None`.
    """

    values: np.ndarray
    errors: np.ndarray
    job_ids: tuple[str, ...] = ()
    qpu_seconds: float | None = None
    mode: str = "local"
    facts: dict[str, Any] = field(default_factory=dict)
    executions: int | None = None


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
            "pubs": max(1, len(self.measured.job_ids)),
            "circuit_executions": self.measured.executions or total * (self.shots or 1),
            "job_ids": list(self.measured.job_ids),
            "mode": self.measured.mode,
            "qpu_seconds_charged": self.measured.qpu_seconds,
            "isa": self.compiled.describe(),
        }
