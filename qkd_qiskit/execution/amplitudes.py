"""A noiseless student that loads amplitudes needs no circuit to do it: its ansatz starts from the state itself."""

from __future__ import annotations

from typing import Any

import torch

from qkd_qiskit.exact import ExactConnector, ExactExpectation
from qkd_qiskit.quantum.circuit import StudentCircuit


class AmplitudeConnector(ExactConnector):
    """An exact layer that takes amplitudes in place of the angles of the tree that would load them.

    Without noise the tree prepares exactly the amplitudes that its angles were worked out from, so values and gradients
    are the same (but for the gradient of a black image, which is zero here); at 8 qubits, where the tree has 255
    rotations, a step takes a fifth of the time. Angles are taken as well: they go through the whole circuit.

    Args:
        *arguments: as for `ExactConnector`.
        ansatz: what follows the encoding; the same weights, no inputs.
        **options: as for `ExactConnector`.
    """

    takes_amplitudes = True

    def __init__(self, *arguments: Any, ansatz: StudentCircuit, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._from_state = ExactExpectation(
            ansatz.circuit,
            list(ansatz.observables),
            [],
            list(ansatz.weight_params),
            device=self.expectation.device,
            amplitude_inputs=True,
        )

    def _choose(self, inputs: torch.Tensor) -> ExactExpectation:
        """Return what evaluates amplitudes `(N, 2^Q)` of norm 1, or angles `(N, 2^Q - 1)`: their widths differ."""
        return self._from_state if inputs.shape[-1] == self._from_state.num_inputs else self.expectation
