"""The programs a job may run: parameters as the client encodes them in, result text as it decodes it out."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, prod
from typing import Any

import numpy as np
from ibm_quantum_schemas.common import CompressedTensorModel
from qiskit.circuit import ClassicalRegister, QuantumCircuit
from qiskit.primitives.containers import BitArray, DataBin, PrimitiveResult, PubResult, SamplerPubResult
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit_ibm_runtime.fake_provider.executor.broadcast_sample import broadcast_sample
from qiskit_ibm_runtime.json import RuntimeDecoder, RuntimeEncoder
from qiskit_ibm_runtime.quantum_program.params_converters import QUANTUM_PROGRAM_PARAMS_CONVERTERS
from samplomatic.quantum_program import SamplexItem

from .devices import Device
from .simulate import sample

DEFAULT_SHOTS = 4096


@dataclass(frozen=True)
class Answer:
    """What a program hands back."""

    text: str
    executions: int
    """Shots summed over all circuits run, which is what the device's time is counted by."""


Sampler = Callable[[QuantumCircuit, np.ndarray, int, Device, int], dict[str, np.ndarray]]


def all_zeros(
    circuit: QuantumCircuit, values: np.ndarray, shots: int, device: Device, seed: int
) -> dict[str, np.ndarray]:
    """Stand in for ``sample`` where only the bookkeeping is tested: every bit is 0, at no cost."""
    return {reg.name: np.zeros((len(values), shots, len(reg)), dtype=bool) for reg in circuit.cregs}


def check(circuit: QuantumCircuit, values: np.ndarray, device: Device) -> None:
    """Refuse what the service refuses, and what would be nonsense on any device.

    Raises:
        ValueError: If an instruction is not the device's, or a parameter is not finite.
    """
    if not np.isfinite(values).all():
        raise ValueError("parameter values must be finite")
    target = device.fake.target
    for inst in circuit.data:
        qubits = tuple(circuit.find_bit(qubit).index for qubit in inst.qubits)
        if inst.operation.name != "barrier" and not target.instruction_supported(inst.operation.name, qubits):
            raise ValueError(
                f"the instruction {inst.operation.name} on qubits {qubits} is not supported by {device.name}"
            )


def run_executor(params: dict[str, Any], device: Device, seed: int, sampler: Sampler = sample) -> Answer:
    """Run the quantum program that the client-side primitives submit."""
    version = params["schema_version"]
    schema = importlib.import_module("ibm_quantum_schemas.executor.version_" + version[1:].replace(".", "_"))
    converter = QUANTUM_PROGRAM_PARAMS_CONVERTERS[version]
    started = datetime.now(UTC)
    program, _ = converter.decoder(converter.model(**params))
    rng = np.random.default_rng(seed)
    items, executions = [], 0
    for index, item in enumerate(program.items):
        shape, values, extras = item_values(item, rng)
        check(item.circuit, values, device)
        bits = sampler(item.circuit, values, program.shots, device, seed + index)
        tensors = extras | {name: array.reshape(*shape, *array.shape[1:]) for name, array in bits.items()}
        items.append({name: tensor_json(tensor) for name, tensor in tensors.items()})
        executions += prod(shape) * program.shots
    spans = [{"start": started, "stop": datetime.now(UTC), "parts": []}]
    result = schema.QuantumProgramResultModel(
        data=[{"results": tensors, "metadata": {}} for tensors in items],
        metadata={"chunk_timing": spans},
        passthrough_data=params["quantum_program"].get("passthrough_data"),
        semantic_role=params["quantum_program"].get("semantic_role"),
    )
    return Answer(result.model_dump_json(), executions)


def item_values(item: Any, rng: np.random.Generator) -> tuple[tuple[int, ...], np.ndarray, dict[str, np.ndarray]]:
    """Return an item's shape, its circuit's parameters as (N, P), and what else its samplex says."""
    if isinstance(item, SamplexItem):
        item.samplex.finalize()  # a decoded one is not
        extras = broadcast_sample(item.samplex, item.samplex_arguments, item.shape, rng)
        shape, values = tuple(item.shape), extras.pop("parameter_values", None)
    else:
        extras, values = {}, np.asarray(item.circuit_arguments, dtype=float)
        shape = values.shape[:-1]
    width = item.circuit.num_parameters
    values = np.zeros((*shape, width)) if values is None else np.asarray(values, dtype=float)
    return shape, values.reshape(prod(shape), width), extras


def tensor_json(array: np.ndarray) -> dict[str, Any]:
    """Encode an array as the executor's results are encoded."""
    return CompressedTensorModel.from_numpy(np.ascontiguousarray(array)).model_dump()


def run_estimator(params: dict[str, Any], device: Device, seed: int, sampler: Sampler = sample) -> Answer:
    """Run the legacy, server-side Estimator without mitigation."""
    options = params.get("options", {})
    results, executions = [], 0
    for index, (circuit, observables, values, precision) in enumerate(decode(params)["pubs"]):
        pub = EstimatorPub.coerce((circuit, ObservablesArray(observables), np.asarray(values, dtype=float)), precision)
        shots = shots_of(pub.precision, options)
        theta = pub.parameter_values.as_array(circuit.parameters)
        rows = theta.reshape(prod(theta.shape[:-1]), circuit.num_parameters)
        check(circuit, rows, device)
        terms, spent = expectation_of_terms(circuit, pub.observables, rows, shots, device, seed + 1000 * index, sampler)
        executions += spent
        results.append(
            PubResult(
                estimates(pub, theta.shape[:-1], terms, shots), {"shots": shots, "target_precision": pub.precision}
            )
        )
    return Answer(json.dumps(PrimitiveResult(results, {"version": 2}), cls=RuntimeEncoder), executions)


def decode(params: dict[str, Any]) -> dict[str, Any]:
    """Decode the parameters of a legacy primitive."""
    return json.loads(json.dumps(params), cls=RuntimeDecoder)


def shots_of(precision: float | None, options: dict[str, Any]) -> int:
    """Return the shots that a precision stands for; a PUB's own goes before the options' default."""
    if precision is None and options.get("default_shots"):
        return int(options["default_shots"])
    precision = precision or options.get("default_precision") or 0.015625
    return ceil(1 / precision**2)


def expectation_of_terms(
    circuit: QuantumCircuit,
    observables: ObservablesArray,
    rows: np.ndarray,
    shots: int,
    device: Device,
    seed: int,
    sampler: Sampler,
) -> tuple[dict[str, np.ndarray], int]:
    """Measure every Pauli term of the observables at each row of parameters, one circuit per basis."""
    wanted = sorted({term for item in observables.ravel().tolist() for term in item})
    found: dict[str, np.ndarray] = {}
    bases = list(group_by_basis(wanted))
    for number, (basis, terms) in enumerate(bases):
        signs = 1 - 2 * sampler(in_basis(circuit, basis), rows, shots, device, seed + number)["basis"].astype(np.int8)
        for term in terms:
            columns = [column for column, qubit in enumerate(sorted(basis)) if term[::-1][qubit] != "I"]
            found[term] = signs[:, :, columns].prod(axis=2).mean(axis=1)
    return found, len(bases) * len(rows) * shots


def group_by_basis(terms: list[str]) -> Iterator[tuple[dict[int, str], list[str]]]:
    """Put terms that agree on every qubit they share into one basis, first come first served."""
    groups: list[tuple[dict[int, str], list[str]]] = []
    for term in terms:
        needs = {qubit: letter for qubit, letter in enumerate(reversed(term)) if letter != "I"}
        for basis, members in groups:
            if all(basis.get(qubit, letter) == letter for qubit, letter in needs.items()):
                basis.update(needs)
                members.append(term)
                break
        else:
            groups.append((needs, [term]))
    yield from groups


def in_basis(circuit: QuantumCircuit, basis: dict[int, str]) -> QuantumCircuit:
    """Return the circuit with the basis's qubits measured, in ascending order, into a register ``basis``."""
    measured = circuit.copy()
    register = ClassicalRegister(len(basis), "basis")
    measured.add_register(register)
    for bit, qubit in enumerate(sorted(basis)):
        if basis[qubit] in "XY":  # rz and sx are what every device here has
            measured.rz(np.pi / 2 if basis[qubit] == "X" else 0.0, qubit)
            measured.sx(qubit)
            measured.rz(np.pi / 2, qubit)
        measured.measure(qubit, register[bit])
    return measured


def estimates(pub: EstimatorPub, shape: tuple[int, ...], terms: dict[str, np.ndarray], shots: int) -> DataBin:
    """Combine the terms into one value for each pair of parameters and observable, broadcast as the PUB is."""
    index = np.broadcast_to(np.arange(prod(shape)).reshape(shape), pub.shape)
    observables = np.broadcast_to(np.asarray(pub.observables), pub.shape)
    values, errors = np.zeros(pub.shape), np.zeros(pub.shape)
    for place in np.ndindex(*pub.shape):
        parts = [(weight, terms[term][index[place]]) for term, weight in observables[place].items()]
        values[place] = sum(weight * value for weight, value in parts)
        errors[place] = np.sqrt(sum(weight**2 * (1 - value**2) / shots for weight, value in parts))
    return DataBin(evs=values, stds=errors, ensemble_standard_error=errors, shape=pub.shape)


def run_sampler(params: dict[str, Any], device: Device, seed: int, sampler: Sampler = sample) -> Answer:
    """Run the legacy, server-side Sampler."""
    options, results, executions = params.get("options", {}), [], 0
    for index, pub_like in enumerate(decode(params)["pubs"]):
        circuit, values, shots = (*pub_like, None, None)[:3]
        pub = SamplerPub.coerce((circuit, values, shots or options.get("default_shots") or DEFAULT_SHOTS))
        theta = pub.parameter_values.as_array(circuit.parameters)
        shape = theta.shape[:-1]
        rows = theta.reshape(prod(shape), circuit.num_parameters)
        check(circuit, rows, device)
        bits = sampler(circuit, rows, pub.shots, device, seed + index)
        fields = {
            name: BitArray.from_bool_array(array.reshape(*shape, *array.shape[1:]), order="little")
            for name, array in bits.items()
        }
        results.append(SamplerPubResult(DataBin(**fields, shape=shape), {}))
        executions += prod(shape) * pub.shots
    return Answer(json.dumps(PrimitiveResult(results, {"version": 2}), cls=RuntimeEncoder), executions)


PROGRAMS: dict[str, Callable[..., Answer]] = {
    "executor": run_executor,
    "estimator": run_estimator,
    "sampler": run_sampler,
}
