"""Heads fitted anew: against scipy's optimiser, what a known distortion must give, and mixtures of soft labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from torch import nn

from qkd_qiskit.distillation.losses import Objective, soft_divergence
from qkd_qiskit.distillation.recalibration import RIDGE, mix_soft_labels, refit_head
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.quantum.heads import build_head

GENERATOR = np.random.default_rng(2)
TRUE = 3 * GENERATOR.normal(size=(3, 5))
VALUES = GENERATOR.uniform(-1, 1, (400, 5))
LOGITS = VALUES @ TRUE.T
LABELS = torch.from_numpy(np.array([GENERATOR.choice(3, p=row) for row in softmax(LOGITS, axis=1)]))
TEACHER = torch.from_numpy(LOGITS)


def ask(head: nn.Module, values: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return head.double()(torch.from_numpy(values)).numpy()


@pytest.mark.parametrize("objective", [None, Objective("kd", 2.0, 0.7), Objective("dkd")])
def test_the_fit_is_the_minimum_that_scipy_finds(objective: Objective | None) -> None:
    """Written out again: (1 - a) CE + a T^2 KL plus the ridge on standardised values; any other is CE."""
    spread = VALUES.std(0, ddof=1)
    inputs, soft = (VALUES - VALUES.mean(0)) / spread, objective is not None and objective.name == "kd"
    alpha, temperature = (0.7, 2.0) if soft else (0.0, 1.0)
    target = log_softmax(LOGITS / temperature, axis=1)

    def loss(flat: np.ndarray) -> float:
        weight, bias = flat[:15].reshape(3, 5), flat[15:]
        logits = inputs @ weight.T + bias
        task = -log_softmax(logits, axis=1)[np.arange(400), LABELS.numpy()].mean()
        divergence = (np.exp(target) * (target - log_softmax(logits / temperature, axis=1))).sum(1).mean()
        return (1 - alpha) * task + alpha * temperature**2 * divergence + RIDGE * (weight**2).sum()

    wanted = minimize(loss, np.zeros(18), method="BFGS", options={"gtol": 1e-6}).x
    head = refit_head(build_head("affine", 2, 5, 3).double(), VALUES, LABELS, objective, TEACHER)
    found = ask(head, VALUES)
    centred = inputs @ wanted[:15].reshape(3, 5).T + wanted[15:]
    np.testing.assert_allclose(
        found - found.mean(1, keepdims=True), centred - centred.mean(1, keepdims=True), atol=2e-3
    )


@pytest.mark.parametrize("name", ["affine", "normalised"])
def test_a_distortion_that_a_head_can_undo_is_undone(name: str) -> None:
    distorted = 0.4 * VALUES + GENERATOR.uniform(-0.2, 0.2, 5)
    head = build_head(name, 2, 5, 3)
    before = {key: value.clone() for key, value in head.state_dict().items()}
    plain, anew = (refit_head(head, values, LABELS) for values in (VALUES, distorted))
    np.testing.assert_allclose(ask(anew, distorted), ask(plain, VALUES), atol=1e-3)
    assert (ask(plain, VALUES).argmax(1) == LABELS.numpy()).mean() > 0.8
    assert all(torch.equal(value, before[key]) for key, value in head.state_dict().items()), "the old one stays"
    again = refit_head(head, distorted, LABELS).state_dict()
    assert all(torch.equal(value.double(), again[key].double()) for key, value in anew.state_dict().items())


def test_a_head_without_weights_and_too_few_images_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no weights"):
        refit_head(build_head("paper", 2, 3, 2), VALUES[:, :3], LABELS)
    with pytest.raises(ConfigurationError, match="1 images"):
        refit_head(build_head("affine", 2, 5, 3), VALUES[:1], LABELS[:1])


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_mixed_soft_labels_are_the_mixture(temperature: float) -> None:
    first, second = torch.from_numpy(GENERATOR.normal(size=(2, 7, 4)) * 5)
    mixed = mix_soft_labels((first, second), (0.3, 0.7), temperature)
    softened = [torch.softmax(item / temperature, 1) for item in (mixed, first, second)]
    torch.testing.assert_close(softened[0], 0.3 * softened[1] + 0.7 * softened[2])
    student = torch.from_numpy(GENERATOR.normal(size=(7, 4))).requires_grad_()
    (mixture,) = torch.autograd.grad(soft_divergence(student, mixed, temperature), student)
    weighted = 0.3 * soft_divergence(student, first, temperature) + 0.7 * soft_divergence(student, second, temperature)
    torch.testing.assert_close(mixture, *torch.autograd.grad(weighted, student))
