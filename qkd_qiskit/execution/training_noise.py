"""Noise for training only: a noise scale drawn anew each step, and Gaussian noise on angles and expectation values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from qiskit_aer.noise import NoiseModel
from torch import nn

from qkd_qiskit.exact import ExactConnector, ExactExpectation


class DrawnNoiseConnector(ExactConnector):
    """An exact layer that computes under another noise model at each step of training, drawn by torch's generator.

    In evaluation it is `ExactConnector` under its own model. There is one weight tensor, whatever is drawn.

    Args:
        *arguments: as for `ExactConnector`.
        drawn: noise models on the circuit's own qubits, each as likely as the others; `None` is no noise.
        **options: as for `ExactConnector`.
    """

    def __init__(self, *arguments: Any, drawn: Sequence[NoiseModel | None], **options: Any) -> None:
        super().__init__(*arguments, **options)
        own = self.expectation
        self._drawn = [
            ExactExpectation(
                own.circuit,
                own.observables,
                own.input_params,
                own.weight_params,
                noise_model=model,
                device=own.device,
                readout=own.readout,
            )
            for model in drawn
        ]

    def _choose(self, inputs: torch.Tensor) -> ExactExpectation:
        """Return what evaluates under a noise model that is drawn now, in evaluation mode under its own."""
        return self._drawn[int(torch.randint(len(self._drawn), ()))] if self.training else self.expectation


def inject_noise(layer: nn.Module, *, values: float = 0.0, angles: float = 0.0) -> None:
    """Add Gaussian noise to what a layer gets and gives while it is in training mode.

    The second and third of the three ways of noise injection in Wang et al., arXiv 2110.11331, section 3.2 (on
    measurement outcomes, on rotation angles); the first, inserting gates, is what a noise model does exactly.

    Args:
        layer: angles `(N, A)` to expectation values `(N, O)`; changed in place, its weights are not.
        values: standard deviation on the expectation values; 0 for none.
        angles: standard deviation on the angles, in radians; 0 for none.
    """
    if angles:
        layer.register_forward_pre_hook(
            lambda module, given: tuple(_disturb(item, angles) for item in given) if module.training else given
        )
    if values:
        layer.register_forward_hook(lambda module, given, found: _disturb(found, values) if module.training else found)


def _disturb(table: torch.Tensor, deviation: float) -> torch.Tensor:
    return table + deviation * torch.randn_like(table)
