"""Exact expectation values of a parametrised circuit for a batch of samples, with exact gradients."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp

from qkd_qiskit.exact.evaluation import Evaluation
from qkd_qiskit.exact.reuse import plan_once
from qkd_qiskit.exact.threads import one_blas_thread
from qkd_qiskit.exceptions import ConfigurationError

_NOTHING = nullcontext()


class ExactExpectation:
    """Expectation values of O observables, exact to float64, under an Aer noise model or without noise.

    The circuit is analysed once here; a call then evaluates a whole batch, and its gradient is a hand-written
    adjoint pass. Readout errors of the noise model act on the observables made of Z and I only, because these are
    what counts of one basis measure; others are given as Aer's own exact estimator gives them.

    Args:
        circuit: logical or ISA circuit of Q qubits (cropped to the ones in use), without measurements.
        observables: O operators on Q qubits.
        input_params: the F parameters that differ from sample to sample.
        weight_params: the P parameters that all samples share; together with the inputs all of the circuit's.
        noise_model: an Aer `NoiseModel` on the circuit's qubit numbers, or None.
        device: "cpu" (NumPy arrays), or any torch device such as "cuda".
        readout: False leaves the readout errors out, as Aer's `EstimatorV2` does.
        amplitude_inputs: True for inputs (N, 2^Q) that are the real amplitudes, of norm 1, of the state that the
            circuit starts from; input_params is empty then, and there is no noise.

    Raises:
        ConfigurationError: for an instruction that can't be represented, observables or a noise model for other
            qubits, or parameters that are missing, unknown or given twice.
    """

    def __init__(
        self,
        circuit: QuantumCircuit,
        observables: Sequence[SparsePauliOp],
        input_params: Sequence[Parameter],
        weight_params: Sequence[Parameter],
        *,
        noise_model: Any | None = None,
        device: str | torch.device = "cpu",
        readout: bool = True,
        amplitude_inputs: bool = False,
    ):
        self.input_params = list(input_params)
        self.weight_params = list(weight_params)
        _check_parameters(circuit, self.input_params, self.weight_params)
        self.device = torch.device(device)
        self.circuit = circuit
        self.observables = list(observables)
        self.noise_model = noise_model
        self.readout = readout
        self._evaluation = plan_once(
            circuit,
            observables,
            self.input_params,
            self.weight_params,
            noise_model,
            self.device,
            readout,
            amplitude_inputs,
        )
        self.num_inputs = 2**circuit.num_qubits if amplitude_inputs else len(self.input_params)

    @property
    def num_observables(self) -> int:
        """Number of observables O."""
        return self._evaluation.num_observables

    def __call__(self, inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return `forward(inputs, weights)`."""
        return self.forward(inputs, weights)

    def forward(self, inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return the expectation values, differentiable with respect to both arguments.

        Args:
            inputs: shape (N, F), or (F,) for one sample.
            weights: shape (P,).

        Returns:
            Expectation values (N, O), float64.

        Raises:
            ConfigurationError: for wrong shapes, NaN or infinite values.
        """
        inputs = inputs.reshape(1, -1) if inputs.ndim == 1 else inputs
        self._check(inputs, weights)
        if not len(inputs):
            return (inputs.sum() + weights.sum()).double() * inputs.new_zeros((0, self.num_observables)).double()
        return _ExpectationValues.apply(self._evaluation, inputs, weights)

    def values(self, inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the expectation values (N, O) for inputs (N, F) and weights (P,) as arrays, without autograd."""
        with torch.no_grad():
            return self.forward(torch.as_tensor(inputs), torch.as_tensor(weights)).cpu().numpy()

    def values_and_vjp(self, inputs: np.ndarray, weights: np.ndarray, cotangents: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return values (N, O) and the gradients for inputs (N, F) and weights (P,) of `sum(cotangents * values)`.

        The same as `forward` and its gradient, on arrays and without autograd's overhead (about 0.2 ms).

        Raises:
            ConfigurationError: for wrong shapes, NaN or infinite values.
        """
        x, w = torch.as_tensor(inputs, dtype=torch.float64), torch.as_tensor(weights, dtype=torch.float64)
        self._check(x, w)
        if np.shape(cotangents) != (len(x), self.num_observables):
            raise ConfigurationError(
                f"cotangents has shape {np.shape(cotangents)}, wanted ({len(x)}, {self.num_observables}): one number "
                "for each value."
            )
        if not len(x):
            return np.zeros((0, self.num_observables)), np.zeros(x.shape), np.zeros(w.shape)
        with _calm(self._evaluation, len(inputs)):
            values, found = self._evaluation.forward(x, w, True)
            assert found is not None
            grads = self._evaluation.backward(torch.as_tensor(cotangents, dtype=torch.float64), found, True)
        return values.cpu().numpy(), *(grad.numpy() for grad in grads)

    def sample(
        self, inputs: np.ndarray, weights: np.ndarray, shots: int, seed: int | np.random.Generator | None = None
    ) -> np.ndarray:
        """Return estimates (N, O) from a finite number of shots; see `sample_expectation_values`."""
        from qkd_qiskit.exact.sampling import sample_expectation_values

        return sample_expectation_values(self, inputs, weights, shots, seed=seed)

    def _check(self, inputs: torch.Tensor, weights: torch.Tensor) -> None:
        if inputs.ndim != 2 or inputs.shape[1] != self.num_inputs:
            raise ConfigurationError(
                f"inputs has shape {tuple(inputs.shape)}, wanted (N, {self.num_inputs}): one column for each input."
            )
        if weights.shape != (len(self.weight_params),):
            raise ConfigurationError(f"weights has shape {tuple(weights.shape)}, wanted ({len(self.weight_params)},).")


class _ExpectationValues(torch.autograd.Function):
    """The autograd node: one evaluation forward, one adjoint pass backward."""

    @staticmethod
    def forward(ctx: Any, evaluation: Evaluation, inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        ctx.evaluation = evaluation
        ctx.like = (inputs, weights)
        keep = any(ctx.needs_input_grad)
        ctx.versions = _versions(ctx.like) if keep else None
        with _calm(evaluation, len(inputs)):
            values, ctx.saved = evaluation.forward(inputs, weights, keep)
        return values

    @staticmethod
    def backward(ctx: Any, cotangents: torch.Tensor) -> tuple:
        # `once_differentiable` costs 20 us; it has something to refuse only if a graph of this pass is being made
        return (_go_back_once if torch.is_grad_enabled() else _go_back)(ctx, cotangents)


def _go_back(ctx: Any, cotangents: torch.Tensor) -> tuple:
    inputs, weights = ctx.like
    if _versions(ctx.like) != ctx.versions:
        raise RuntimeError(
            "inputs or weights were modified by an inplace operation (an optimizer's step, say) after the values were "
            "computed, so their gradient is lost. Compute the values anew, or modify a clone."
        )
    with _calm(ctx.evaluation, len(inputs)):
        input_grad, weight_grad = ctx.evaluation.backward(cotangents, ctx.saved, ctx.needs_input_grad[1])
    return None, _like(input_grad, inputs), _like(weight_grad, weights)


def _versions(tensors: tuple[torch.Tensor, ...]) -> list[int]:
    """Return how often tensors were modified whose memory a pass shares; others are copied, and may be."""
    return [0 if tensor.dtype is not torch.float64 or tensor.is_inference() else tensor._version for tensor in tensors]


def _calm(evaluation: Evaluation, num_samples: int) -> AbstractContextManager[None]:
    """Return what keeps BLAS from sharing small products among threads."""
    return _NOTHING if evaluation.is_compiled else one_blas_thread(evaluation.is_small(num_samples))


def _like(tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return tensor if other.dtype is torch.float64 and other.is_cpu else tensor.to(other)


_go_back_once = torch.autograd.function.once_differentiable(_go_back)


def _check_parameters(circuit: QuantumCircuit, inputs: list[Parameter], weights: list[Parameter]) -> None:
    given = [*inputs, *weights]
    if len(set(given)) < len(given):
        twice = next(param for position, param in enumerate(given) if param in given[:position])
        raise ConfigurationError(f"Parameter {twice.name!r} is given twice among input_params and weight_params.")
    missing = [param.name for param in circuit.parameters if param not in set(given)]
    if missing:
        raise ConfigurationError(
            f"The circuit's parameter {missing[0]!r} ({len(missing)} in all) is in neither input_params nor "
            "weight_params. List every parameter of the circuit in one of them."
        )
    unknown = [param.name for param in given if param not in set(circuit.parameters)]
    if unknown:
        raise ConfigurationError(
            f"Parameter {unknown[0]!r} is not in the circuit. Leave it out, or check that transpiling kept it."
        )
