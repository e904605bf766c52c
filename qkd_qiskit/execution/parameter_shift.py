"""The parameter-shift gradient as one broadcast PUB, where Qiskit's makes one PUB per sample, observable and shift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit.circuit import Parameter, ParameterExpression, QuantumCircuit
from qiskit.primitives import BaseEstimatorV2
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler.passes import TranslateParameterizedGates
from qiskit_machine_learning.gradients import BaseEstimatorGradient, EstimatorGradientResult

SHIFTED_GATES = ("rx", "ry", "rz", "p", "rxx", "ryy", "rzz", "rzx")
"""Gates whose generator has two eigenvalues one apart; other parametrised gates are translated into these first."""


class BatchedParameterShift(BaseEstimatorGradient):
    """Exact gradients of expectation values, all samples, observables and shifts in one PUB.

    Every occurrence of a parameter gets its own angle, is shifted by +-pi/2, and the chain rule brings the derivatives
    back to the parameters, so angles may be expressions. Source: Schuld et al., arXiv 1811.11184, equation 9.

    Args:
        estimator: runs the PUB; its `precision` is passed on, which Qiskit's own gradients don't do.
        precision: standard error asked for; 0 is exact where the estimator can be.
    """

    def __init__(self, estimator: BaseEstimatorV2, *, precision: float = 0.0) -> None:
        super().__init__(estimator)
        self.precision = precision
        self._split: dict[int, tuple[QuantumCircuit, SplitAngles]] = {}

    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        observables: Sequence[SparsePauliOp],
        parameter_values: Sequence[Sequence[float]] | np.ndarray,
        parameters: Sequence[Sequence[Parameter]],
        **options: Any,
    ) -> EstimatorGradientResult:
        gradients = [np.empty(0)] * len(circuits)
        for key in dict.fromkeys(map(id, circuits)):
            members = [index for index, circuit in enumerate(circuits) if id(circuit) == key]
            table = np.asarray([parameter_values[index] for index in members], dtype=np.float64)
            grid = _Grid(table, [observables[index] for index in members])
            jacobian = self._jacobian(circuits[members[0]], grid.rows, grid.observables)
            columns = {parameter: column for column, parameter in enumerate(circuits[members[0]].parameters)}
            for place, index in enumerate(members):
                wanted = [columns[parameter] for parameter in parameters[index]]
                gradients[index] = jacobian[grid.observable_of[place], grid.row_of[place]][wanted]
        metadata = [{"parameters": wanted} for wanted in parameters]
        return EstimatorGradientResult(gradients=gradients, metadata=metadata, options={"precision": self.precision})

    def _jacobian(self, circuit: QuantumCircuit, rows: np.ndarray, observables: list[SparsePauliOp]) -> np.ndarray:
        """Derivatives `(O, R, P)` at the parameter sets `rows`, `(R, P)`."""
        if id(circuit) not in self._split:
            self._split[id(circuit)] = (
                circuit,
                SplitAngles(circuit),
            )  # the circuit is kept so that its id stays its own
        split = self._split[id(circuit)][1]
        angles = split.angles(rows)
        shifts = (math.pi / 2) * np.concatenate([np.eye(angles.shape[1]), -np.eye(angles.shape[1])])
        shifted = angles[:, None, :] + shifts
        pub = (split.circuit, [[[observable]] for observable in observables], shifted)
        values = self._estimator.run([pub], precision=self.precision).result()[0].data.evs
        plus, minus = np.split(np.asarray(values), 2, axis=2)
        return np.einsum("org,rgp->orp", (plus - minus) / 2, split.slopes(rows))


class _Grid:
    """Distinct parameter rows and observables, and which of them each request names."""

    def __init__(self, table: np.ndarray, observables: Sequence[SparsePauliOp]) -> None:
        self.rows, self.row_of = np.unique(table, axis=0, return_inverse=True)
        first = {id(observable): observable for observable in observables}
        self.observables = list(first.values())
        places = {key: place for place, key in enumerate(first)}
        self.observable_of = [places[id(observable)] for observable in observables]


class SplitAngles:
    """A circuit in which every parametrised gate has an angle of its own.

    Args:
        circuit: any circuit whose parametrised gates Qiskit can translate to `SHIFTED_GATES`.

    Attributes:
        circuit: the same circuit with `G` fresh parameters, one for each parametrised gate.
        expressions: the `G` angles as expressions of the original parameters.
    """

    def __init__(self, circuit: QuantumCircuit) -> None:
        self.parameters = list(circuit.parameters)
        self.expressions: list[ParameterExpression] = []
        translated = TranslateParameterizedGates(list(SHIFTED_GATES))(circuit)
        split = translated.copy_empty_like()
        split.global_phase = 0  # it may hold parameters, and no expectation value depends on it
        for item in translated.data:
            operation = item.operation
            if operation.is_parameterized():
                fresh = Parameter(f"g{len(self.expressions):06d}")
                self.expressions.append(operation.params[0])
                operation = operation.to_mutable()
                operation.params = [fresh]
            split.append(operation, item.qubits, item.clbits)
        self.circuit = split
        self._affine = [_affine_form(expression, self.parameters) for expression in self.expressions]

    def angles(self, rows: np.ndarray) -> np.ndarray:
        """Evaluate the angles, `(R, G)`, at parameter sets `(R, P)`."""
        columns = [
            rows @ form[0] + form[1] if form else self._bind_each(expression, rows)
            for form, expression in zip(self._affine, self.expressions)
        ]
        return np.stack(columns, axis=1)

    def slopes(self, rows: np.ndarray) -> np.ndarray:
        """Evaluate the derivatives of the angles, `(R, G, P)`."""
        slopes = np.zeros((len(rows), len(self.expressions), len(self.parameters)))
        for gate, (form, expression) in enumerate(zip(self._affine, self.expressions)):
            if form:
                slopes[:, gate] = form[0]
                continue
            for parameter in expression.parameters:
                derivative = expression.gradient(parameter)
                slopes[:, gate, self.parameters.index(parameter)] = self._bind_each(derivative, rows)
        return slopes

    def _bind_each(self, expression: ParameterExpression | complex, rows: np.ndarray) -> np.ndarray:
        if not isinstance(expression, ParameterExpression):
            return np.full(len(rows), float(np.real(expression)))
        columns = {parameter: self.parameters.index(parameter) for parameter in expression.parameters}
        return np.array([float(expression.bind({p: row[c] for p, c in columns.items()})) for row in rows])


def _affine_form(expression: ParameterExpression, parameters: list[Parameter]) -> tuple[np.ndarray, float] | None:
    """Return slopes `(P,)` and offset if the expression is affine, else `None`."""
    slopes = np.zeros(len(parameters))
    for parameter in expression.parameters:
        slope = expression.gradient(parameter)
        if isinstance(slope, ParameterExpression) and slope.parameters:
            return None
        slopes[parameters.index(parameter)] = float(np.real(complex(slope)))
    return slopes, float(expression.bind(dict.fromkeys(expression.parameters, 0.0)))
