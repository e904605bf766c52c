"""Circuits, noise models and slow but trusted evaluations that the exact engine is tested against."""

from functools import cache

import numpy as np
import qiskit_ibm_runtime.fake_provider as fakes
from hypothesis import strategies as st
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import ParameterVector
from qiskit.circuit import library as gates
from qiskit.quantum_info import DensityMatrix, SparsePauliOp, Statevector
from qiskit_aer import AerSimulator
from qiskit_aer.noise import (
    NoiseModel,
    PauliError,
    PauliLindbladError,
    amplitude_damping_error,
    coherent_unitary_error,
    depolarizing_error,
    kraus_error,
    mixed_unitary_error,
    pauli_error,
    phase_amplitude_damping_error,
    phase_damping_error,
    reset_error,
    thermal_relaxation_error,
)

FAKE_DEVICES = ("FakeManilaV2", "FakeLimaV2", "FakeBelemV2", "FakeJakartaV2", "FakeLagosV2", "FakeQuitoV2")
CONSTANT_1 = ("HGate", "XGate", "YGate", "ZGate", "SGate", "SdgGate", "TGate", "TdgGate", "SXGate", "SXdgGate", "IGate")
CONSTANT_2 = ("CXGate", "CYGate", "CZGate", "ECRGate", "SwapGate")
TURNING_1 = ("RXGate", "RYGate", "RZGate", "PhaseGate", "U1Gate")
TURNING_2 = ("RXXGate", "RYYGate", "RZZGate", "RZXGate", "CPhaseGate", "CU1Gate")
NOT_IN_AER_1 = ("CHGate", "iSwapGate", "CSXGate", "DCXGate")
NOT_IN_AER_2 = ("CRXGate", "CRYGate", "CRZGate", "XXPlusYYGate")
_CLASSICAL = ("measure", "delay", "barrier", "reset")
STANDARD_GATES = sorted(set(gates.get_standard_gate_name_mapping()) - {*_CLASSICAL, "global_phase"})
# One-qubit errors by each of Aer's constructors.
ERRORS = {
    "depolarizing": lambda: depolarizing_error(0.1, 1),
    "thermal relaxation": lambda: thermal_relaxation_error(50, 70, 10, excited_state_population=0.1),
    "thermal relaxation, T2 > T1": lambda: thermal_relaxation_error(50, 90, 10),
    "amplitude damping": lambda: amplitude_damping_error(0.1, 0.2),
    "phase damping": lambda: phase_damping_error(0.1),
    "phase and amplitude damping": lambda: phase_amplitude_damping_error(0.1, 0.05, 0.1),
    "Kraus": lambda: kraus_error([np.sqrt(0.9) * np.eye(2), np.sqrt(0.1) * np.array([[0, 1j], [-1j, 0]])]),
    "Pauli": lambda: pauli_error([("X", 0.1), ("Y", 0.03), ("I", 0.87)]),
    "Pauli, compact": lambda: PauliError(["X", "Z", "I"], [0.1, 0.02, 0.88]),
    "reset": lambda: reset_error(0.1, 0.05),
    "coherent": lambda: coherent_unitary_error(gates.RXGate(0.2).to_matrix()),
    "mixed unitary": lambda: mixed_unitary_error([(np.eye(2), 0.8), (gates.HGate().to_matrix(), 0.2)]),
}


def student(num_qubits, layers):
    """RY(x) on each qubit, then layers of RY(w), RZ(w) and a ring of CX; returns circuit, inputs, weights."""
    x, w = ParameterVector("x", num_qubits), ParameterVector("w", 2 * num_qubits * layers)
    circuit = QuantumCircuit(num_qubits)
    for qubit in range(num_qubits):
        circuit.ry(x[qubit], qubit)
    append_ansatz(circuit, w)
    return circuit, list(x), list(w)


def append_ansatz(circuit, w):
    remaining = list(w)
    while remaining:
        for qubit in range(circuit.num_qubits):
            circuit.ry(remaining.pop(0), qubit)
            circuit.rz(remaining.pop(0), qubit)
        for qubit in range(circuit.num_qubits):
            circuit.cx(qubit, (qubit + 1) % circuit.num_qubits)


def amplitude_student(num_qubits, layers):
    """A tree of multiplexed RY in front of the same ansatz."""
    x, w = ParameterVector("x", 2**num_qubits - 1), ParameterVector("w", 2 * num_qubits * layers)
    circuit = QuantumCircuit(num_qubits)
    angles = list(x)
    for target in range(num_qubits):
        for position in range(2**target):
            circuit.ry(angles.pop(0), target)
            if target:
                step = (position + 1) & -(position + 1)
                circuit.cx(min(step.bit_length() - 1, target - 1), target)
    append_ansatz(circuit, w)
    return circuit, list(x), list(w)


def z_observables(num_qubits):
    return [SparsePauliOp.from_sparse_list([("Z", [qubit], 1.0)], num_qubits) for qubit in range(num_qubits)]


def depolarizing_model():
    """The noise of circuits n4 and n8 in the benchmark."""
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.001, 1), ["ry", "rz"])
    model.add_all_qubit_quantum_error(depolarizing_error(0.01, 2), ["cx"])
    return model


def mixed_model():
    """Errors of every kind that Aer knows, default and local, on at least two qubits."""
    model = NoiseModel()
    relaxation = thermal_relaxation_error(50, 70, 10, excited_state_population=0.1)
    model.add_all_qubit_quantum_error(depolarizing_error(0.02, 1), ["h", "rx", "ry", "p", "u", "id", "reset"])
    model.add_all_qubit_quantum_error(depolarizing_error(0.03, 2), ["cx", "cz", "rxx", "rzz", "swap"])
    model.add_all_qubit_quantum_error(depolarizing_error(0.03, 3), ["ccx"])
    local = [
        (relaxation, ["sx", "rz"], [0]),
        (amplitude_damping_error(0.1), ["x", "rx"], [1]),
        (relaxation.tensor(phase_damping_error(0.1)), ["cx", "ecr"], [1, 0]),
        (kraus_error([np.sqrt(0.9) * np.eye(2), np.sqrt(0.1) * np.array([[0, 1], [1, 0]])]), ["ry"], [1]),
        (PauliError(["XI", "II"], [0.1, 0.9]), ["ryy", "cp"], [0, 1]),
        (PauliLindbladError(["XZ", "YY"], [0.05, 0.02]), ["rzx"], [1, 0]),
    ]
    for error, names, qubits in local:
        model.add_quantum_error(error, names, qubits, warnings=False)
    return model


@cache
def device(name):
    """A fake device and its noise model."""
    backend = getattr(fakes, name)()
    return backend, NoiseModel.from_backend(backend)


@cache
def device_circuit(name, num_qubits=3, layers=1):
    """An amplitude-encoding student compiled for a fake device: circuit, layout, inputs, weights."""
    circuit, inputs, weights = amplitude_student(num_qubits, layers)
    isa = transpile(circuit, device(name)[0], optimization_level=2, seed_transpiler=7)
    return isa, inputs, weights


def bind(circuit, params, values):
    return circuit.assign_parameters(dict(zip(params, values)))


def aer_values(circuit, observables, params, rows, noise_model):
    """Expectation values (N, O) from Aer's density matrices."""
    simulator = AerSimulator(method="density_matrix", noise_model=noise_model)
    measured = circuit.copy()
    measured.save_density_matrix()
    values = []
    for row in rows:
        state = simulator.run(bind(measured, params, row)).result().data()["density_matrix"]
        values.append([DensityMatrix(state).expectation_value(item).real for item in observables])
    return np.array(values)


def state_values(circuit, observables, params, rows):
    """Expectation values (N, O) from Qiskit's state vectors."""
    states = [Statevector(bind(circuit, params, row)) for row in rows]
    return np.array([[state.expectation_value(item).real for item in observables] for state in states])


def random_observables(num_qubits, rng, count=3):
    """Sums of three random Pauli strings each."""
    labels = rng.choice(list("IXYZ"), size=(count, 3, num_qubits))
    return [SparsePauliOp(["".join(row) for row in item], rng.normal(size=3)) for item in labels]


@st.composite
def circuits(draw, in_aer, min_qubits=2, max_qubits=4):
    """Any order of data and weight gates, angles in expressions; returns circuit, 3 inputs, 3 weights."""
    num_qubits = draw(st.integers(min_qubits, max_qubits))
    x, w = ParameterVector("x", 3), ParameterVector("w", 3)
    angles = [x[0], 2 * x[1] + 0.3, x[2] * w[0], w[1] - x[0], w[2], 3 * w[1] + 1, w[0] * w[1], x[1].sin() * w[2] / 2]
    one, two = [*CONSTANT_1, *TURNING_1, "UGate", "RGate"], [*CONSTANT_2, *TURNING_2]
    two += [] if in_aer else [*NOT_IN_AER_1, *NOT_IN_AER_2]
    circuit = QuantumCircuit(num_qubits)
    for name in draw(st.lists(st.sampled_from([*one, *two, *two]), min_size=1, max_size=16)):
        qubits = draw(st.permutations(range(num_qubits)))
        angle, other = draw(st.sampled_from(angles)), draw(st.sampled_from(angles))
        arguments = {"UGate": (angle, 0.3, other), "RGate": (angle, other)}.get(name, (angle,))
        arguments = () if name in (*CONSTANT_1, *CONSTANT_2, *NOT_IN_AER_1) else arguments
        gate = getattr(gates, name)(*arguments)
        circuit.append(gate, qubits[: gate.num_qubits])
    for param in (*x, *w):
        circuit.rz(param, 0)
    return circuit, list(x), list(w)
