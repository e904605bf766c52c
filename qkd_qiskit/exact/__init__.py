"""Exact, batched, differentiable expectation values of a circuit under an Aer noise model."""

from qkd_qiskit.exact.expectation import ExactExpectation

__all__ = ["ExactExpectation"]
