"""Compilation: the ISA circuit, its cropped form and the logical circuit are one and the same function."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import Target
from qiskit_ibm_runtime.fake_provider import FakeLagosV2, FakeManilaV2

from qkd_qiskit.exceptions import BackendError
from qkd_qiskit.execution.compilation import CompiledCircuit, check_equivalence, compile_circuit, estimate_success
from qkd_qiskit.execution.fakes import open_fake
from qkd_qiskit.quantum.circuit import StudentCircuit
from qkd_qiskit.quantum.student import StudentBlueprint


def student_circuit(num_qubits: int = 3, **choices: object) -> StudentCircuit:
    return StudentBlueprint(image_shape=(1, 28, 28), num_classes=4, num_qubits=num_qubits, **choices).build_circuit()  # type: ignore[arg-type]


def expectation_values(circuit: StudentCircuit, rows: np.ndarray) -> np.ndarray:
    columns = circuit.columns_of(circuit.circuit)
    pub = (circuit.circuit, [[observable] for observable in circuit.observables], rows[:, columns])
    return StatevectorEstimator().run([pub]).result()[0].data.evs.T


@pytest.mark.parametrize("encoding", ["amplitude", "angle"])
@pytest.mark.parametrize("device", [FakeManilaV2, FakeLagosV2])
def test_isa_and_cropped_circuits_equal_the_logical_one(device: type, encoding: str) -> None:
    logical = student_circuit(encoding=encoding)
    compiled = compile_circuit(logical, device().target, device="fake", layouts=3)
    rows = np.random.default_rng(0).uniform(-3, 3, (3, len(logical.parameters)))
    wanted = expectation_values(logical, rows)
    for circuit in (compiled.isa, compiled.cropped):
        np.testing.assert_allclose(expectation_values(circuit, rows), wanted, atol=1e-9)


def test_observables_are_placed_as_qiskit_places_them() -> None:
    logical = student_circuit()
    compiled = compile_circuit(logical, FakeLagosV2().target, layouts=1)
    layout = list(compiled.measured_qubits)
    for observable, placed in zip(logical.observables, compiled.isa.observables):
        assert observable.apply_layout(layout, num_qubits=7).to_list() == placed.to_list()


def test_a_127_qubit_device_is_cropped_to_the_qubits_in_use() -> None:
    compiled = compile_circuit(student_circuit(4), open_fake("fake_brisbane").target, device="fake_brisbane", layouts=2)
    assert compiled.isa.circuit.num_qubits == 127
    assert compiled.cropped.circuit.num_qubits == len(compiled.physical_qubits) <= 8
    assert set(compiled.measured_qubits) <= set(compiled.physical_qubits)


def test_the_seed_decides_the_circuit() -> None:
    logical = student_circuit()
    first, again = (compile_circuit(logical, FakeLagosV2().target, layouts=2, seed=5) for _ in range(2))
    assert first.isa.circuit == again.isa.circuit
    assert first.measured_qubits == again.measured_qubits


def test_the_most_successful_layout_is_chosen() -> None:
    target = FakeLagosV2().target
    single = [compile_circuit(student_circuit(), target, layouts=1, seed=seed) for seed in range(4)]
    chosen = compile_circuit(student_circuit(), target, layouts=4, seed=0)
    assert chosen.metrics.estimated_success == max(item.metrics.estimated_success for item in single)


def test_success_is_the_product_of_fidelities() -> None:
    target = FakeManilaV2().target
    circuit = QuantumCircuit(5)
    circuit.cx(0, 1)
    circuit.sx(1)
    errors = [target["cx"][0, 1].error, target["sx"][(1,)].error, target["measure"][(1,)].error]
    assert estimate_success(circuit, [1], target) == pytest.approx(np.prod([1 - error for error in errors]))


def test_too_small_a_device_is_refused() -> None:
    with pytest.raises(BackendError, match=r"6 qubits and fake_manila only 5"):
        compile_circuit(student_circuit(6), FakeManilaV2().target, device="fake_manila")


def test_a_wrong_layout_is_found() -> None:
    logical = student_circuit()
    good = compile_circuit(logical, FakeManilaV2().target, layouts=1)
    turned = tuple(SparsePauliOp(item.paulis[0].to_label()[::-1]) for item in good.cropped.observables)
    broken = StudentCircuit(good.cropped.circuit, good.cropped.input_params, good.cropped.weight_params, turned)
    wrong = CompiledCircuit("x", good.isa, broken, good.physical_qubits, good.measured_qubits, good.metrics)
    with pytest.raises(BackendError, match="refusing to use it"):
        check_equivalence(logical, wrong)
    assert check_equivalence(logical, good) < 1e-9


def test_without_a_target_the_circuit_stays() -> None:
    logical = student_circuit()
    compiled = compile_circuit(logical, None)
    assert compiled.isa.circuit is logical.circuit
    assert compiled.metrics.estimated_success == 1


def test_a_target_without_calibration_counts_as_perfect() -> None:
    compiled = compile_circuit(student_circuit(), Target.from_configuration(["rz", "sx", "x", "cx"], num_qubits=3))
    assert compiled.metrics.estimated_success == 1
    assert set(compiled.isa.circuit.count_ops()) <= {"rz", "sx", "x", "cx"}
