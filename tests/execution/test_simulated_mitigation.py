"""Mitigation on simulators: against noiseless values, numpy.polyfit, closed forms, and many repetitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import Operator, SparsePauliOp

from qkd_qiskit.config import MitigationSettings
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.execution.aer import evaluate_on_aer
from qkd_qiskit.execution.noise import NoiseNumbers, numbers_noise
from qkd_qiskit.execution.profiles import resolve_backend
from qkd_qiskit.execution.simulated_mitigation import (
    calibrate_readout,
    check_simulated_mitigation,
    evaluate_mitigated,
    extrapolate,
    fold_circuit,
)
from qkd_qiskit.quantum.circuit import StudentCircuit

READOUT = MitigationSettings(readout=True)
ZNE = MitigationSettings(zne=True, zne_extrapolator="linear")


def make_student(num_qubits: int = 3) -> tuple[StudentCircuit, np.ndarray]:
    """Return a circuit with angles in front of and behind entangling gates, and eight samples."""
    angles = ParameterVector("a", 2 * num_qubits)
    circuit = QuantumCircuit(num_qubits)
    for qubit in range(num_qubits):
        circuit.rx(angles[qubit], qubit)
    for qubit in range(num_qubits - 1):
        circuit.cx(qubit, qubit + 1)
    for qubit in range(num_qubits):
        circuit.ry(angles[num_qubits + qubit], qubit)
    masks = ["IIZ", "IZI", "ZII", "ZZI", "ZZZ"]
    student = StudentCircuit(circuit, tuple(angles), (), tuple(SparsePauliOp(mask) for mask in masks))
    return student, np.random.default_rng(0).uniform(-1.2, 1.2, (8, 2 * num_qubits))


STUDENT, SAMPLES = make_student()
IDEAL, _ = evaluate_on_aer(STUDENT, SAMPLES)


@pytest.mark.parametrize("readout", [0.1, (0.2, 0.03)])
def test_pure_readout_noise_is_undone_exactly(readout: float | tuple[float, float]) -> None:
    noise = numbers_noise(NoiseNumbers(readout=readout))
    mitigated = evaluate_mitigated(STUDENT, SAMPLES, READOUT, noise_model=noise)
    np.testing.assert_allclose(mitigated.values, IDEAL, atol=1e-12)
    assert np.abs(evaluate_on_aer(STUDENT, SAMPLES, noise_model=noise)[0] - IDEAL).max() > 0.05
    assert mitigated.executions == len(SAMPLES)
    assert not mitigated.errors.any()


def test_counted_readout_mitigation_scatters_as_its_standard_errors_say() -> None:
    noise, shots = numbers_noise(NoiseNumbers(readout=(0.15, 0.05))), 400
    runs = [
        evaluate_mitigated(STUDENT, SAMPLES[:2], READOUT, noise_model=noise, shots=shots, seed=seed)
        for seed in range(120)
    ]
    assert runs[0].executions == 2 * shots + 2 * shots
    values, errors = np.array([run.values for run in runs]), np.array([run.errors for run in runs])
    standard = errors.mean(0)
    assert (np.abs(values.mean(0) - IDEAL[:2]) < 4 * standard / math.sqrt(len(runs))).all()
    np.testing.assert_allclose(values.std(0), standard, rtol=0.3)


def test_the_calibrations_share_of_the_error_is_there() -> None:
    """With `r` the share of ones read, `z = (1 - 2r - lost + gained) / (1 - lost - gained)`.

    At `z = -1` its slopes in `r` and in `lost` are alike and that in `gained` is zero, so variances double.
    """
    circuit = QuantumCircuit(1)
    circuit.x(0)
    student = StudentCircuit(circuit, (), (), (SparsePauliOp("Z"),))
    noise, shots, lost, gained = numbers_noise(NoiseNumbers(readout=(0.1, 0.02))), 20_000, 0.1, 0.02
    found = evaluate_mitigated(student, np.zeros((1, 0)), READOUT, noise_model=noise, shots=shots, seed=3)
    wanted = 2 * math.sqrt(2 * lost * (1 - lost) / shots) / (1 - lost - gained)
    assert found.errors[0, 0] == pytest.approx(wanted, rel=0.05)


def test_counted_calibration_converges_to_the_models_matrices() -> None:
    noise = numbers_noise(NoiseNumbers(readout=(0.2, 0.03)))
    exact, counted = (calibrate_readout(noise, 3, shots=shots, seed=1) for shots in (None, 200_000))
    np.testing.assert_allclose([exact.lost, exact.gained], [[0.2] * 3, [0.03] * 3])
    np.testing.assert_allclose([counted.lost, counted.gained], [exact.lost, exact.gained], atol=0.005)


@pytest.mark.parametrize("factor", [1, 3, 5])
def test_folded_circuits_do_the_same_with_more_gates(factor: int) -> None:
    (_, _), (reached, folded) = fold_circuit(STUDENT, MitigationSettings(zne=True, zne_factors=(9, factor)))
    assert reached == factor
    assert folded.circuit.num_nonlocal_gates() == factor * STUDENT.circuit.num_nonlocal_gates()
    bound = [item.circuit.assign_parameters(SAMPLES[0]) for item in (STUDENT, folded)]
    assert Operator(bound[0]).equiv(Operator(bound[1]))


@pytest.mark.parametrize(
    ("amplifier", "names"),
    [("gate_folding_front", [3, 1]), ("gate_folding_back", [1, 3]), ("gate_folding", [3, 1])],
)
def test_a_factor_between_odd_ones_folds_some_gates(amplifier: str, names: list[int]) -> None:
    settings = MitigationSettings(zne=True, zne_factors=(1, 2), zne_amplifier=amplifier)
    _, (reached, folded) = fold_circuit(STUDENT, settings)
    assert reached == 2
    places = [tuple(folded.circuit.find_bit(q).index for q in item.qubits) for item in folded.circuit.data]
    assert [places.count((0, 1)), places.count((1, 2))] == names


def test_folding_multiplies_depolarizing_noise_as_its_closed_form_says() -> None:
    """`<ZZ>` after one CX under depolarizing p is 1 - p; folded n times, (1 - p)^n, an exponential decay to zero."""
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    student, noise = (
        StudentCircuit(circuit, (), (), (SparsePauliOp("ZZ"),)),
        numbers_noise(NoiseNumbers(depolarizing_2q=0.1)),
    )
    for extrapolator, wanted in (("exponential", 1.0), ("polynomial_degree_2", None), ("linear", None)):
        settings = MitigationSettings(zne=True, zne_extrapolator=extrapolator)
        found = evaluate_mitigated(student, np.zeros((1, 0)), settings, noise_model=noise)
        if wanted is None:
            degree = 1 if extrapolator == "linear" else 2
            wanted = np.polyval(np.polyfit([1, 3, 5], [0.9, 0.9**3, 0.9**5], degree), 0)
        assert found.values[0, 0] == pytest.approx(wanted, abs=1e-9)
        assert found.executions == 3


@pytest.mark.parametrize("extrapolator", ["linear", "exponential", "polynomial_degree_2"])
def test_zne_reduces_depolarizing_errors(extrapolator: str) -> None:
    noise = numbers_noise(NoiseNumbers(depolarizing_2q=0.03))
    settings = MitigationSettings(zne=True, zne_extrapolator=extrapolator)
    found = evaluate_mitigated(STUDENT, SAMPLES, settings, noise_model=noise)
    bare, _ = evaluate_on_aer(STUDENT, SAMPLES, noise_model=noise)
    assert np.abs(found.values - IDEAL).mean() < 0.3 * np.abs(bare - IDEAL).mean()


def test_both_together_undo_readout_and_gate_noise() -> None:
    noise = numbers_noise(NoiseNumbers(depolarizing_2q=0.03, readout=0.1))
    both = MitigationSettings(zne=True, readout=True)
    found = evaluate_mitigated(STUDENT, SAMPLES, both, noise_model=noise, shots=50_000, seed=2)
    assert found.executions == 50_000 * (3 * len(SAMPLES) + 2)
    assert np.abs(found.values - IDEAL).mean() < 0.02
    assert np.abs(evaluate_on_aer(STUDENT, SAMPLES, noise_model=noise)[0] - IDEAL).mean() > 0.1


def test_extrapolation_is_polyfit_and_its_errors_are_propagated() -> None:
    generator, factors = np.random.default_rng(4), np.array([1.0, 2.0, 3.5, 5.0])
    means = generator.uniform(0.2, 0.9, 6) * np.exp(-0.15 * factors[:, None])
    errors = generator.uniform(0.002, 0.006, means.shape)
    for name, degree in (("linear", 1), ("polynomial_degree_2", 2)):
        found, _ = extrapolate(factors, means, errors, name)
        np.testing.assert_allclose(found, [np.polyfit(factors, column, degree)[-1] for column in means.T])
    for name in ("linear", "polynomial_degree_2", "exponential"):
        _, spread = extrapolate(factors, means, errors, name)
        draws = [extrapolate(factors, generator.normal(means, errors), errors, name)[0] for _ in range(4000)]
        np.testing.assert_allclose(np.std(draws, axis=0), spread, rtol=0.1)


def test_values_without_a_decay_are_extrapolated_linearly() -> None:
    factors = np.array([1.0, 3.0, 5.0])
    values = np.array([[0.1, 0.5, 0.02, -0.8], [-0.1, 0.6, 0.01, -0.4], [-0.2, 0.7, 0.005, -0.2]])
    errors = np.full_like(values, 0.01)
    linear, exponential = (extrapolate(factors, values, errors, name)[0] for name in ("linear", "exponential"))
    np.testing.assert_array_equal(linear[:3], exponential[:3])
    assert exponential[3] == pytest.approx(-0.8 * math.sqrt(2))


def test_what_can_not_be_folded_is_refused() -> None:
    bare = QuantumCircuit(2)
    bare.x(0)
    swapped = QuantumCircuit(2)
    swapped.iswap(0, 1)
    for circuit, telling in ((bare, "has none"), (swapped, "can't fold iswap")):
        with pytest.raises(ConfigurationError, match=telling):
            fold_circuit(StudentCircuit(circuit, (), (), ()), ZNE)
    with pytest.raises(ConfigurationError, match="two of them are the same"):
        fold_circuit(STUDENT, MitigationSettings(zne=True, zne_factors=(1, 1.2)))


def test_readout_that_says_nothing_is_refused() -> None:
    noise = numbers_noise(NoiseNumbers(readout=0.25), scale=2)
    with pytest.raises(ConfigurationError, match="as often as rightly"):
        evaluate_mitigated(STUDENT, SAMPLES, READOUT, noise_model=noise)


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({"resilience_level": 1}, "resilience_level"),
        ({"mitigation": {"pec": True}}, "mitigation.pec"),
        ({"mitigation": {"dynamical_decoupling": "XY4"}}, "dynamical_decoupling"),
        ({"mitigation": {"gate_twirling": True}}, "gate_twirling"),
        ({"mitigation": {"zne": True, "zne_amplifier": "pea"}}, "pea"),
        (
            {"mitigation": {"zne": True, "zne_extrapolator": "double_exponential", "zne_factors": [1, 3, 5, 7]}},
            "linear",
        ),
        ({"mitigation": {"zne": True, "zne_extrapolator": "cubic"}}, "simulators have linear"),
        ({"mitigation": {"zne": True, "zne_factors": [1]}}, "needs 2 different"),
        ({"mitigation": {"zne_factors": [1, 2]}}, "no effect"),
    ],
)
def test_what_is_the_services_alone_is_refused_by_name(changes: dict, telling: str) -> None:
    with pytest.raises(ConfigurationError, match=telling):
        check_simulated_mitigation(resolve_backend("fake_manila", changes))
