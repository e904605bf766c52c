"""Opening a backend: its target to compile for, its calibration, its noise on any few of its qubits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qiskit.providers import BackendV2
from qiskit.transpiler import Target
from qiskit_aer.noise import NoiseModel

from qkd_qiskit.config import BackendSettings, NoiseSettings, is_snapshot
from qkd_qiskit.execution.compilation import CompiledCircuit, compile_circuit, recompile_on_layout
from qkd_qiskit.execution.fakes import open_fake
from qkd_qiskit.execution.noise import GENERIC_BASIS, NoiseNumbers, device_noise, numbers_noise
from qkd_qiskit.files import digest_of
from qkd_qiskit.quantum.circuit import StudentCircuit


@dataclass(frozen=True)
class Place:
    """A simulator or device that is open.

    Attributes:
        settings: how it was asked for.
        device: name of the device whose target and calibration these are; empty for an ideal simulator.
        target: what circuits are compiled for; `None` if any circuit will do.
        backend: Qiskit's backend, where there is one.
    """

    settings: BackendSettings
    device: str
    target: Target | None
    backend: BackendV2 | None = None

    def noise(self, physical_qubits: Sequence[int], *, times: float = 1.0) -> NoiseModel | None:
        """Make the noise model of some qubits, re-indexed in that order; `None` without noise.

        Args:
            physical_qubits: the device's qubits.
            times: multiplies the settings' `noise_scale`.
        """
        noise, scale = self.settings.noise, times * self.settings.noise_scale
        if isinstance(noise, NoiseSettings):
            return numbers_noise(NoiseNumbers(**noise.model_dump()), scale=scale)
        if self.target is None:
            return None
        return device_noise(self.target, physical_qubits, scale=scale, parts=self.settings.noise_parts)

    def compile(self, logical: StudentCircuit) -> CompiledCircuit:
        """Compile a circuit for this place.

        Raises:
            BackendError: it does not fit.
        """
        return compile_circuit(
            logical,
            self.target,
            device=self.device,
            layouts=self.settings.layouts,
            optimization_level=self.settings.optimization_level,
            seed=self.settings.transpile_seed,
        )

    def adopt(self, trained: CompiledCircuit, logical: StudentCircuit) -> tuple[CompiledCircuit, bool]:
        """Use the circuit that was trained if this device can run it as it is, else compile the logical one.

        Returns:
            The compiled circuit, and whether it had to be compiled anew.
        """
        if self.target is not None and _family(trained.device) == _family(self.device) != "":
            adopted = recompile_on_layout(trained, self.target, self.device)
            if adopted is not None:
                return adopted, False
        if self.target is None and not trained.device:
            return trained, False
        return self.compile(logical), True

    def calibration(self, physical_qubits: Sequence[int]) -> dict[str, Any]:
        """Describe the calibration of some qubits: T1, T2 in seconds, errors, date, and a SHA-256 of all that."""
        if self.target is None or self.target.qubit_properties is None:
            return {"device": self.device, "date": None, "qubits": [], "instructions": [], "sha256": digest_of([])}
        known = self.target.qubit_properties
        qubits = [{"qubit": q, "t1": known[q].t1, "t2": known[q].t2} for q in physical_qubits]
        content = {"qubits": qubits, "instructions": _calibrated_instructions(self.target, set(physical_qubits))}
        return {"device": self.device, "date": self._calibration_date(), **content, "sha256": digest_of(content)}

    def chart(self) -> dict[str, Any] | None:
        """Describe the whole device, for a map: error of each readout and of each coupling; `None` without.

        A coupling has the smaller error of its two directions, and of its gates if there are several.
        """
        target = self.target
        if target is None or target.qubit_properties is None or target.num_qubits is None:
            return None
        readout = target["measure"] if "measure" in target.operation_names else {}
        qubits = [
            {"qubit": qubit, "readout_error": getattr(readout.get((qubit,)), "error", None)}
            for qubit in range(target.num_qubits)
        ]
        return {
            "device": self.device,
            "date": self._calibration_date(),
            "qubits": qubits,
            "couplings": _calibrated_couplings(target),
        }

    def _calibration_date(self) -> str | None:
        properties = getattr(self.backend, "properties", lambda: None)()
        date = getattr(properties, "last_update_date", None)
        return date.isoformat() if date else None


def _calibrated_instructions(target: Target, qubits: set[int]) -> list[dict[str, Any]]:
    return [
        {"name": name, "qubits": list(where), "error": properties.error, "duration": properties.duration}
        for name in sorted(target.operation_names)
        for where, properties in sorted((target[name] or {}).items(), key=lambda entry: entry[0] or ())
        if where is not None and properties is not None and qubits.issuperset(where)
    ]


def _calibrated_couplings(target: Target) -> list[dict[str, Any]]:
    best: dict[tuple[int, int], tuple[float | None, str]] = {}
    for name in sorted(target.operation_names):
        for where, properties in (target[name] or {}).items():
            if where is None or len(where) != 2:
                continue
            pair, error = (min(where), max(where)), getattr(properties, "error", None)
            known = best.get(pair, (None, name))[0]
            if pair not in best or (error is not None and (known is None or error < known)):
                best[pair] = (error, name)
    return [{"qubits": list(pair), "gate": name, "error": error} for pair, (error, name) in sorted(best.items())]


def _family(device: str) -> str:
    """Name a device and its snapshot alike: `fake_brisbane` and `ibm_brisbane` are both `brisbane`."""
    return device.removeprefix("fake_").removeprefix("ibm_")


def open_simulator(settings: BackendSettings, num_qubits: int) -> Place:
    """Open a simulator: `aer` without noise, with a device's noise or with numbers; or a fake device or snapshot.

    Args:
        settings: of kind `aer` or `fake`.
        num_qubits: `Q`, the size of a simulator that has no device behind it.

    Raises:
        ConfigurationError: there is no such fake device.
        DataError: the snapshot is missing, damaged, edited or renamed.
    """
    if isinstance(settings.noise, NoiseSettings):
        generic = Target.from_configuration(basis_gates=list(GENERIC_BASIS), num_qubits=num_qubits)
        return Place(settings, "generic", generic)
    if not settings.source:
        return Place(settings, "", None)
    backend = open_fake(settings.source)
    device = backend.name if is_snapshot(settings.source) else settings.source
    return Place(settings, device, backend.target, backend)
