"""Noise for training only: what is drawn, what is injected, and that evaluation and checkpoints see none of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from qkd_qiskit.distillation.checkpoints import name_weights
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.execution.aer import evaluate_on_aer
from qkd_qiskit.execution.engines import build_quantum_layer
from qkd_qiskit.execution.noise import NoiseNumbers, numbers_noise
from qkd_qiskit.execution.training_noise import inject_noise
from qkd_qiskit.quantum.student import StudentBlueprint

CIRCUIT = StudentBlueprint(num_qubits=2, image_shape=(1, 8, 8), num_classes=2).build_circuit()
ANGLES = torch.linspace(-1, 1, 2 * len(CIRCUIT.input_params), dtype=torch.float64).reshape(2, -1)
WEIGHTS = np.linspace(-0.7, 0.8, len(CIRCUIT.weight_params))
MODELS = [numbers_noise(NoiseNumbers(readout=0.1), scale=scale) for scale in (0.0, 1.0, 3.0)]


def on_aer(model: object) -> np.ndarray:
    table = CIRCUIT.parameter_values(ANGLES.numpy(), WEIGHTS)
    return evaluate_on_aer(CIRCUIT, table, noise_model=model)[0]


def test_each_step_of_training_is_under_one_of_the_models() -> None:
    layer = build_quantum_layer("exact", MODELS[1], drawn=MODELS)(CIRCUIT, WEIGHTS)
    wanted, counts = [on_aer(model) for model in MODELS], [0, 0, 0]
    torch.manual_seed(5)
    drawn = [layer(ANGLES).detach().numpy() for _ in range(90)]
    for values in drawn:
        fits = [np.abs(values - one).max() < 1e-9 for one in wanted]
        assert sum(fits) == 1
        counts[fits.index(True)] += 1
    assert min(counts) >= 15, "each is as likely as the others"
    torch.manual_seed(5)
    assert all(np.array_equal(layer(ANGLES).detach().numpy(), values) for values in drawn)
    layer.eval()
    np.testing.assert_allclose(layer(ANGLES).detach(), wanted[1], atol=1e-9)


def test_there_is_one_weight_tensor_under_the_usual_names() -> None:
    layer = build_quantum_layer("exact", MODELS[1], drawn=MODELS)(CIRCUIT, WEIGHTS)
    usual = build_quantum_layer("exact", MODELS[1])(CIRCUIT, WEIGHTS)
    assert name_weights(layer).keys() == name_weights(usual).keys()
    torch.manual_seed(0)
    for _ in range(5):
        layer.zero_grad()
        layer(ANGLES).sum().backward()
        assert layer.weight.grad is not None
        assert layer.weight.grad.abs().max() > 1e-3
    with torch.no_grad():
        layer.weight += 0.1
        usual.weight += 0.1
    np.testing.assert_array_equal(layer.eval()(ANGLES).detach(), usual(ANGLES).detach())


def test_only_the_exact_engine_draws() -> None:
    with pytest.raises(ConfigurationError, match="noise_scales needs the exact engine"):
        build_quantum_layer("aer", MODELS[1], drawn=MODELS)


def test_injected_noise_has_its_width_and_is_gone_in_evaluation() -> None:
    layer, inputs = nn.Identity(), torch.ones(20_000, 2)
    inject_noise(layer, values=0.3, angles=0.4)
    torch.manual_seed(1)
    found = layer(inputs)
    assert float(found.mean()) == pytest.approx(1.0, abs=0.02)
    assert float(found.std()) == pytest.approx(0.5, rel=0.02), "variances add"
    assert torch.equal(layer.eval()(inputs), inputs)


def test_without_noise_nothing_is_hung_on_the_layer() -> None:
    layer = nn.Identity()
    inject_noise(layer)
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks
