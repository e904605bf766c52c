"""The classical control: what a layer with as many weights and outputs as the circuit, but no qubits, can do."""

from __future__ import annotations

import math

import torch
from torch import nn


class ClassicalControl(nn.Module):
    """`tanh(R2 (w * (R1 x)))`: fixed random matrices around `P` trained weights, bounded like expectation values.

    Between the matrices are `max(P, F)` values, so that they pass on all of `x`, as a circuit does; with fewer weights
    than features they share weights: value `j` is scaled by `w[j mod P]`. Without weights it is a fixed `tanh(R x)`.
    `x` is what the circuit takes of a sample: amplitudes of norm 1, or bounded angles (of `zz` the qubits' own, the
    pairs' being products of them). `R1` is drawn from a normal distribution and divided by the largest norm of `x`,
    `R2` by the root of the number of values between, so that tanh does not saturate. Both are buffers: a checkpoint
    holds them.

    With `P` values in the middle whatever `F` (56 for 256 amplitudes of 8 qubits and three layers) the control loses
    what the circuit is given: it was up to 3 points worse on MNIST behind fixed reductions, and the circuit looked good
    beside it.

    Args:
        num_inputs: `F`, columns of `x`.
        weights: initial `(P,)`: the circuit's, so that both start alike.
        num_outputs: `O`.
        largest: largest norm of a row of `x`.
    """

    def __init__(self, num_inputs: int, weights: torch.Tensor, num_outputs: int, largest: float) -> None:
        super().__init__()
        count = len(weights)
        self.weight = nn.Parameter(weights.clone())
        width = max(count, num_inputs) if count else num_outputs
        inner = torch.randn(width, num_inputs) / largest
        outer = torch.randn(num_outputs, width) / math.sqrt(width) if count else torch.zeros(num_outputs, 0)
        self.register_buffer("inner", inner)
        self.register_buffer("outer", outer)
        self.inner: torch.Tensor
        self.outer: torch.Tensor

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs `(N, F)` to values `(N, O)` in (-1, 1)."""
        hidden = inputs @ self.inner.T
        if not len(self.weight):
            return torch.tanh(hidden)
        width = hidden.shape[-1]
        scales = self.weight.repeat(-(-width // len(self.weight)))[:width]
        return torch.tanh((scales * hidden) @ self.outer.T)
