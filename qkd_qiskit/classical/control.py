"""Classical controls: what layers with as many weights and outputs as the circuit, but no qubits, can do."""

from __future__ import annotations

import math

import torch
from torch import nn

BEND = 2.0
"""How far the first tanh of a nonlinear control is driven: it maps normal values of this standard deviation at most.

1 and 2 did alike on validation images of the second version's inputs behind a linear layer; 2 bends more.
"""


class ClassicalControl(nn.Module):
    """`tanh(R2 (w * f(R1 x)))`: fixed random matrices around `P` trained weights, bounded like expectation values.

    `f` is the identity, or tanh if `nonlinear`. The first is nearly an affine map as a whole: `R2` keeps the outer tanh
    from bending much. The second bends amplitudes well, and bounded angles, which seldom have the largest norm, less.
    Both are odd functions of `x`, while expectation values are even (quadratic) in amplitudes: a fixed map of that form
    is the frozen circuit, which is a control as well.

    Between the matrices are `max(P, F)` values, so that none narrower than `x` stands in the way; with fewer weights
    than features they share weights: value `j` is scaled by `w[j mod P]`. Without weights it is `tanh(R1 x)` alone. `x`
    is what the circuit takes of a sample: amplitudes of norm 1, or bounded angles (of `zz` the qubits' own, the pairs'
    being products of them). Both matrices are drawn from a normal distribution; `R1` is divided by the largest norm of
    `x` (and multiplied by `BEND` if nonlinear), `R2` by the root of the number of values between. Both are buffers: a
    checkpoint holds them.

    Args:
        num_inputs: `F`, columns of `x`.
        weights: initial `(P,)`: the circuit's, so that both start alike.
        num_outputs: `O`.
        largest: largest norm of a row of `x`.
        nonlinear: whether the values between the matrices are bent, too.
    """

    def __init__(
        self, num_inputs: int, weights: torch.Tensor, num_outputs: int, largest: float, *, nonlinear: bool = False
    ) -> None:
        super().__init__()
        self.nonlinear = nonlinear
        count = len(weights)
        self.weight = nn.Parameter(weights.clone())
        width = max(count, num_inputs) if count else num_outputs
        inner = torch.randn(width, num_inputs) / largest * (BEND if nonlinear else 1.0)
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
        return torch.tanh((scales * (hidden.tanh() if self.nonlinear else hidden)) @ self.outer.T)
