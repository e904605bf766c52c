"""A `TorchConnector` that takes vector-Jacobian products straight from the exact engine."""

from typing import Any

import numpy as np
import torch
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN

from qkd_qiskit.exact.estimator import ExactEstimator
from qkd_qiskit.exact.expectation import ExactExpectation
from qkd_qiskit.exceptions import ConfigurationError


class ExactConnector(TorchConnector):
    """Drop-in for `TorchConnector(qnn)`: the same parameters, exact values and gradients, no Jacobian.

    Gradients for the inputs are given whenever the input tensor wants them, whatever `qnn.input_gradients` says.

    Args:
        qnn: its circuit, observables, input and weight parameters are used; its estimator isn't run.
        initial_weights: shape (P,); uniformly random in [-1, 1] if None.
        noise_model: an Aer `NoiseModel` on the circuit's qubit numbers. None takes over the noise of a QNN whose
            estimator is an `ExactEstimator`, and means no noise otherwise.
        device: where to compute, "cpu" or any torch device.
        dtype: of weights and results; None for torch's default, torch.float64 to keep all digits.

    Raises:
        ConfigurationError: if it isn't an `EstimatorQNN`, or its circuit can't be evaluated exactly.
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
        values = self.expectation(inputs, self._weights)
        values = values.to(device=inputs.device, dtype=self._weights.dtype)
        return values[0] if inputs.ndim == 1 else values
