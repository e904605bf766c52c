"""Observables against Qiskit's matrices."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from qiskit.quantum_info import SparsePauliOp

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.quantum.observables import build_observables, diagonal


def test_z_measures_each_qubit() -> None:
    labels = [observable.to_list()[0][0] for observable in build_observables("z", 3)]
    assert labels == ["IIZ", "IZI", "ZII"]


def test_parities_are_every_z_string_but_the_identity() -> None:
    labels = {observable.to_list()[0][0] for observable in build_observables("parities", 3)}
    assert len(labels) == 7
    assert "III" not in labels
    assert all(set(label) <= {"I", "Z"} for label in labels)


def test_projectors_are_the_bit_strings() -> None:
    for outcome, observable in enumerate(build_observables("projectors", 3)):
        np.testing.assert_allclose(observable.to_matrix(), np.diag(np.eye(8)[outcome]), atol=1e-15)
        assert {label for label, _ in observable.to_list()} <= {
            "".join(letters) for letters in itertools.product("IZ", repeat=3)
        }


def test_too_many_projectors_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"9 qubits.*--observables parities"):
        build_observables("projectors", 9)


@pytest.mark.parametrize("terms", [[("ZIZ", 1.0)], [("IZI", 0.5), ("III", -2.0)], [("ZZZ", 1.0), ("ZII", 3.0)]])
def test_diagonal_is_that_of_the_matrix(terms: list[tuple[str, float]]) -> None:
    observable = SparsePauliOp.from_list(terms)
    np.testing.assert_allclose(diagonal(observable), np.diag(observable.to_matrix()).real)


@pytest.mark.parametrize("observable", [SparsePauliOp("XI"), SparsePauliOp(["ZZ"], [1j])])
def test_diagonal_refuses_what_needs_another_basis(observable: SparsePauliOp) -> None:
    with pytest.raises(ConfigurationError, match="real sum of Z-strings"):
        diagonal(observable)


def test_unknown_observables_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'parities'"):
        build_observables("parity", 2)
