"""Plans that were made before: whoever builds the same noiseless circuit again gets its analysis for nothing.

A study builds the same student for every seed, and again for every evaluation; at 8 qubits an analysis takes a second.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import Any

import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Barrier, ControlledGate, Operation, Parameter
from qiskit.circuit.parametervector import ParameterVectorElement
from qiskit.quantum_info import SparsePauliOp

from qkd_qiskit.exact.compiled import has_kernel
from qkd_qiskit.exact.evaluation import Evaluation

STANDARD = "qiskit.circuit.library.standard_gates"
_KEPT = 32
_plans: OrderedDict[Hashable, Evaluation] = OrderedDict()
_lock = Lock()


def plan_once(
    circuit: QuantumCircuit,
    observables: Sequence[Any],
    inputs: Sequence[Parameter],
    weights: Sequence[Parameter],
    noise_model: Any | None,
    device: torch.device,
    readout: bool,
    amplitudes: bool,
) -> Evaluation:
    """Return the plan of a circuit, made now or before.

    Args:
        circuit: as for `Evaluation`, like everything else.
        observables: see there.
        inputs: see there.
        weights: see there.
        noise_model: with one the plan is always made anew.
        device: only plans for the CPU are kept.
        readout: see there.
        amplitudes: see there.
    """

    def make() -> Evaluation:
        return Evaluation(circuit, observables, inputs, weights, noise_model, device, readout, amplitudes)

    if noise_model is not None or device.type != "cpu":
        return make()
    key = describe(circuit, observables, inputs, weights)
    return make() if key is None else _remember((key, readout, amplitudes, has_kernel()), make)


def _remember(key: Hashable, make: Callable[[], Evaluation]) -> Evaluation:
    with _lock:
        found = _plans.get(key)
        if found is not None:
            _plans.move_to_end(key)
            return found
    found = make()
    with _lock:
        _plans[key] = found
        while len(_plans) > _KEPT:
            _plans.popitem(last=False)
    return found


def describe(
    circuit: QuantumCircuit, observables: Sequence[Any], inputs: Sequence[Parameter], weights: Sequence[Parameter]
) -> Hashable | None:
    """Return all that a noiseless plan depends on; `None` for a circuit of which names and numbers don't say it.

    Parameters stand by their place among inputs and weights: another circuit of the same form has the same plan. Told
    apart by name and angles alone are only Qiskit's standard gates whose angles are numbers or bare parameters.
    """
    if not all(isinstance(item, SparsePauliOp) and not item.parameters for item in observables):
        return None
    places = {parameter: place for place, parameter in enumerate([*inputs, *weights])}
    wires = {qubit: place for place, qubit in enumerate(circuit.qubits)}
    gates = []
    for item in circuit.data:
        gate = _describe_gate(item.operation, places)
        if gate is None:
            return None
        gates.append((gate, tuple(wires[qubit] for qubit in item.qubits)))
    terms = tuple((tuple(item.paulis.to_labels()), tuple(item.coeffs.tolist())) for item in observables)
    return circuit.num_qubits, len(inputs), len(weights), tuple(gates), terms


def _describe_gate(operation: Operation, places: dict[Parameter, int]) -> Hashable | None:
    """Return kind and angles of a standard gate, `None` for anything else."""
    kind = operation.base_class
    if not kind.__module__.startswith(STANDARD) and kind is not Barrier:
        return None
    if isinstance(operation, ControlledGate) and operation.ctrl_state != 2**operation.num_ctrl_qubits - 1:
        return None
    angles: list[tuple[str, float]] = []
    for angle in operation.params:
        if type(angle) in (Parameter, ParameterVectorElement) and angle in places:
            angles.append(("parameter", places[angle]))
        elif type(angle) in (int, float):
            angles.append(("number", float(angle)))
        else:
            return None
    return kind.__qualname__, tuple(angles)
