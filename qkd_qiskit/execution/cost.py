"""What an evaluation would cost on hardware, before anyone pays."""

from __future__ import annotations

from qiskit.circuit import QuantumCircuit
from qiskit.transpiler import Target

JOB_SECONDS = 2.0
"""Overhead that the service charges for a job."""
REPETITION_DELAY = 250e-6
"""Seconds between two executions, the default of IBM's devices."""


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
