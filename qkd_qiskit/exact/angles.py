"""Rotation angles as functions of inputs and weights, evaluated and differentiated for a whole batch."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from qiskit.circuit import Parameter, ParameterExpression

from qkd_qiskit.exceptions import ConfigurationError

Array = np.ndarray


class AngleTable:
    """Collects the angles of a circuit; later evaluates them all in one matrix product.

    Args:
        input_params: the F parameters that differ from sample to sample.
        weight_params: the P parameters that all samples share.
    """

    def __init__(self, input_params: Sequence[Parameter], weight_params: Sequence[Parameter]):
        self.params = [*input_params, *weight_params]
        self.num_inputs = len(input_params)
        self._column = {param: column for column, param in enumerate(self.params)}
        self._rows: list[tuple[float, Any]] = []
        self._ids: dict[Any, int] = {}
        self.sampled: list[bool] = []

    def add(self, expression: ParameterExpression, scale: float) -> int:
        """Register the angle `scale * expression` and return its number."""
        key = (round(scale, 12), str(expression), expression)
        if key not in self._ids:
            self._ids[key] = len(self._rows)
            self._rows.append((scale, expression))
            self.sampled.append(any(self._column[param] < self.num_inputs for param in expression.parameters))
        return self._ids[key]

    def compile(self) -> "Angles":
        """Return the evaluator of all angles added so far."""
        affine = np.zeros((len(self._rows), len(self.params)))
        offset = np.zeros(len(self._rows))
        curved = []
        for row, (scale, expression) in enumerate(self._rows):
            slopes = {param: expression.gradient(param) for param in expression.parameters}
            if all(isinstance(slope, int | float) for slope in slopes.values()):
                for param, slope in slopes.items():
                    affine[row, self._column[param]] = scale * slope
                offset[row] = scale * _constant_part(expression)
            else:
                curved.append((row, scale, _Curve(expression, self._column)))
        return Angles(affine, offset, curved, self.num_inputs, np.array(self.sampled, dtype=bool))


def _constant_part(expression: ParameterExpression) -> float:
    """Return the value of an expression with every parameter at zero."""
    value = expression.bind(dict.fromkeys(expression.parameters, 0.0))
    return float(value.numeric() if isinstance(value, ParameterExpression) else value)


class _Curve:
    """A non-affine expression, compiled once to array functions of the parameters it needs.

    The slopes are sympy's own: `ParameterExpression.gradient(...).sympify()` names the wrong symbol (Qiskit 2.6).
    """

    def __init__(self, expression: ParameterExpression, column: dict[Parameter, int]):
        import sympy

        order = sorted(expression.parameters, key=column.__getitem__)
        symbols = [param.sympify() for param in order]
        formula = expression.sympify()
        self.columns = [column[param] for param in order]
        self.value: Callable = sympy.lambdify(symbols, formula, modules="numpy")
        self.slopes: list[Callable] = [
            sympy.lambdify(symbols, sympy.diff(formula, symbol), modules="numpy") for symbol in symbols
        ]
        self._check(expression, order)

    def _check(self, expression: ParameterExpression, order: Sequence[Parameter]) -> None:
        probe = [0.3 + 0.17 * position for position in range(len(order))]
        wanted = complex(expression.bind(dict(zip(order, probe))).numeric())
        if abs(wanted - self.value(*probe)) > 1e-12:
            raise ConfigurationError(
                f"The parameter expression {expression} can't be evaluated for a batch. Write it with sums, products "
                "and elementary functions, or use --engine aer."
            )


class Angles:
    """Values and vector-Jacobian products of A angles.

    Args:
        affine: slopes, shape (A, F + P).
        offset: constants, shape (A,).
        curved: the rows that are no affine function, as (row, scale, curve).
        num_inputs: F.
        sampled: which angles differ from sample to sample, shape (A,).
    """

    def __init__(self, affine: Array, offset: Array, curved: list, num_inputs: int, sampled: Array):
        self.num_inputs = num_inputs
        self.sampled = sampled
        self._input_slopes = affine[:, :num_inputs]
        self._weight_slopes = affine[:, num_inputs:]
        self._offset = offset
        self._curved = curved

    def values(self, inputs: Array, weights: Array) -> Array:
        """Return the angles, shape (A, N), for inputs (N, F) and weights (P,)."""
        shared = self._weight_slopes @ weights + self._offset
        angles = self._input_slopes @ inputs.T + shared[:, None]
        for row, scale, curve in self._curved:
            angles[row] = scale * curve.value(*self._arguments(curve, inputs, weights))
        return angles

    def _arguments(self, curve: _Curve, inputs: Array, weights: Array) -> list:
        """Return the curve's parameters, each of shape (N,) or a number."""
        split = self.num_inputs
        return [inputs[:, c] if c < split else weights[c - split] for c in curve.columns]

    def vjp(self, slopes: Array, inputs: Array, weights: Array) -> tuple[Array, Array]:
        """Return the gradients for inputs (N, F) and weights (P,) from angle gradients (A, N).

        A gradient of an angle that all samples share may stand in any one column.
        """
        input_grad = slopes.T @ self._input_slopes
        weight_grad = slopes.sum(axis=1) @ self._weight_slopes
        for row, scale, curve in self._curved:
            arguments = self._arguments(curve, inputs, weights)
            for column, slope in zip(curve.columns, curve.slopes):
                part = scale * slopes[row] * slope(*arguments)
                if column < self.num_inputs:
                    input_grad[:, column] += part
                else:
                    weight_grad[column - self.num_inputs] += part.sum()
        return input_grad, weight_grad
