"""Values against Aer's density matrices and Qiskit's state vectors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter
from qiskit.circuit.library import (
    CXGate,
    Initialize,
    QFTGate,
    UnitaryGate,
    XGate,
    get_standard_gate_name_mapping,
)
from qiskit.quantum_info import DensityMatrix, Operator, SparsePauliOp, Statevector, SuperOp, random_unitary
from qiskit_aer.noise import NoiseModel, depolarizing_error, pauli_error

from qkd_qiskit.exact import ExactExpectation
from qkd_qiskit.exceptions import ConfigurationError
from tests.exact.reference import (
    ERRORS,
    FAKE_DEVICES,
    STANDARD_GATES,
    aer_values,
    amplitude_student,
    append_ansatz,
    bind,
    circuits,
    depolarizing_model,
    device,
    device_circuit,
    mixed_model,
    random_observables,
    state_values,
    student,
    z_observables,
)

NOTHING = (np.zeros((1, 0)), np.zeros(0))


def difference(circuit, inputs, weights, noise_model, rng, rows=2):
    """Largest difference to the reference for random parameters and observables."""
    observables = random_observables(circuit.num_qubits, rng)
    exact = ExactExpectation(circuit, observables, inputs, weights, noise_model=noise_model)
    x, w = rng.normal(size=(rows, len(inputs))), rng.normal(size=len(weights))
    full = np.hstack([x, np.tile(w, (rows, 1))])
    if noise_model is None:
        wanted = state_values(circuit, observables, inputs + weights, full)
    else:
        wanted = aer_values(circuit, observables, inputs + weights, full, noise_model)
    return np.abs(exact.values(x, w) - wanted).max()


@settings(max_examples=60, deadline=None)
@given(circuits(in_aer=False), st.integers(0, 2**32 - 1))
def test_any_circuit_without_noise(drawn, seed):
    assert difference(*drawn, None, np.random.default_rng(seed)) < 1e-10


@settings(max_examples=60, deadline=None)
@given(circuits(in_aer=True), st.integers(0, 2**32 - 1))
def test_any_circuit_under_every_kind_of_error(drawn, seed):
    assert difference(*drawn, mixed_model(), np.random.default_rng(seed)) < 1e-10


@pytest.mark.parametrize("name", FAKE_DEVICES)
def test_fake_devices(name):
    circuit, inputs, weights = device_circuit(name)
    model = device(name)[1]
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=(2, len(inputs))), rng.normal(size=len(weights))
    observables = [item.apply_layout(circuit.layout) for item in [*z_observables(3), SparsePauliOp("XYZ")]]
    exact = ExactExpectation(circuit, observables, inputs, weights, noise_model=model, readout=False)
    wanted = aer_values(circuit, observables, inputs + weights, np.hstack([x, [w, w]]), model)
    np.testing.assert_allclose(exact.values(x, w), wanted, atol=1e-10)


@settings(max_examples=5, deadline=None)
@given(circuits(in_aer=True, min_qubits=5, max_qubits=5), st.integers(0, 2**32 - 1))
def test_any_circuit_of_five_qubits(drawn, seed):
    assert difference(*drawn, mixed_model(), np.random.default_rng(seed), rows=1) < 1e-10


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(FAKE_DEVICES), circuits(in_aer=False, max_qubits=3), st.integers(0, 2**32 - 1))
def test_any_circuit_compiled_for_a_fake_device(name, drawn, seed):
    circuit, inputs, weights = drawn
    backend, model = device(name)
    rng = np.random.default_rng(seed)
    isa = transpile(circuit, backend, optimization_level=1, seed_transpiler=1)
    observables = [item.apply_layout(isa.layout) for item in random_observables(circuit.num_qubits, rng)]
    exact = ExactExpectation(isa, observables, inputs, weights, noise_model=model, readout=False)
    values = rng.normal(size=(1, 6))
    wanted = aer_values(isa, observables, inputs + weights, values, model)
    np.testing.assert_allclose(exact.values(values[:, :3], values[0, 3:]), wanted, atol=1e-10)


def surrounded(gate):
    """A gate, its parameters free, between turns of every qubit; returns circuit, parameters."""
    circuit = QuantumCircuit(max(2, gate.num_qubits))
    for qubit in range(circuit.num_qubits):
        circuit.ry(0.4 + 0.3 * qubit, qubit)
        circuit.rz(0.7 - 0.2 * qubit, qubit)
    circuit.append(gate, range(gate.num_qubits))
    for qubit in range(circuit.num_qubits):
        circuit.rx(0.9 - 0.1 * qubit, qubit)
    return circuit, [param for param in gate.params if isinstance(param, Parameter)]


@pytest.mark.parametrize("name", STANDARD_GATES)
@pytest.mark.parametrize("noisy", [False, True])
def test_every_standard_gate(name, noisy):
    gate = get_standard_gate_name_mapping()[name]
    circuit, params = surrounded(gate)
    model = NoiseModel()
    error = pauli_error([(letter * gate.num_qubits, share) for letter, share in (("I", 0.8), ("X", 0.15), ("Z", 0.05))])
    if noisy:  # Aer looks a gate up by its label, if it has one
        model.add_all_qubit_quantum_error(error, [gate.label or name])
    rng = np.random.default_rng(len(name))
    values, observables = rng.normal(size=len(params)), random_observables(circuit.num_qubits, rng)
    exact = ExactExpectation(circuit, observables, params, [], noise_model=model)
    state = DensityMatrix.from_label("0" * circuit.num_qubits)
    for item in bind(circuit, params, values).data:
        qubits = [circuit.find_bit(bit).index for bit in item.qubits]
        state = state.evolve(item.operation, qubits)
        if noisy and item.operation.name == gate.name:
            state = state.evolve(SuperOp(error), qubits)
    wanted = [state.expectation_value(observable).real for observable in observables]
    np.testing.assert_allclose(exact.values(values[None], np.zeros(0))[0], wanted, atol=1e-10)


@pytest.mark.parametrize("num_qubits", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_of_aer(kind, num_qubits):
    model = NoiseModel()
    model.add_all_qubit_quantum_error(ERRORS[kind](), ["ry", "sx"])
    model.add_quantum_error(ERRORS[kind]().tensor(ERRORS[kind]()), ["cx"], [1, 0])
    circuit, inputs, weights = student(num_qubits, 1)
    circuit.sx(0)
    circuit.cx(1, 0)
    circuit.reset(1)
    assert difference(circuit, inputs, weights, model, np.random.default_rng(num_qubits), rows=1) < 1e-10


@pytest.mark.parametrize(("num_qubits", "noisy"), [(2, True), (3, True), (5, True), (5, False), (9, False)])
def test_layered_student(num_qubits, noisy):
    circuit, inputs, weights = student(num_qubits, 2)
    model = depolarizing_model() if noisy else None
    assert difference(circuit, inputs, weights, model, np.random.default_rng(1)) < 1e-10


@pytest.mark.parametrize("noisy", [True, False])
def test_amplitude_student(noisy):
    circuit, inputs, weights = amplitude_student(4, 1)
    model = depolarizing_model() if noisy else None
    assert difference(circuit, inputs, weights, model, np.random.default_rng(2)) < 1e-10


def test_six_noisy_qubits_use_constant_stretches_and_permutations():
    circuit, inputs, weights = student(6, 1)
    circuit.cx(5, 0)
    assert difference(circuit, inputs, weights, depolarizing_model(), np.random.default_rng(4), rows=1) < 1e-10


def test_a_state_in_closed_form():
    theta = Parameter("theta")
    circuit = QuantumCircuit(1)
    circuit.ry(theta, 0)
    angles = np.linspace(-3, 3, 7)[:, None]
    exact = ExactExpectation(circuit, [SparsePauliOp("Z"), SparsePauliOp("X")], [theta], [])
    np.testing.assert_allclose(
        exact.values(angles, np.zeros(0)), np.hstack([np.cos(angles), np.sin(angles)]), atol=1e-14
    )


@pytest.mark.parametrize("label", [None, "special", "unknown"])
def test_a_label_replaces_the_name_in_the_look_up(label):
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.3, 1), ["x", "ry"])
    model.add_all_qubit_quantum_error(depolarizing_error(0.1, 1), ["special"])
    circuit = QuantumCircuit(1)
    circuit.ry(0.3, 0)
    circuit.append(XGate(label=label), [0])
    assert difference(circuit, [], [], model, np.random.default_rng(0), rows=1) < 1e-12


@pytest.mark.parametrize("state", [0, 1])
def test_open_controls_have_the_noise_of_their_x_gates(state):
    model = mixed_model()
    circuit = QuantumCircuit(2)
    circuit.ry(0.4, 0)
    circuit.append(CXGate(ctrl_state=state), [1, 0])
    assert difference(circuit, [], [], model, np.random.default_rng(0), rows=1) < 1e-12


def test_resets_and_their_errors():
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.reset(0)
    circuit.rx(0.4, 1)
    assert difference(circuit, [], [], mixed_model(), np.random.default_rng(0), rows=1) < 1e-12


def test_delays_relax_as_the_device_says():
    _, model = device("FakeManilaV2")
    circuit = QuantumCircuit(5)
    circuit.sx(0)
    circuit.delay(1000, 0, unit="ns")
    observables = [SparsePauliOp("IIIIX"), SparsePauliOp("IIIIZ")]
    exact = ExactExpectation(circuit, observables, [], [], noise_model=model, readout=False).values(*NOTHING)
    np.testing.assert_allclose(exact, aer_values(circuit, observables, [], [[]], model), atol=1e-12)
    without = QuantumCircuit(5)
    without.sx(0)
    calm = ExactExpectation(without, observables, [], [], noise_model=model, readout=False).values(*NOTHING)
    assert np.abs(exact - calm).max() > 1e-4


def test_composite_gates_and_unitaries():
    circuit = QuantumCircuit(3)
    circuit.append(UnitaryGate(random_unitary(8, seed=1)), [2, 0, 1])
    circuit.append(QFTGate(3), [0, 1, 2])
    inner = QuantumCircuit(2)
    theta = Parameter("theta")
    inner.crx(theta, 0, 1)
    circuit.append(inner.to_gate(), [2, 0])
    assert difference(circuit, [theta], [], None, np.random.default_rng(0)) < 1e-12


@pytest.mark.parametrize("constant", [False, True])
def test_noise_acts_inside_composite_gates(constant):
    """Aer itself refuses them until they are decomposed: with `decompose` it sees the gates that we have to see."""
    circuit, inputs, weights = student(2, 1)
    numbers = np.random.default_rng(0).normal(size=(1, 6))
    inner = bind(circuit, inputs + weights, numbers[0]) if constant else circuit
    block = QuantumCircuit(2, name="inner block")
    block.append(inner.to_gate(), [1, 0])
    outer = QuantumCircuit(3)
    outer.append(block.to_gate(), [2, 0])
    outer.append(block.to_instruction(), [0, 1])
    parts = ([], [], np.zeros((1, 0)), np.zeros(0)) if constant else (inputs, weights, numbers[:, :2], numbers[0, 2:])
    observables = [SparsePauliOp("ZZZ"), SparsePauliOp("XIY")]
    exact = ExactExpectation(outer, observables, *parts[:2], noise_model=mixed_model()).values(*parts[2:])
    given = [] if constant else inputs + weights
    wanted = aer_values(outer.decompose(reps=2), observables, given, numbers if given else [[]], mixed_model())
    np.testing.assert_allclose(exact, wanted, atol=1e-12)


def test_a_composite_gate_with_an_error_of_its_own_is_taken_whole():
    inner = QuantumCircuit(1, name="block")
    inner.x(0)
    circuit = QuantumCircuit(1)
    circuit.append(inner.to_gate(), [0])
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.5, 1), ["x"])
    model.add_all_qubit_quantum_error(depolarizing_error(0.1, 1), ["block"])
    exact = ExactExpectation(circuit, [SparsePauliOp("Z")], [], [], noise_model=model)
    np.testing.assert_allclose(exact.values(*NOTHING), [[-0.9]], atol=1e-14)


def test_initialize_starts_with_resets():
    circuit = QuantumCircuit(2)
    circuit.append(Initialize([0.6, 0, 0, 0.8]), [0, 1])
    exact = ExactExpectation(circuit, [SparsePauliOp("ZZ"), SparsePauliOp("IZ")], [], []).values(*NOTHING)
    np.testing.assert_allclose(exact, [[1.0, 0.36 - 0.64]], atol=1e-12)


def test_idle_qubits_of_a_wide_circuit_cost_nothing():
    circuit = QuantumCircuit(40)
    theta = Parameter("theta")
    circuit.ry(theta, 33)
    observables = [
        SparsePauliOp.from_sparse_list([("Z", [33], 1.0)], 40),
        SparsePauliOp.from_sparse_list([("Z", [7], 1)], 40),
    ]
    exact = ExactExpectation(circuit, observables, [theta], [], noise_model=depolarizing_model())
    np.testing.assert_allclose(exact.values([[0.3]], np.zeros(0)), [[0.999 * np.cos(0.3), 1.0]], atol=1e-12)


def test_many_samples_give_what_each_gives_alone():
    circuit, inputs, weights = student(3, 2)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(700, 3)), rng.normal(size=len(weights))
    for model in (None, depolarizing_model()):
        exact = ExactExpectation(circuit, z_observables(3), inputs, weights, noise_model=model)
        alone = np.vstack([exact.values(row[None], w) for row in x[::99]])
        np.testing.assert_allclose(exact.values(x, w)[::99], alone, atol=1e-13)


def test_the_circuit_given_is_not_changed():
    circuit, inputs, weights = student(2, 1)
    before = circuit.copy()
    ExactExpectation(circuit, z_observables(2), inputs, weights, noise_model=depolarizing_model())
    assert circuit == before
    assert Operator(bind(circuit, inputs + weights, np.zeros(6))) is not None


def test_amplitudes_as_inputs():
    _, _, weights = student(3, 2)
    ansatz = QuantumCircuit(3)
    append_ansatz(ansatz, weights)
    rng = np.random.default_rng(0)
    states = rng.normal(size=(20, 8))
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    w = rng.normal(size=len(weights))
    observables = [SparsePauliOp("IIZ"), SparsePauliOp("ZII")]
    for chosen in (observables, [*observables, SparsePauliOp("XYI")]):
        exact = ExactExpectation(ansatz, chosen, [], weights, amplitude_inputs=True)
        bound = bind(ansatz, weights, w)
        wanted = [[Statevector(row).evolve(bound).expectation_value(item).real for item in chosen] for row in states]
        for count in (2, 20):
            np.testing.assert_allclose(exact.values(states[:count], w), wanted[:count], atol=1e-12)
        pair = (torch.tensor(states[:9], requires_grad=True), torch.tensor(w, requires_grad=True))
        assert torch.autograd.gradcheck(exact, pair)
    with pytest.raises(ConfigurationError, match="amplitude_inputs is for circuits without noise"):
        ExactExpectation(ansatz, observables, [], weights, amplitude_inputs=True, noise_model=depolarizing_model())
