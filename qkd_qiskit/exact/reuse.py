"""Plans that were made before: whoever builds the same noiseless circuit again gets its analysis for nothing.

A study builds the same student for every seed, and again for every evaluation; at 8 qubits an analysis takes a second.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import Any

from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.circuit.parametervector import ParameterVectorElement
from qiskit.quantum_info import SparsePauliOp

from qkd_qiskit.exact.compiled import has_kernel
from qkd_qiskit.exact.evaluation import Evaluation

_KEPT = 32
_plans: OrderedDict[Hashable, Evaluation] = OrderedDict()
_lock = Lock()


def plan_once(
    circuit: QuantumCircuit,
    observables: Sequence[Any],
    inputs: Sequence[Parameter],
    weights: Sequence[Parameter],
    noise_model: Any | None,
    *more: Any,
) -> Evaluation:
    """Return the plan of a circuit, made now or before.

    Args:
        circuit: as for `Evaluation`, like everything else.
        observables: see there.
        inputs: see there.
        weights: see there.
        noise_model: with one the plan is always made anew.
        *more: see there; part of the key as text.
    """

    def make() -> Evaluation:
        return Evaluation(circuit, observables, inputs, weights, noise_model, *more)

    key = None if noise_model is not None else describe(circuit, observables, inputs, weights)
    return make() if key is None else _remember((key, *map(str, more), has_kernel()), make)


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
        angles: list[tuple[str, float]] = []
        for angle in item.operation.params:
            if type(angle) in (Parameter, ParameterVectorElement) and angle in places:
                angles.append(("parameter", places[angle]))
            elif type(angle) in (int, float):
                angles.append(("number", float(angle)))
            else:
                return None
        kind = item.operation.base_class
        known = kind.__module__.startswith("qiskit.circuit.library.standard_gates") or item.operation.name == "barrier"
        if not known or getattr(item.operation, "ctrl_state", None) not in (None, 2 ** len(item.qubits[:-1]) - 1):
            return None
        gates.append((kind.__qualname__, *(wires[qubit] for qubit in item.qubits), *angles))
    terms = tuple((tuple(item.paulis.to_labels()), tuple(item.coeffs.tolist())) for item in observables)
    return circuit.num_qubits, len(inputs), len(weights), tuple(gates), terms
