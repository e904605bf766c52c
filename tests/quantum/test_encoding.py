"""Encodings against closed forms and the state vector they are to prepare."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit.library import zz_feature_map
from qiskit.quantum_info import Statevector

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.quantum.encoding import ENCODINGS, build_encoding

FLOATS = st.floats(-3, 3).map(lambda value: 0.0 if abs(value) < 1e-6 else value)


def prepared_state(name: str, features: np.ndarray, num_qubits: int) -> np.ndarray:
    encoding = build_encoding(name, num_qubits)
    angles = encoding.angles(torch.tensor(features[None], dtype=torch.float64))[0]
    return Statevector(encoding.circuit.assign_parameters(dict(zip(encoding.parameters, angles.numpy())))).data


@pytest.mark.parametrize("num_qubits", [1, 2, 3, 4, 5])
def test_amplitude_encoding_prepares_the_normalised_features(num_qubits: int) -> None:
    features = np.random.default_rng(num_qubits).normal(size=2**num_qubits)
    wanted = features / np.linalg.norm(features)
    np.testing.assert_allclose(prepared_state("amplitude", features, num_qubits), wanted, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(FLOATS, min_size=8, max_size=8))
def test_amplitude_encoding_prepares_any_signs_and_zeros(values: list[float]) -> None:
    features = np.array(values)
    norm = np.linalg.norm(features)
    wanted = features / norm if norm else np.eye(8)[0]
    np.testing.assert_allclose(prepared_state("amplitude", features, 3), wanted, atol=1e-12)


def assert_same_state(found: np.ndarray, wanted: np.ndarray) -> None:
    """Compare but for the global phase."""
    overlap = np.vdot(found, wanted)
    np.testing.assert_allclose(found * overlap / abs(overlap), wanted, atol=1e-12)


@pytest.mark.parametrize("num_qubits", [1, 2, 3, 4, 5])
def test_complex_amplitude_encoding_prepares_the_normalised_features(num_qubits: int) -> None:
    features = np.random.default_rng(num_qubits).normal(size=2 ** (num_qubits + 1))
    real, imaginary = np.split(features / np.linalg.norm(features), 2)
    assert_same_state(prepared_state("complex_amplitude", features, num_qubits), real + 1j * imaginary)


@settings(max_examples=50, deadline=None)
@given(st.lists(FLOATS, min_size=16, max_size=16))
def test_complex_amplitude_encoding_prepares_any_signs_and_zeros(values: list[float]) -> None:
    norm = np.linalg.norm(values)
    real, imaginary = np.split(np.array(values) / norm if norm else np.eye(16)[0], 2)
    assert_same_state(prepared_state("complex_amplitude", np.array(values), 3), real + 1j * imaginary)


@pytest.mark.parametrize(("name", "num_features"), [("amplitude", 8), ("complex_amplitude", 16)])
def test_amplitude_angles_have_the_gradient_of_finite_differences(name: str, num_features: int) -> None:
    angles = build_encoding(name, 3).angles
    features = torch.randn(4, num_features, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(angles, (features.requires_grad_(),), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "num_features"), [("amplitude", 8), ("complex_amplitude", 16)])
def test_amplitude_angles_of_zeros_have_a_finite_gradient(name: str, num_features: int) -> None:
    features = torch.zeros(2, num_features, dtype=torch.float64)
    features[1, 3] = 1.0
    features.requires_grad_()
    build_encoding(name, 3).angles(features).sum().backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_amplitude_circuit_has_the_gates_of_the_decomposition() -> None:
    operations = build_encoding("amplitude", 4).circuit.count_ops()
    assert operations == {"ry": 2**4 - 1, "cx": 2**4 - 2}
    operations = build_encoding("complex_amplitude", 4).circuit.count_ops()
    assert operations == {"ry": 2**4 - 1, "rz": 2**4 - 1, "cx": 2 * (2**4 - 2)}


def test_angle_encoding_gives_the_cosine() -> None:
    features = np.array([0.3, -1.1])
    state = prepared_state("angle", features, 2)
    for qubit, feature in enumerate(features):
        ones = sum(abs(state[index]) ** 2 for index in range(4) if index >> qubit & 1)
        assert 1 - 2 * ones == pytest.approx(math.cos(math.pi / 2 * math.tanh(feature)), abs=1e-12)


def test_hadamard_angle_encoding_gives_the_papers_probability() -> None:
    feature = 0.7
    state = prepared_state("hadamard_angle", np.array([feature]), 1)
    theta = math.pi / 2 * math.tanh(feature)
    assert abs(state[1]) ** 2 == pytest.approx((1 + math.sin(theta)) / 2, abs=1e-12)


def test_an_unknown_encoding_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"'amplitud'.*did you mean 'amplitude'"):
        build_encoding("amplitud", 2)


def test_qubit_encoding_puts_two_features_on_each_qubit() -> None:
    features = np.array([0.3, -1.1, 0.8, 2.0])
    turned = math.pi / 2 * np.tanh(features)
    wanted = np.ones(1)
    for polar, phase in turned.reshape(2, 2):
        qubit = np.array([math.cos(polar / 2), np.exp(1j * phase) * math.sin(polar / 2)]) * np.exp(-0.5j * phase)
        wanted = np.kron(qubit, wanted)  # qubit 0 is the last factor
    np.testing.assert_allclose(prepared_state("qubit", features, 2), wanted, atol=1e-12)


@pytest.mark.parametrize("num_qubits", [2, 3, 4])
def test_zz_encoding_is_qiskits_feature_map(num_qubits: int) -> None:
    features = np.random.default_rng(num_qubits).normal(size=num_qubits)
    theirs = zz_feature_map(num_qubits).assign_parameters(math.pi / 2 * np.tanh(features))
    np.testing.assert_allclose(prepared_state("zz", features, num_qubits), Statevector(theirs).data, atol=1e-12)


@pytest.mark.parametrize("name", ["qubit", "zz", "reuploading"])
def test_bounded_angles_have_the_gradient_of_finite_differences(name: str) -> None:
    encoding = build_encoding(name, 3)
    shape = (4, encoding.num_features)
    features = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert encoding.angles(features).shape == (4, len(encoding.parameters))
    assert torch.autograd.gradcheck(encoding.angles, (features,))


@pytest.mark.parametrize("name", sorted(ENCODINGS))
def test_what_is_loaded_is_bounded(name: str) -> None:
    encoding = build_encoding(name, 3)
    features = 50 * torch.randn(20, encoding.num_features, generator=torch.Generator().manual_seed(2))
    norms = encoding.loaded(features).norm(dim=1)
    assert norms.max() <= encoding.largest * (1 + 1e-6)
    assert norms.max() >= 0.9 * encoding.largest
