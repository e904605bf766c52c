"""Rotation angles as functions of inputs and weights, evaluated and differentiated for a whole batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
        self._rows: dict[bool, list[tuple[float, Any]]] = {True: [], False: []}
        self._ids: dict[Any, tuple[int, bool]] = {}

    def add(self, expression: ParameterExpression, scale: float) -> tuple[int, bool]:
        """Register the angle `scale * expression`; return its number and whether it differs between samples."""
        key = (round(scale, 12), str(expression), expression)
        if key not in self._ids:
            sampled = any(self._column[param] < self.num_inputs for param in expression.parameters)
            self._ids[key] = (len(self._rows[sampled]), sampled)
            self._rows[sampled].append((scale, expression))
        return self._ids[key]

    def compile(self) -> "Angles":
        """Return the evaluator of all angles added so far."""
        own, shared = (self._compile_rows(self._rows[sampled]) for sampled in (True, False))
        return Angles(own, shared, self.num_inputs)

    def _compile_rows(self, rows: list[tuple[float, Any]]) -> "_Rows":
        slopes, offset = np.zeros((len(rows), len(self.params))), np.zeros(len(rows))
        curved = []
        for row, (scale, expression) in enumerate(rows):
            gradient = {param: expression.gradient(param) for param in expression.parameters}
            if all(isinstance(slope, int | float) for slope in gradient.values()):
                for param, slope in gradient.items():
                    slopes[row, self._column[param]] = scale * slope
                offset[row] = scale * _constant_part(expression)
            else:
                curved.append((row, scale, _Curve(expression, self._column)))
        return _Rows(slopes, offset, curved)


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
                "and elementary functions, or use Aer's EstimatorV2 (in training: --engine aer)."
            )


@dataclass
class _Rows:
    """Angles as affine functions, slopes (A, F + P) and offset (A,), except for the curved ones among them."""

    slopes: Array
    offset: Array
    curved: list[tuple[int, float, _Curve]]

    def terms(self) -> tuple[Array, Array] | tuple[None, None]:
        """Return for each angle the number of its terms and their columns, and offset and slopes.

        None if there are no angles, or any is curved.
        """
        if self.curved or not len(self.offset):
            return None, None
        index, numbers = [], []
        for slopes, offset in zip(self.slopes, self.offset):
            columns = np.flatnonzero(slopes)
            index += [len(columns), *columns]
            numbers += [offset, *slopes[columns]]
        return np.array(index, dtype=np.int64), np.array(numbers, dtype=float)


class Angles:
    """Values and vector-Jacobian products of the A samples' own and the B shared angles.

    Args:
        own: the angles that an input stands in.
        shared: the angles of weights only.
        num_inputs: F.
    """

    def __init__(self, own: _Rows, shared: _Rows, num_inputs: int):
        self.num_inputs = num_inputs
        self.num_weights = own.slopes.shape[1] - num_inputs
        self.num_own = len(own.offset)
        self.num_shared = len(shared.offset)
        self._own = own
        self._shared = shared
        self._input_slopes = own.slopes[:, :num_inputs]
        self._weight_slopes = own.slopes[:, num_inputs:]
        self.own_use_weights = bool(self._weight_slopes.any() or own.curved)
        self._shared_slopes = np.ascontiguousarray(shared.slopes[:, num_inputs:])

    def own_terms(self) -> tuple[Array, Array] | tuple[None, None]:
        """Return the own angles as `_Rows.terms`."""
        return self._own.terms()

    def shared_terms(self) -> tuple[Array, Array] | tuple[None, None]:
        """Return the shared angles as `_Rows.terms`."""
        return self._shared.terms()

    def shared_values(self, weights: Array) -> Array:
        """Return the shared angles, shape (B,), for weights (P,)."""
        angles = self._shared_slopes @ weights + self._shared.offset
        for row, scale, curve in self._shared.curved:
            angles[row] = scale * curve.value(*self._arguments(curve, None, weights))
        return angles

    def own_values(self, inputs: Array, weights: Array) -> Array:
        """Return the samples' own angles, shape (A, N), for inputs (N, F) and weights (P,)."""
        offset = self._weight_slopes @ weights + self._own.offset if self.own_use_weights else self._own.offset
        angles = self._input_slopes @ inputs.T + offset[:, None]
        for row, scale, curve in self._own.curved:
            angles[row] = scale * curve.value(*self._arguments(curve, inputs, weights))
        return angles

    def _arguments(self, curve: _Curve, inputs: Array | None, weights: Array) -> list:
        """Return the curve's parameters, each of shape (N,) or a number."""
        split = self.num_inputs
        return [weights[c - split] if inputs is None or c >= split else inputs[:, c] for c in curve.columns]

    def shared_vjp(self, slopes: Array, weights: Array) -> Array:
        """Return the gradient for weights (P,) from that of the shared angles (B,)."""
        grad = slopes @ self._shared_slopes
        for row, scale, curve in self._shared.curved:
            arguments = self._arguments(curve, None, weights)
            for column, slope in zip(curve.columns, curve.slopes):
                grad[column - self.num_inputs] += scale * slopes[row] * slope(*arguments)
        return grad

    def own_vjp(self, slopes: Array, inputs: Array, weights: Array) -> tuple[Array, Array]:
        """Return the gradients for inputs (N, F) and weights (P,) from those of the samples' own angles (A, N)."""
        input_grad = slopes.T @ self._input_slopes
        weight_grad = slopes.sum(axis=1) @ self._weight_slopes if self.own_use_weights else np.zeros(len(weights))
        for row, scale, curve in self._own.curved:
            arguments = self._arguments(curve, inputs, weights)
            for column, slope in zip(curve.columns, curve.slopes):
                part = scale * slopes[row] * slope(*arguments)
                if column < self.num_inputs:
                    input_grad[:, column] += part
                else:
                    weight_grad[column - self.num_inputs] += part.sum()
        return input_grad, weight_grad
