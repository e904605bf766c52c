"""A student's evaluation on a simulator: its circuit there, what is measured, and a head fitted anew to that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from qkd_qiskit.classical.images import Dataset
from qkd_qiskit.config import BackendSettings
from qkd_qiskit.execution.aer import evaluate_on_aer
from qkd_qiskit.execution.compilation import CompiledCircuit
from qkd_qiskit.execution.devices import Place, open_simulator
from qkd_qiskit.execution.simulated_mitigation import evaluate_mitigated, is_mitigated
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.outcomes import Measured
from qkd_qiskit.pipeline.placing import PlacedStudent
from qkd_qiskit.pipeline.recalibrating import recalibrate


def open_for(settings: BackendSettings, placed: PlacedStudent, listener: Listener) -> tuple[Place, CompiledCircuit]:
    """Open a simulator and take the student's circuit there, compiled anew only if it has to be."""
    place = open_simulator(settings, placed.logical.circuit.num_qubits)
    compiled, anew = place.adopt(placed.compiled, placed.logical)
    trained_for = placed.compiled.device or "an ideal simulator"
    if anew and place.target is not None:
        listener.say(
            f"the student was trained for {trained_for}: its logical circuit was compiled anew for {place.device}"
        )
    return place, compiled


def measure_on_simulator(
    place: Place, compiled: CompiledCircuit, parameter_values: np.ndarray, seed: int, listener: Listener
) -> Measured:
    """Run on Aer, with the place's noise and mitigation, exactly or counting."""
    settings = place.settings
    how: dict[str, Any] = {
        "noise_model": place.noise(compiled.physical_qubits),
        "shots": settings.shots or None,
        "seed": seed,
        "report": lambda done, total: listener.progress(f"evaluating on {settings.name}", done, total),
    }
    if is_mitigated(settings):
        mitigated = evaluate_mitigated(compiled.cropped, parameter_values, settings.mitigation, **how)
        facts = {"mitigation": {"readout": bool(settings.mitigation.readout), "zne_factors": list(mitigated.factors)}}
        return Measured(mitigated.values, mitigated.errors, facts=facts, executions=mitigated.executions)
    return Measured(*evaluate_on_aer(compiled.cropped, parameter_values, **how))


def fit_head(
    placed: PlacedStudent,
    dataset: Dataset | None,
    place: Place,
    compiled: CompiledCircuit,
    measured: Measured,
    listener: Listener,
) -> tuple[nn.Module | None, Measured]:
    """Fit the head anew if it is asked for; what that takes is added to what was measured."""
    count = place.settings.recalibrate
    if not count or dataset is None:
        return None, measured
    spent = []

    def measure(parameter_values: np.ndarray, seed: int) -> np.ndarray:
        found = measure_on_simulator(place, compiled, parameter_values, seed, listener)
        spent.append(_executions(found, place))
        return found.values

    head = recalibrate(placed, dataset, count, measure)
    facts = {**measured.facts, "recalibrated": {"images": count, "executions": sum(spent)}}
    return head, replace(measured, executions=_executions(measured, place) + sum(spent), facts=facts)


def _executions(measured: Measured, place: Place) -> int:
    return measured.executions or len(measured.values) * (place.settings.shots or 1)
