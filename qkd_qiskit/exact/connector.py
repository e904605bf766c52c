"""A `TorchConnector` that takes vector-Jacobian products straight from the exact engine."""

from typing import Any

import numpy as np
import torch
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN

from qkd_qiskit.exact.estimator import ExactEstimator
from qkd_qiskit.exact.expectation import ExactExpectation
from qkd_qiskit.exact.gradient import ExactEstimatorGradient
from qkd_qiskit.exceptions import ConfigurationError


class ExactConnector(TorchConnector):
    """Drop-in for `TorchConnector(qnn)`: the same parameters, exact values and gradients, no Jacobian.

    Gradients for the inputs are given whenever the input tensor wants them, whatever `qnn.input_gradients` says.

    Args:
        qnn: its circuit, observables, input and weight parameters are used; its estimator isn't run.
        initial_weights: shape (P,); uniformly random in [-1, 1] if None.
        noise_model: an Aer `NoiseModel` on the circuit's qubit numbers. None takes over the noise of a QNN whose
            estimator is an `ExactEstimator`; one whose estimator may have noise of its own then is refused. An empty
            `NoiseModel()` leaves all noise out.
        device: where to compute, "cpu" or any torch device.
        dtype: of weights and results; None for torch's default, torch.float64 to keep all digits.

    Raises:
        ConfigurationError: if it isn't an `EstimatorQNN`, its circuit can't be evaluated exactly, or what noise it has
            is not known: its estimator is another one, or contradicts its `ExactEstimatorGradient`.
    """

    def __init__(
        self,
        qnn: EstimatorQNN,
        initial_weights: np.ndarray | torch.Tensor | None = None,
        *,
        noise_model: Any | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ):
        if not isinstance(qnn, EstimatorQNN):
            raise ConfigurationError(
                f"ExactConnector was given a {type(qnn).__name__}; it evaluates an EstimatorQNN's circuit and "
                "observables. Use TorchConnector for other networks."
            )
        super().__init__(qnn, None if initial_weights is None else np.zeros(0))
        if noise_model is None:
            _check_estimator(qnn.estimator)
            _check_gradient(qnn.estimator, qnn.gradient)
        readout = True
        if isinstance(qnn.estimator, ExactEstimator):
            noise_model = qnn.estimator.noise_model if noise_model is None else noise_model
            readout = qnn.estimator.readout
        self.expectation = ExactExpectation(
            qnn.circuit,
            [SparsePauliOp(observable) for observable in qnn.observables or ()],
            list(qnn.input_params or ()),
            list(qnn.weight_params or ()),
            noise_model=noise_model,
            device=device,
            readout=readout,
        )
        self._set_weights(initial_weights, dtype or torch.get_default_dtype())

    def _set_weights(self, initial_weights: np.ndarray | torch.Tensor | None, dtype: torch.dtype) -> None:
        count = self.neural_network.num_weights
        if initial_weights is None:
            self._weights.data = self._weights.data.to(dtype)
            return
        weights = torch.as_tensor(initial_weights, dtype=dtype).detach().clone()
        if weights.shape != (count,):
            raise ConfigurationError(f"initial_weights has shape {tuple(weights.shape)}, wanted ({count},).")
        self._weights.data = weights

    def forward(self, input_data: torch.Tensor | None = None) -> torch.Tensor:
        """Return the expectation values.

        Args:
            input_data: shape (N, F) or (F,); None if the network has no inputs.

        Returns:
            Shape (N, O), or (O,) for one sample, in the weights' dtype, where the inputs are.
        """
        inputs = self._weights.new_zeros((1, 0)) if input_data is None else input_data
        values = self._choose(inputs)(inputs, self._weights)
        values = values.to(device=inputs.device, dtype=self._weights.dtype)
        return values[0] if inputs.ndim == 1 else values

    def _choose(self, inputs: torch.Tensor) -> ExactExpectation:
        """Return what evaluates these inputs; subclasses have several."""
        return self.expectation


def _check_estimator(estimator: Any) -> None:
    """Refuse an estimator whose noise can't be taken over, unless it is known to have none.

    Raises:
        ConfigurationError: it is neither exact nor Aer's without noise.
    """
    if isinstance(estimator, ExactEstimator | StatevectorEstimator):
        return
    kind = type(estimator)
    aers = kind.__module__.startswith("qiskit_aer.")
    if aers and all(_is_ideal(model) for model in _list_aer_noise(estimator)):
        return
    known = "has a noise model, which" if aers else "may have noise, which"
    raise ConfigurationError(
        f"The network's estimator, a {kind.__module__.partition('.')[0]} {kind.__name__}, {known} ExactConnector does "
        "not take over. Give ExactConnector(qnn, noise_model=...), with NoiseModel() for no noise, or build the "
        "EstimatorQNN with estimator=ExactEstimator(noise_model) and gradient=ExactEstimatorGradient(noise_model); "
        "readout=False in both leaves readout errors out, as Aer's EstimatorV2 does."
    )


def _list_aer_noise(estimator: Any) -> list[Any]:
    """Return the noise models that an Aer estimator runs with, in its options or in its simulator's."""
    options = getattr(estimator, "options", None)
    tables = [getattr(options, name, None) or {} for name in ("backend_options", "run_options")]
    backend = getattr(getattr(estimator, "_backend", None), "options", None)
    return [*(table.get("noise_model") for table in tables), getattr(backend, "noise_model", None)]


def _check_gradient(estimator: Any, gradient: Any) -> None:
    """Refuse an exact gradient under other noise than the estimator's: training would follow neither of them.

    Raises:
        ConfigurationError: their noise models differ, or only one of them has readout errors.
    """
    if not isinstance(gradient, ExactEstimatorGradient):
        return
    ours = estimator.noise_model if isinstance(estimator, ExactEstimator) else None
    readout = estimator.readout if isinstance(estimator, ExactEstimator) else gradient.readout
    theirs = gradient.noise_model
    if _is_ideal(ours) and _is_ideal(theirs):
        return
    if (ours is theirs or ours == theirs) and readout == gradient.readout:
        return
    raise ConfigurationError(
        "The network's estimator and its ExactEstimatorGradient have different noise. Give both the same noise_model "
        "and readout: estimator=ExactEstimator(noise_model), gradient=ExactEstimatorGradient(noise_model); or say "
        "which one counts with ExactConnector(qnn, noise_model=...)."
    )


def _is_ideal(noise_model: Any) -> bool:
    return noise_model is None or bool(getattr(noise_model, "is_ideal", bool)())
