"""Compile once: a logical circuit to the ISA circuit of a device, cropped to the qubits in use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import PauliList, SparsePauliOp, Statevector
from qiskit.transpiler import Target
from qiskit.transpiler.exceptions import TranspilerError
from qiskit.transpiler.preset_passmanagers import generate_preset_pass_manager

from qkd_qiskit.exceptions import BackendError
from qkd_qiskit.files import digest_of
from qkd_qiskit.quantum.circuit import StudentCircuit
from qkd_qiskit.quantum.observables import diagonal


@dataclass(frozen=True)
class IsaMetrics:
    """What the compiled circuit costs.

    Attributes:
        depth: layers of instructions.
        two_qubit_gates: number of two-qubit gates.
        two_qubit_depth: layers of two-qubit gates.
        estimated_success: product over gates and readouts of one minus the calibrated error; 1 without calibration.
    """

    depth: int
    two_qubit_gates: int
    two_qubit_depth: int
    estimated_success: float


@dataclass(frozen=True)
class CompiledCircuit:
    """An ISA circuit in two forms that give the same numbers.

    Attributes:
        device: name of the device it was compiled for; empty for an ideal simulator.
        isa: the student's circuit on all of the device's qubits, as a device wants it.
        cropped: the same on the qubits in use only, re-indexed, as a simulator wants it.
        physical_qubits: the device's number of each qubit of `cropped`.
        measured_qubits: the device's number of logical qubit 0, 1, ..., `Q - 1`.
        metrics: what it costs.
    """

    device: str
    isa: StudentCircuit
    cropped: StudentCircuit
    physical_qubits: tuple[int, ...]
    measured_qubits: tuple[int, ...]
    metrics: IsaMetrics

    def describe(self) -> dict:
        """Return device, layout and metrics as plain data."""
        return {
            "device": self.device,
            "physical_qubits": list(self.physical_qubits),
            "measured_qubits": list(self.measured_qubits),
            **asdict(self.metrics),
        }


def compile_circuit(
    logical: StudentCircuit,
    target: Target | None,
    *,
    device: str = "",
    layouts: int = 16,
    optimization_level: int = 3,
    seed: int = 0,
) -> CompiledCircuit:
    """Transpile for a target with several seeds and keep the one with the highest estimated success.

    Args:
        logical: the student's circuit.
        target: the device; `None` leaves the circuit as it is.
        device: the device's name, kept in the result.
        layouts: how many transpiler seeds are tried, `seed, seed + 1, ...`.
        optimization_level: Qiskit's, 0 to 3.
        seed: the first transpiler seed.

    Raises:
        BackendError: the device has too few qubits, or the transpiler dropped a parameter.
    """
    if target is None:
        trivial = tuple(range(logical.circuit.num_qubits))
        return lay_out(logical, trivial, device, _measure_isa(logical.circuit, trivial, None))
    if target.num_qubits is not None and target.num_qubits < logical.circuit.num_qubits:
        raise BackendError(
            f"the student has {logical.circuit.num_qubits} qubits and {device or 'the device'} only "
            f"{target.num_qubits}; give fewer --qubits or another --backend"
        )
    seeds = range(seed, seed + max(1, layouts))
    candidates = _transpile_each(logical.circuit, target, optimization_level, seeds, device)
    best = max(candidates, key=lambda isa: (estimate_success(isa, _final_layout(isa), target), -isa.depth()))
    if set(best.parameters) != set(logical.parameters):
        lost = sorted(parameter.name for parameter in set(logical.parameters) - set(best.parameters))
        raise BackendError(f"the transpiler dropped parameters {lost}; give a lower backend.optimization_level")
    measured = _final_layout(best)
    compiled = lay_out(replace(logical, circuit=best), measured, device, _measure_isa(best, measured, target))
    check_equivalence(logical, compiled, seed=seed)
    return compiled


def check_equivalence(logical: StudentCircuit, compiled: CompiledCircuit, *, trials: int = 3, seed: int = 0) -> float:
    """Compare ideal expectation values of the logical and the compiled circuit at random parameters.

    Returns:
        The largest difference.

    Raises:
        BackendError: it is above 1e-9, so layout or observables are wrong.
    """
    table = np.random.default_rng(seed).uniform(-np.pi, np.pi, (trials, len(logical.parameters)))
    wanted, found = (_ideal_values(circuit, table) for circuit in (logical, compiled.cropped))
    difference = float(np.abs(wanted - found).max())
    if not difference < 1e-9:
        raise BackendError(
            f"the circuit compiled for {compiled.device} differs from the logical one by {difference:.1e} in an "
            "expectation value; refusing to use it. Give a lower backend.optimization_level and report this"
        )
    return difference


def _ideal_values(circuit: StudentCircuit, table: np.ndarray) -> np.ndarray:
    diagonals = np.stack([diagonal(observable) for observable in circuit.observables], axis=1)
    states = [Statevector(circuit.circuit.assign_parameters(dict(zip(circuit.parameters, row)))) for row in table]
    return np.array([state.probabilities() for state in states]) @ diagonals


def recompile_on_layout(compiled: CompiledCircuit, target: Target, device: str) -> CompiledCircuit | None:
    """Take the ISA circuit as it is to another target, or return `None` if that target lacks one of its gates.

    A device and its own snapshot share gates and coupling, so the circuit that was trained is the circuit that runs.
    """
    isa = compiled.isa.circuit
    if target.num_qubits != isa.num_qubits:
        return None
    for instruction in isa.data:
        qubits = tuple(isa.find_bit(qubit).index for qubit in instruction.qubits)
        if not target.instruction_supported(instruction.name, qubits):
            return None
    metrics = _measure_isa(isa, compiled.measured_qubits, target)
    return CompiledCircuit(
        device, compiled.isa, compiled.cropped, compiled.physical_qubits, compiled.measured_qubits, metrics
    )


def digest_circuit(circuit: StudentCircuit) -> str:
    """Return the SHA-256 of gates, angles by name, qubits and observables: equal for circuits built alike."""
    body = circuit.circuit
    gates = [
        [item.name, [str(angle) for angle in item.params], [body.find_bit(qubit).index for qubit in item.qubits]]
        for item in body.data
    ]
    return digest_of({"gates": gates, "observables": [_sparse_text(item) for item in circuit.observables]})


def _sparse_text(observable: SparsePauliOp) -> list[str]:
    return [f"{label} {qubits} {coefficient}" for label, qubits, coefficient in observable.to_sparse_list()]


def estimate_success(isa: QuantumCircuit, measured: Sequence[int], target: Target | None) -> float:
    """Multiply `1 - error` over all gates and the readout of `measured`; instructions without calibration count as 1.

    Args:
        isa: a circuit on physical qubits.
        measured: physical qubits that are read out.
        target: the calibration; `None` gives 1.
    """
    if target is None:
        return 1.0
    logarithm = 0.0
    steps = [(item.name, tuple(isa.find_bit(qubit).index for qubit in item.qubits)) for item in isa.data]
    for name, qubits in [*steps, *[("measure", (qubit,)) for qubit in measured]]:
        calibrated = target[name] if name in target.operation_names else None
        properties = calibrated.get(qubits) if calibrated else None
        error = getattr(properties, "error", None) or 0.0
        logarithm += np.log1p(-min(error, 1 - 1e-9))
    return float(np.exp(logarithm))


def _transpile_each(
    circuit: QuantumCircuit, target: Target, level: int, seeds: Iterable[int], device: str
) -> list[QuantumCircuit]:
    """Transpile with each seed; a seed that fails is left out as long as another one doesn't."""
    found, failure = [], None
    for seed in seeds:
        try:
            passes = generate_preset_pass_manager(optimization_level=level, target=target, seed_transpiler=seed)
            found.append(passes.run(circuit))
        except TranspilerError as error:
            failure = error
    if not found:
        raise BackendError(f"Qiskit can't transpile the circuit for {device}: {failure}; give another --backend")
    return found


def _final_layout(isa: QuantumCircuit) -> tuple[int, ...]:
    if isa.layout is None:  # a target without coupling map leaves the qubits where they are
        return tuple(range(isa.num_qubits))
    return tuple(isa.layout.final_index_layout())


def lay_out(isa: StudentCircuit, measured: Sequence[int], device: str, metrics: IsaMetrics) -> CompiledCircuit:
    """Put the logical observables onto a compiled circuit and crop it to the qubits in use.

    Args:
        isa: the compiled circuit, still with the logical observables on `Q` qubits.
        measured: physical qubit of each logical one.
        device: name of the device.
        metrics: what the circuit costs.
    """
    circuit = isa.circuit
    used = sorted({circuit.find_bit(qubit).index for item in circuit.data for qubit in item.qubits} | set(measured))
    narrow = [used.index(qubit) for qubit in measured]
    observables = isa.observables
    return CompiledCircuit(
        device=device,
        isa=replace(isa, observables=tuple(_place(item, measured, circuit.num_qubits) for item in observables)),
        cropped=replace(
            isa,
            circuit=_crop(circuit, used),
            observables=tuple(_place(item, narrow, len(used)) for item in observables),
        ),
        physical_qubits=tuple(used),
        measured_qubits=tuple(measured),
        metrics=metrics,
    )


def _place(observable: SparsePauliOp, qubits: Sequence[int], num_qubits: int) -> SparsePauliOp:
    """Put an observable of `Q` qubits onto `qubits` of a register of `num_qubits`."""
    wide = np.zeros((2, len(observable), num_qubits), dtype=bool)
    wide[:, :, list(qubits)] = observable.paulis.z, observable.paulis.x
    return SparsePauliOp(PauliList.from_symplectic(*wide), observable.coeffs)


def _crop(isa: QuantumCircuit, used: Sequence[int]) -> QuantumCircuit:
    """Re-index a circuit onto the qubits in use."""
    place = {isa.qubits[qubit]: index for index, qubit in enumerate(used)}
    cropped = QuantumCircuit(len(used), global_phase=isa.global_phase)
    for item in isa.data:
        cropped.append(item.operation, [place[qubit] for qubit in item.qubits])
    return cropped


def _measure_isa(isa: QuantumCircuit, measured: Sequence[int], target: Target | None) -> IsaMetrics:
    return IsaMetrics(
        depth=isa.depth(),
        two_qubit_gates=isa.num_nonlocal_gates(),
        two_qubit_depth=isa.depth(lambda item: len(item.qubits) > 1),
        estimated_success=estimate_success(isa, measured, target),
    )
