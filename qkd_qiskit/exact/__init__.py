"""Exact, batched, differentiable expectation values of a circuit under an Aer noise model."""

from qkd_qiskit.exact.connector import ExactConnector
from qkd_qiskit.exact.estimator import ExactEstimator
from qkd_qiskit.exact.expectation import ExactExpectation
from qkd_qiskit.exact.gradient import ExactEstimatorGradient
from qkd_qiskit.exact.sampling import outcome_probabilities, sample_expectation_values

__all__ = [
    "ExactConnector",
    "ExactEstimator",
    "ExactEstimatorGradient",
    "ExactExpectation",
    "outcome_probabilities",
    "sample_expectation_values",
]
