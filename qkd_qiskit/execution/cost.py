"""What an evaluation would cost on hardware, before anyone pays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import PauliList, SparsePauliOp
from qiskit.transpiler import Target

JOB_SECONDS = 2.0
"""Overhead that the service charges for a job."""
REPETITION_DELAY = 250e-6
"""Seconds between two executions, the default of IBM's devices."""
MARGIN, SPARE_SECONDS = 1.5, 5.0
"""A job may take this much more than estimated, and this many seconds; beyond that the service stops it."""


def longest(estimated: float, jobs: int = 1) -> float:
    """Return the QPU seconds after which jobs of so many estimated seconds together are stopped."""
    return MARGIN * estimated + SPARE_SECONDS * jobs


def estimate_qpu_seconds(executions: int, circuit_seconds: float, *, jobs: int = 1) -> float:
    """Estimate the QPU seconds of an evaluation: a lower bound, mitigation not counted.

    Source: `2 s + (rep_delay + circuit) x executions`, the formula of IBM's guide to job run time.

    Args:
        executions: samples times bases times shots.
        circuit_seconds: duration of one execution, see `circuit_duration`.
        jobs: number of jobs.
    """
    return JOB_SECONDS * jobs + (REPETITION_DELAY + circuit_seconds) * executions


def circuit_duration(circuit: QuantumCircuit, measured: tuple[int, ...], target: Target) -> float:
    """Return the seconds of the longest path through a circuit and its readout, by the target's gate times."""
    busy = dict.fromkeys(range(circuit.num_qubits), 0.0)
    for item in circuit.data:
        qubits = tuple(circuit.find_bit(qubit).index for qubit in item.qubits)
        end = max(busy[qubit] for qubit in qubits) + _duration(target, item.name, qubits)
        busy |= dict.fromkeys(qubits, end)
    return max((busy[qubit] + _duration(target, "measure", (qubit,)) for qubit in measured), default=0.0)


def _duration(target: Target, name: str, qubits: tuple[int, ...]) -> float:
    if name not in target.operation_names:
        return 0.0
    properties = (target[name] or {}).get(qubits)
    return getattr(properties, "duration", None) or 0.0


@dataclass(frozen=True)
class Price:
    """What an evaluation would cost: a lower bound, as the service's own overheads vary; with PEC an upper one.

    Attributes:
        samples: rows of parameter values that were asked for.
        bases: measurement bases; all Z-strings share one.
        shots: measurements of each sample in each basis.
        observables: `O`, all evaluated from the same measurements.
        multiplier: circuits run for one, because of error mitigation.
        learning: executions that each job adds to learn readout errors, or the noise of its gates.
        repetition_delay: seconds between two executions.
        circuit_seconds: duration of one execution by the device's own gate times.
        jobs: how many jobs the service's limits make of it.
        budget: QPU seconds that are allowed.
        remaining: QPU seconds that the account has left; `None` if unknown or unlimited.
        sentinels: rows that are measured once more at the end.
        bounded: whether the multiplier is the most that mitigation may take, so that the price is an upper bound.
    """

    samples: int
    bases: int
    shots: int
    observables: int
    multiplier: float
    learning: int
    repetition_delay: float
    circuit_seconds: float
    jobs: int
    budget: float
    remaining: float | None = None
    sentinels: int = 0
    bounded: bool = False

    @property
    def rows(self) -> int:
        """Rows of parameter values that are run, sentinels included."""
        return self.samples + self.sentinels

    @property
    def executions(self) -> int:
        """Circuits run, all in all."""
        return math.ceil(self.rows * self.bases * self.shots * self.multiplier) + self.jobs * self.learning

    @property
    def seconds(self) -> float:
        """QPU seconds."""
        learning = self.jobs * self.learning * (self.repetition_delay + self.circuit_seconds)
        return JOB_SECONDS * self.jobs + learning + self.seconds_for(self.rows)

    @property
    def reserve(self) -> float:
        """QPU seconds that may be charged before the service stops the jobs: this is what has to be allowed."""
        return longest(self.seconds, self.jobs)

    def seconds_for(self, rows: int) -> float:
        """Return the QPU seconds that some of the rows take, without a job's overhead."""
        executions = rows * self.bases * self.shots * self.multiplier
        return (self.repetition_delay + self.circuit_seconds) * executions

    @property
    def saving(self) -> float:
        """How many times more executions `EstimatorQNN.forward` makes: it has a PUB for each observable."""
        return self.observables / self.bases

    @property
    def told(self) -> str:
        """The QPU seconds in words."""
        return f"{'at most about' if self.bounded else 'at least'} {self.seconds:.0f} QPU seconds"

    def lines(self) -> list[str]:
        """Say it in a few lines."""
        mitigation = "" if self.multiplier == 1 else f" x {self.multiplier:g} to mitigate errors"
        mitigation += f" + {self.learning:,} to learn errors" if self.learning else ""
        again = f" and {self.sentinels} of them again" if self.sentinels else ""
        overhead = f"and {self.jobs} job{'s' if self.jobs > 1 else ''} x {JOB_SECONDS:g} s"
        share = (
            "" if not self.remaining else f", {self.seconds / self.remaining:.0%} of the {self.remaining:.0f} s left"
        )
        bases = f"{self.bases} bas{'is' if self.bases == 1 else 'es'}"
        return [
            f"{self.samples} samples{again} x {bases} x {self.shots:,} shots"
            f"{mitigation} = {self.executions:,} executions, {self.saving:.0f} times fewer than EstimatorQNN.forward;",
            f"{1e6 * self.repetition_delay:.0f} us delay + {1e6 * self.circuit_seconds:.1f} us circuit, {overhead}",
            f"= {self.told}, stopped at {math.ceil(self.reserve)}, {self.budget:.0f} allowed{share}",
        ]

    def describe(self) -> dict[str, Any]:
        """Return everything as plain data."""
        derived = {"executions": self.executions, "seconds": self.seconds, "reserve": self.reserve}
        return {**asdict(self), **derived, "saving": self.saving}


def count_bases(observables: Sequence[SparsePauliOp]) -> int:
    """Count the measurement bases of some observables: Paulis that agree on every qubit share one."""
    paulis = PauliList([pauli for observable in observables for pauli in observable.paulis]).unique()
    return len(paulis.group_commuting(qubit_wise=True))


def repetition_delay(backend: Any) -> float:
    """Return a device's default delay between executions, in seconds."""
    try:
        return float(backend.configuration().default_rep_delay)
    except (AttributeError, TypeError):
        return REPETITION_DELAY
