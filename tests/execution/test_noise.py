"""Noise cut out of a device against Aer's model of the whole device, and uniform noise against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer.noise import NoiseModel
from qiskit_ibm_runtime.fake_provider import FakeLagosV2, FakeManilaV2

import qkd_qiskit
from qkd_qiskit.exact import ExactEstimator
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.execution.aer import evaluate_on_aer
from qkd_qiskit.execution.devices import open_simulator
from qkd_qiskit.execution.engines import build_quantum_layer
from qkd_qiskit.execution.fakes import open_fake
from qkd_qiskit.execution.noise import NoiseNumbers, crop_target, device_noise, numbers_noise
from qkd_qiskit.execution.profiles import resolve_backend
from qkd_qiskit.quantum.circuit import StudentCircuit
from qkd_qiskit.quantum.student import StudentBlueprint


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


def test_a_whole_devices_noise_is_refused_for_a_small_circuit_and_the_functions_that_are_named_do_it() -> None:
    backend, qubits = FakeLagosV2(), [5, 3, 1]
    circuit, observable = QuantumCircuit(3), SparsePauliOp(["ZII", "IZZ"], [1.0, 0.5])
    circuit.ry(0.7, 0)
    circuit.cx([0, 1], [1, 2])
    whole = NoiseModel.from_backend(backend)
    with pytest.raises(ConfigurationError, match=r"qubit 3.*0 to 2.*qkd_qiskit\.device_noise\(backend\.target, "):
        ExactEstimator(whole).run([(circuit, observable)]).result()
    cropped = generate_preset_pass_manager(1, target=qkd_qiskit.crop_target(backend.target, qubits)).run(circuit)
    noise = qkd_qiskit.device_noise(backend.target, qubits)
    physical = [qubits[place] for place in cropped.layout.final_index_layout()]
    wide = QuantumCircuit(7).compose(cropped, qubits)
    pubs = (cropped, observable.apply_layout(cropped.layout)), (wide, observable.apply_layout(physical, num_qubits=7))
    found, wanted = (
        ExactEstimator(model).run([pub]).result()[0].data.evs for model, pub in zip((noise, whole), pubs, strict=True)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert abs(found - ExactEstimator().run(pubs[:1]).result()[0].data.evs) > 1e-3


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


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_over_rotation_adds_to_the_angle(scale: float) -> None:
    single = value_of(flipped(), NoiseNumbers(over_rotation_1q=0.3), scale)
    assert single == pytest.approx(math.cos(math.pi + scale * 0.3))
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.cx(0, 1)  # RZX by a leaves |11> with probability cos^2(a / 2): <Z1> goes from -1 to -cos(a)
    assert value_of(circuit, NoiseNumbers(over_rotation_2q=0.4), scale) == pytest.approx(math.cos(scale * 0.4))


def test_errors_of_a_gate_come_in_the_order_that_is_told() -> None:
    """Over-rotation, depolarizing, relaxation: `RX(a)` on |1>, contracted by `1 - p`, decayed towards |0>."""
    numbers = NoiseNumbers(over_rotation_1q=0.5, depolarizing_1q=0.1, t1_us=1.0, gate_time_1q_ns=200)
    before = -0.9 * math.cos(0.5)
    assert value_of(flipped(), numbers) == pytest.approx(1 - (1 - before) * math.exp(-0.2))


@pytest.mark.parametrize(
    ("parts", "flags"),
    [
        (("gates",), {"readout_error": False, "thermal_relaxation": False}),
        (("relaxation",), {"readout_error": False, "gate_error": False}),
        (("readout",), {"gate_error": False, "thermal_relaxation": False}),
        (("gates", "relaxation"), {"readout_error": False}),
    ],
)
def test_a_part_of_a_devices_noise_is_what_aer_makes_of_it(parts: tuple[str, ...], flags: dict[str, bool]) -> None:
    """The same numbers from the whole device's model, cut by Aer's own switches, on the uncropped qubits."""
    backend = FakeManilaV2()
    circuit = QuantumCircuit(5)
    circuit.x(2)
    circuit.cx(2, 3)
    circuit.sx(2)
    circuit.sx(2)
    student = StudentCircuit(circuit, (), (), (SparsePauliOp("IZZII"), SparsePauliOp("IIZII")))
    whole = NoiseModel.from_backend(backend, **flags)
    own = device_noise(backend.target, range(5), parts=parts)
    wanted, _ = evaluate_on_aer(student, np.zeros((1, 0)), noise_model=whole)
    found, _ = evaluate_on_aer(student, np.zeros((1, 0)), noise_model=own)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert np.abs(found - evaluate_on_aer(student, np.zeros((1, 0)))[0]).max() > 1e-4
    assert device_noise(backend.target, range(5), parts=()) is None


AXES = {
    "depolarizing": NoiseNumbers(depolarizing_1q=0.01, depolarizing_2q=0.05),
    "readout": NoiseNumbers(readout=(0.1, 0.03)),
    "thermal": NoiseNumbers(t1_us=20, t2_us=15),
    "coherent": NoiseNumbers(over_rotation_1q=0.1, over_rotation_2q=0.2),
}


@pytest.mark.parametrize("axis", AXES)
def test_the_exact_engine_trains_under_every_axis(axis: str) -> None:
    """Values against Aer, gradients of the weights against finite differences of Aer's values."""
    place = open_simulator(resolve_backend("aer", {"noise": "fake_manila"}), 2)
    circuit = place.compile(StudentBlueprint(num_qubits=2, image_shape=(1, 8, 8), num_classes=2).build_circuit())
    angles, noise = np.linspace(-1, 1, len(circuit.cropped.input_params)), numbers_noise(AXES[axis])
    weights = np.linspace(-0.7, 0.8, len(circuit.cropped.weight_params))
    layer = build_quantum_layer("exact", noise)(circuit.cropped, weights)
    values = layer(torch.from_numpy(angles[None]))
    values.sum().backward()
    table = circuit.cropped.parameter_values(angles[None], weights)
    np.testing.assert_allclose(
        values.detach(), evaluate_on_aer(circuit.cropped, table, noise_model=noise)[0], atol=1e-9
    )
    step = np.zeros_like(table)
    step[0, -1] = 1e-5
    shifted = [evaluate_on_aer(circuit.cropped, table + sign * step, noise_model=noise)[0].sum() for sign in (1, -1)]
    assert float(layer.weight.grad[-1]) == pytest.approx((shifted[0] - shifted[1]) / 2e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "changes"),
    [("aer", {}), ("aer", {"noise": {"readout": 0.1}}), ("ibm_brisbane", {})],
)
def test_parts_of_what_has_none_are_refused(name: str, changes: dict) -> None:
    with pytest.raises(ConfigurationError, match="noise_parts"):
        resolve_backend(name, {**changes, "noise_parts": ["readout"]})
