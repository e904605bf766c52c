"""Exact gradients for `EstimatorQNN`: one adjoint pass in place of two circuits for each parameter."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.providers import Options
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.gradients import BaseEstimatorGradient, EstimatorGradientResult

from qkd_qiskit.exact.cache import ExpectationCache
from qkd_qiskit.exact.estimator import ExactEstimator
from qkd_qiskit.exact.expectation import ExactExpectation
from qkd_qiskit.exact.noise import list_parts

Array = np.ndarray


class ExactEstimatorGradient(BaseEstimatorGradient):
    """Gradients of expectation values under an Aer noise model, exact to float64.

    Args:
        noise_model: an Aer `NoiseModel` on the circuits' qubit numbers, or None.
        readout: False leaves the readout errors out, as Aer's `EstimatorV2` does.
    """

    def __init__(self, noise_model: Any | None = None, *, readout: bool = True):
        super().__init__(ExactEstimator(noise_model, readout=readout))
        self.noise_model = noise_model
        self.readout = readout
        self._cache = ExpectationCache()

    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        observables: Sequence[Any],
        parameter_values: Sequence[Sequence[float]] | Array,
        parameters: Sequence[Sequence[Parameter]],
        **options: Any,
    ) -> EstimatorGradientResult:
        gradients: list[Array] = [np.empty(0)] * len(circuits)
        tasks: dict[int, list[int]] = defaultdict(list)
        for index, circuit in enumerate(circuits):
            tasks[id(circuit)].append(index)
        for members in tasks.values():
            circuit = circuits[members[0]]
            full = self._gradients(
                circuit, [observables[i] for i in members], np.array([parameter_values[i] for i in members])
            )
            column = {param: position for position, param in enumerate(circuit.parameters)}
            for row, index in enumerate(members):
                gradients[index] = full[row, [column[param] for param in parameters[index]]]
        metadata = [{"parameters": chosen} for chosen in parameters]
        return EstimatorGradientResult(gradients=gradients, metadata=metadata, options=Options(**options))

    def _gradients(self, circuit: QuantumCircuit, observables: list[Any], values: Array) -> Array:
        """Return the gradients (N, parameters) of observable n at values n, shape (N, parameters)."""
        operators = [SparsePauliOp(item) for item in {id(item): item for item in observables}.values()]
        position = {key: column for column, key in enumerate(dict.fromkeys(map(id, observables)))}
        names = tuple((tuple(item.paulis.to_labels()), item.coeffs.tobytes()) for item in operators)
        parts = list_parts(self.noise_model)

        def build() -> ExactExpectation:
            params = list(circuit.parameters)
            return ExactExpectation(circuit, operators, params, [], noise_model=self.noise_model, readout=self.readout)

        expectation = self._cache.find(circuit, (names, *map(id, parts)), parts, build)
        picked = np.zeros((len(values), len(position)))
        picked[np.arange(len(values)), [position[id(item)] for item in observables]] = 1.0
        return expectation.values_and_vjp(values, np.zeros(0), picked)[1]
