"""The real client on the local server, and something small to run on it; the fixtures of this package's tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import QiskitRuntimeService
from qiskit_ibm_runtime.executor_estimator import Estimator
from urllib3.util.retry import Retry

from .server import RuntimeServer

OBSERVABLES = ("IZ", "ZI", "ZZ")
ANGLES = np.linspace(0, 3, 5)[:, None]


@dataclass
class Client:
    """A program's side of the conversation: the service, its device and something to run."""

    service: QiskitRuntimeService
    backend: Any
    circuit: QuantumCircuit
    observables: list[list[SparsePauliOp]]

    def submit(self, *, mode: Any = None, shots: int = 256, **options: Any) -> Any:
        """Submit the circuit at all angles with the client-side Estimator."""
        known = {"default_shots": shots, "resilience_level": 0} | options
        estimator = Estimator(mode=mode or self.backend, options=known)
        return estimator.run([(self.circuit, self.observables, ANGLES)])

    def run(self, **options: Any) -> np.ndarray:
        """Submit, wait, and return the values (O, N)."""
        return values(self.submit(**options))


def values(job: Any) -> np.ndarray:
    """Wait for a job and return its first PUB's values."""
    return job.result(poll_interval=0.1)[0].data.evs


def small_circuit(backend: Any, labels: tuple[str, ...] = OBSERVABLES) -> tuple[QuantumCircuit, list[Any]]:
    """Return a transpiled two-qubit circuit with one parameter, and its observables."""
    (angle,) = ParameterVector("angle", 1)
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.ry(angle, 0)
    circuit.cx(0, 1)
    isa = generate_preset_pass_manager(1, backend=backend, seed_transpiler=1).run(circuit)
    return isa, [[SparsePauliOp(label).apply_layout(isa.layout)] for label in labels]


def connect(server: RuntimeServer, monkeypatch: pytest.MonkeyPatch, mode: str = "direct") -> Client:
    """Build the real client on the server."""
    for name in ("QISKIT_FUNCTIONS_EXPERIMENTAL", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment(mode).items():
        monkeypatch.setenv(name, value)
    service = QiskitRuntimeService()
    backend = service.backend(next(iter(server.service.devices)))
    return Client(service, backend, *small_circuit(backend))


@pytest.fixture
def server() -> Iterator[RuntimeServer]:
    """A server with one small device."""
    with RuntimeServer(["ibm_manila"]) as running:
        yield running


@pytest.fixture
def client(server: RuntimeServer, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The real client on that server; only the pauses between its own retries are left out."""
    monkeypatch.setattr(Retry, "_sleep_backoff", lambda self: None)  # the client's own retries, at once
    return connect(server, monkeypatch)
