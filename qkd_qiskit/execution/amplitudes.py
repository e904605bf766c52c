"""A noiseless student that loads amplitudes needs no circuit to do it: its ansatz starts from the state itself."""

from __future__ import annotations

from typing import Any

import torch

from qkd_qiskit.exact import ExactConnector, ExactExpectation
from qkd_qiskit.quantum.circuit import StudentCircuit


class AmplitudeConnector(ExactConnector):
    """An exact layer that takes amplitudes in place of the angles of the tree that would load them.

    Without noise the tree prepares exactly the amplitudes that its angles were worked out from, so values and gradients
    are the same; at 8 qubits, where the tree has 255 rotations, a step takes a fifth of the time. Angles are taken as
    well: they go through the whole circuit.

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

    def forward(self, input_data: torch.Tensor | None = None) -> torch.Tensor:
        """Return the expectation values `(N, O)` of amplitudes `(N, 2^Q)` of norm 1, or of angles `(N, 2^Q - 1)`."""
        whole = self.expectation
        if input_data is not None and input_data.shape[-1] == self._from_state.num_inputs:
            self.expectation = self._from_state
        try:
            return super().forward(input_data)
        finally:
            self.expectation = whole
