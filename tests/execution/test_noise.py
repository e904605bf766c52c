"""Noise cut out of a device against Aer's model of the whole device, and uniform noise against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer.noise import NoiseModel
from qiskit_ibm_runtime.fake_provider import FakeLagosV2, FakeManilaV2

from qkd_qiskit.execution.aer import evaluate_on_aer
from qkd_qiskit.execution.fakes import open_fake
from qkd_qiskit.execution.noise import NoiseNumbers, crop_target, device_noise, numbers_noise
from qkd_qiskit.quantum.circuit import StudentCircuit


@pytest.mark.parametrize(("device", "qubits"), [(FakeManilaV2, [0, 1, 2, 3, 4]), (FakeLagosV2, [5, 3, 1])])
def test_cut_noise_has_the_errors_of_the_whole_device(device: type, qubits: list[int]) -> None:
    backend = device()
    cut, whole = device_noise(backend.target, qubits), NoiseModel.from_backend(backend)
    assert cut is not None
    compared = 0
    for name, errors in cut._local_quantum_errors.items():
        for places, error in errors.items():
            assert error == whole._local_quantum_errors[name][tuple(qubits[place] for place in places)]
            compared += 1
    for (place,), error in cut._local_readout_errors.items():
        np.testing.assert_array_equal(error.probabilities, whole._local_readout_errors[(qubits[place],)].probabilities)
        compared += 1
    assert compared >= 4 * len(qubits)


def test_scale_multiplies_errors_and_divides_times() -> None:
    target = FakeManilaV2().target
    scaled = crop_target(target, [0, 1], scale=2.0)
    assert scaled["cx"][0, 1].error == pytest.approx(2 * target["cx"][0, 1].error)
    assert scaled["measure"][(1,)].error == pytest.approx(2 * target["measure"][(1,)].error)
    assert scaled.qubit_properties[0].t1 == pytest.approx(target.qubit_properties[0].t1 / 2)
    assert scaled["cx"][0, 1].duration == target["cx"][0, 1].duration


@pytest.mark.parametrize("scale", [1.0, 3.0, 30.0, 1000.0])
def test_a_scaled_readout_error_never_turns_the_bit_round(scale: float) -> None:
    device = open_fake("fake_torino").target  # qubit 86 is read wrongly more often than not
    for qubit in (0, 1, 86):
        unscaled = device["measure"][(qubit,)].error
        scaled = crop_target(device, [qubit], scale=scale)["measure"][(0,)].error
        assert scaled == pytest.approx(min(scale * unscaled, max(0.5, unscaled)))


def test_no_scale_is_no_noise() -> None:
    assert device_noise(FakeManilaV2().target, [0], scale=0) is None
    assert numbers_noise(NoiseNumbers(readout=0.1), scale=0) is None


def value_of(circuit: QuantumCircuit, numbers: NoiseNumbers, scale: float = 1.0) -> float:
    student = StudentCircuit(circuit, (), (), (SparsePauliOp("Z" * circuit.num_qubits),))
    values, _ = evaluate_on_aer(student, np.zeros((1, 0)), noise_model=numbers_noise(numbers, scale=scale))
    return float(values[0, 0])


def flipped(num_qubits: int = 1) -> QuantumCircuit:
    circuit = QuantumCircuit(num_qubits)
    circuit.x(0)
    return circuit


def test_readout_error_contracts_as_its_matrix_says() -> None:
    lost, gained = 0.2, 0.05
    assert value_of(flipped(), NoiseNumbers(readout=(lost, gained))) == pytest.approx(2 * lost - 1)
    assert value_of(QuantumCircuit(1), NoiseNumbers(readout=(lost, gained))) == pytest.approx(1 - 2 * gained)
    assert value_of(flipped(), NoiseNumbers(readout=0.1), scale=2) == pytest.approx(-0.6)


def test_depolarizing_contracts_by_one_minus_p() -> None:
    assert value_of(flipped(), NoiseNumbers(depolarizing_1q=0.1)) == pytest.approx(-0.9)
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    assert value_of(circuit, NoiseNumbers(depolarizing_2q=0.3)) == pytest.approx(0.7)


def test_relaxation_decays_exponentially() -> None:
    numbers = NoiseNumbers(t1_us=10, t2_us=8, gate_time_1q_ns=500)
    assert value_of(flipped(), numbers) == pytest.approx(1 - 2 * math.exp(-0.5 / 10))
