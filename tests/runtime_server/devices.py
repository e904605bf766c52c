"""Devices that the server offers: a fake device's own files under a device's real name."""

from __future__ import annotations

import functools
import json
import threading
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from qiskit.quantum_info import PTM, Operator, SuperOp
from qiskit.transpiler import Target
from qiskit_aer.noise import NoiseModel
from qiskit_aer.noise.device.models import basic_device_gate_errors
from qiskit_ibm_runtime import fake_provider


def crop_target(target: Target, qubits: tuple[int, ...]) -> Target:
    """Re-index a target onto some of its qubits; what touches any other qubit is left out."""
    position = {qubit: index for index, qubit in enumerate(qubits)}
    cropped = Target(
        num_qubits=len(qubits), dt=target.dt, qubit_properties=[target.qubit_properties[q] for q in qubits]
    )
    for name, properties in target.items():
        kept = {
            tuple(position[q] for q in qargs): value
            for qargs, value in (properties or {}).items()
            if qargs is not None and position.keys() >= set(qargs)
        }
        if kept:
            cropped.add_instruction(target.operation_from_name(name), kept, name=name)
    return cropped


def pauli_matrix(channel: Operator | SuperOp) -> np.ndarray:
    """Return a one-qubit channel as a real 4 x 4 matrix on (1, x, y, z)."""
    return np.real(PTM(channel).data)


class Device:
    """One device: the JSON that the REST API serves, and the noise of the qubits a job uses."""

    def __init__(self, name: str):
        """Load the fake device whose name is what follows the first underscore of ``name``."""
        self.name = name
        self.fake = fake_class(name)()
        folder = Path(self.fake.dirname)
        self.configuration: dict[str, Any] = json.loads((folder / self.fake.conf_filename).read_text())
        self.properties: dict[str, Any] = json.loads((folder / self.fake.props_filename).read_text())
        self.configuration["backend_name"] = self.properties["backend_name"] = name
        self.operational, self.status = True, "active"
        self._lock = threading.Lock()  # several jobs may ask for the same noise at once
        self._noise: dict[tuple[int, ...], NoiseModel] = {}
        self._lone_noise: dict[int, dict[str, np.ndarray]] = {}

    @property
    def num_qubits(self) -> int:
        """Number of qubits of the device."""
        return int(self.configuration["n_qubits"])

    def cropped(self, qubits: tuple[int, ...]) -> Target:
        """Return the device's target re-indexed onto ``qubits``."""
        return crop_target(self.fake.target, qubits)

    def noise(self, qubits: tuple[int, ...]) -> NoiseModel:
        """Return Aer's noise model of ``qubits``, re-indexed: the same numbers as ``NoiseModel.from_backend``."""
        with self._lock:
            if qubits not in self._noise:
                target = self.cropped(qubits)
                backend = SimpleNamespace(
                    version=2, operation_names=list(target.operation_names), target=target, dt=target.dt
                )
                self._noise[qubits] = NoiseModel.from_backend(backend)
            return self._noise[qubits]

    def lone_noise(self, qubit: int) -> dict[str, np.ndarray]:
        """Return the error after each one-qubit gate of a qubit as a matrix on (1, x, y, z)."""
        with self._lock:
            if qubit not in self._lone_noise:
                errors = basic_device_gate_errors(target=self.cropped((qubit,)))
                self._lone_noise[qubit] = {name: pauli_matrix(SuperOp(error)) for name, _, error in errors}
            return self._lone_noise[qubit]

    def listing(self, queue_length: int) -> dict[str, Any]:
        """Return the device's entry in ``GET /backends``."""
        return {
            "name": self.name,
            "status": {"name": "online" if self.operational else "offline", "reason": self.status},
            "queue_length": queue_length,
            "qubits": self.num_qubits,
        }

    def status_body(self, queue_length: int) -> dict[str, Any]:
        """Return the answer to ``GET /backends/NAME/status``."""
        return {
            "state": self.operational,
            "status": self.status,
            "message": "",
            "length_queue": queue_length,
            "backend_version": self.configuration.get("backend_version", "1.0.0"),
        }

    def recalibrate(self, when: datetime, *, factor: float = 1.5) -> None:
        """Publish a new calibration: readout errors times ``factor``, dated ``when``. What jobs see stays as it is."""
        properties = deepcopy(self.properties)
        properties["last_update_date"] = when.isoformat()
        for qubit in properties["qubits"]:
            for entry in qubit:
                if entry["name"] in ("readout_error", "prob_meas0_prep1", "prob_meas1_prep0"):
                    entry["value"] = min(0.5, entry["value"] * factor)
                    entry["date"] = when.isoformat()
        self.properties = properties


@functools.cache
def fake_class(name: str) -> type:
    """Return the fake device's class for a device's name such as ``ibm_brisbane``."""
    stem = "Fake" + name.split("_", 1)[-1].title().replace("_", "")
    for candidate in (stem + "V2", stem):
        if hasattr(fake_provider, candidate):
            return getattr(fake_provider, candidate)
    raise ValueError(f"device must name a fake device of qiskit_ibm_runtime, such as ibm_brisbane, got {name!r}")
