"""Cutting an evaluation into jobs, and naming each by what changes its answer."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np

from qkd_qiskit.config import BackendSettings
from qkd_qiskit.execution.compilation import CompiledCircuit
from qkd_qiskit.execution.cost import JOB_SECONDS, Price
from qkd_qiskit.execution.submission import Unit
from qkd_qiskit.files import digest_of

IRRELEVANT = {
    "name", "description", "mode", "max_qpu_seconds", "wait_hours", "executions_per_job", "settle_seconds",
    "outage_seconds", "layouts", "optimization_level", "transpile_seed", "noise", "noise_scale", "noise_parts",
    "recalibrate", "kind", "sentinels",
}  # fmt: skip
"""Settings of a backend that don't change what a given circuit measures there."""


def split(price: Price, settings: BackendSettings) -> list[tuple[int, int]]:
    """Cut rows into as few jobs as the service's limit allows, as equal as they can be.

    Args:
        price: of all rows; its number of jobs is not used.
        settings: has the limit.
    """
    most = max(1, int(settings.executions_per_job / (price.bases * price.shots * price.multiplier)))
    jobs = -(-price.rows // most)
    edges = np.linspace(0, price.rows, jobs + 1).round().astype(int).tolist()
    return list(pairwise(edges))


def name_units(
    compiled: CompiledCircuit, values: np.ndarray, settings: BackendSettings, price: Price, cuts: list[tuple[int, int]]
) -> list[Unit]:
    """Name the jobs: SHA-256 of circuit, parameter values, observables, options and device, and of nothing else."""
    circuit = compiled.isa.circuit
    columns = values[:, compiled.isa.columns_of(circuit)]
    common = {
        "circuit": describe_circuit(compiled),
        "observables": [str(item.simplify().to_sparse_list()) for item in compiled.isa.observables],
        "options": settings.model_dump(mode="json", exclude=IRRELEVANT, exclude_defaults=True),
    }
    share = JOB_SECONDS + price.learning * (price.repetition_delay + price.circuit_seconds)
    return [
        Unit(
            digest_of({**common, "parameters": _digest(columns[start:stop]), **_repeating(start, price)}),
            start,
            stop,
            share + price.seconds_for(stop - start),
        )
        for start, stop in cuts
    ]


def _repeating(start: int, price: Price) -> dict[str, bool]:
    """Tell a job of nothing but sentinels from the one that measured the same rows at the start."""
    return {"sentinels": True} if start >= price.samples else {}


def describe_circuit(compiled: CompiledCircuit) -> list[list]:
    """Write an ISA circuit down as plain data: name, qubits and parameters of each instruction."""
    circuit = compiled.isa.circuit
    return [
        [item.name, [circuit.find_bit(qubit).index for qubit in item.qubits], [str(p) for p in item.operation.params]]
        for item in circuit.data
    ]


def _digest(table: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(table, dtype="<f8").tobytes()).hexdigest()
