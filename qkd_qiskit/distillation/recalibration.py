"""A head fitted anew to measured expectation values: what noise did to them is undone as far as a head can."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from qkd_qiskit.distillation.losses import Objective
from qkd_qiskit.exceptions import ConfigurationError

CONVEX = ("ce", "kd", "paper", "label_smoothing")
"""Losses that are convex in an affine head's weights: their minimum does not depend on where the search begins."""
RIDGE = 1e-4
"""Weight of the squared norm of the weights on standardised values: without it, separable classes have no minimum."""


def refit_head(
    head: nn.Module,
    values: np.ndarray,
    labels: torch.Tensor,
    objective: Objective | None = None,
    teacher_logits: torch.Tensor | None = None,
) -> nn.Module:
    """Fit an affine head to expectation values: multinomial logistic regression, with soft targets if there are any.

    Deterministic, from zero weights, by LBFGS in float64. A `normalised` head gets the statistics of these values.

    Args:
        head: `affine` or `normalised`; left as it is.
        values: measured expectation values `(N, O)`.
        labels: `(N,)`.
        objective: what to minimise; cross-entropy with the labels if `None`, or if it is not one of `CONVEX`.
        teacher_logits: `(N, K)`, if the objective needs them.

    Returns:
        A new head, in evaluation mode.

    Raises:
        ConfigurationError: the head has no weights, or the values are too few.
    """
    fitted = copy.deepcopy(head).cpu().double().eval()
    check_refittable(fitted)
    table = torch.as_tensor(np.asarray(values), dtype=torch.float64)
    if len(table) < 2:
        raise ConfigurationError(f"a head can't be fitted to {len(table)} images; give --recalibrate 500, say")
    mean, deviation = table.mean(0), table.std(0).clamp_min(1e-6)
    linear = [module for module in fitted.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        for module in fitted.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.copy_(mean)  # type: ignore[union-attr]
                module.running_var.copy_(deviation**2)  # type: ignore[union-attr]
        inputs = nn.Sequential(*list(fitted.children())[:-1])(table)
    centre, spread = inputs.mean(0), inputs.std(0).clamp_min(1e-6)
    if objective is None or objective.name not in CONVEX:
        objective, teacher_logits = Objective("ce"), None
    soft = None if teacher_logits is None else teacher_logits.cpu().double()
    weight, bias = _minimise((inputs - centre) / spread, labels.cpu(), objective, soft, linear.out_features)
    with torch.no_grad():
        linear.weight.copy_(weight / spread)
        linear.bias.copy_(bias - linear.weight @ centre)
    return fitted.to(next(head.parameters()))


def check_refittable(head: nn.Module) -> None:
    """Find out whether a head can be fitted anew.

    Raises:
        ConfigurationError: it has no weights.
    """
    if not any(isinstance(module, nn.Linear) for module in head.modules()):
        raise ConfigurationError("the paper's head has no weights to fit anew; train with --set student.head=affine")


def _minimise(
    inputs: torch.Tensor, labels: torch.Tensor, objective: Objective, soft: torch.Tensor | None, classes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    weight = torch.zeros(classes, inputs.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS(
        [weight, bias],
        max_iter=500,
        history_size=20,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def evaluate() -> torch.Tensor:
        search.zero_grad()
        loss = objective(inputs @ weight.T + bias, labels, soft).total + RIDGE * (weight**2).sum()
        loss.backward()
        return loss

    search.step(evaluate)
    return weight.detach(), bias.detach()


def mix_soft_labels(logits: Sequence[torch.Tensor], weights: Sequence[float], temperature: float) -> torch.Tensor:
    """Return logits whose softened distribution is the mixture of several teachers' softened distributions.

    `T log sum_i w_i softmax(z_i / T)`: distilling them has the gradient of the weighted sum of the divergences.

    Args:
        logits: `(N, K)` each.
        weights: of the teachers, positive, with sum 1.
        temperature: `T`.
    """
    softened = [torch.log_softmax(item / temperature, dim=1) + float(np.log(w)) for item, w in zip(logits, weights)]
    return temperature * torch.logsumexp(torch.stack(softened), dim=0)
