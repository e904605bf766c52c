"""Heads: probabilities from parities by another road, and the paper's scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from qiskit.quantum_info import random_statevector

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.quantum.heads import Probabilities, build_head
from qkd_qiskit.quantum.observables import build_observables


def test_probabilities_are_those_of_the_state() -> None:
    state = random_statevector(8, seed=3)
    parities = [state.expectation_value(observable).real for observable in build_observables("parities", 3)]
    found = Probabilities(3)(torch.tensor([parities], dtype=torch.float64))[0].numpy()
    np.testing.assert_allclose(found, state.probabilities(), atol=1e-12)


def test_the_papers_head_is_sigmoid_and_complement() -> None:
    parities = torch.zeros(1, 3, dtype=torch.float64)  # the uniform distribution over 4 strings
    scores = build_head("paper", 2, 3, 4)(parities)[0]
    high = 1 / (1 + np.exp(-0.25))
    np.testing.assert_allclose(scores.numpy(), [high] * 4 + [1 - high] * 4, atol=1e-12)


def test_the_papers_head_needs_all_parities() -> None:
    with pytest.raises(ConfigurationError, match=r"all 15 parities.*--observables parities"):
        build_head("paper", 4, 4, 4)


def test_the_papers_head_needs_enough_scores() -> None:
    with pytest.raises(ConfigurationError, match="8 scores on 2 qubits, fewer than 10"):
        build_head("paper", 2, 3, 10)


def test_the_normalised_head_does_not_see_a_contraction() -> None:
    """Values that noise shrinks and shifts, column by column, get the same logits after training on them."""
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(200, 3, generator=generator, dtype=torch.float64) * 2 - 1
    noisy = values * torch.tensor([0.5, 0.7, 0.9]) + 0.05
    logits = []
    for seen in (values, noisy):
        torch.manual_seed(0)
        head = build_head("normalised", 2, 3, 4).double()
        for _ in range(300):
            head(seen)
        logits.append(head.eval()(seen).detach().numpy())
    expected = (values - values.mean(0)) / values.var(0).sqrt()
    linear = head[1]
    np.testing.assert_allclose(logits[0], logits[1], atol=2e-4)
    np.testing.assert_allclose(logits[0], linear(expected).detach().numpy(), atol=2e-3)
