"""The student as a torch module: shapes, seeds, gradients through the quantum layer, refusals."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from qkd_qiskit.classical.control import ClassicalControl
from qkd_qiskit.config import StudentSettings
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.execution.engines import build_quantum_layer
from qkd_qiskit.quantum.student import LAYERS, QuantumStudent, StudentBlueprint, build_student

IMAGES = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def make(engine: str = "exact", seed: int = 0, **choices: object) -> QuantumStudent:
    blueprint = StudentBlueprint(**{"image_shape": (1, 28, 28), "num_classes": 3, "num_qubits": 3, **choices})  # type: ignore[arg-type]
    return build_student(blueprint, build_quantum_layer(engine, None), seed=seed)


KINDS = [
    {"kind": "qnn"},
    {"kind": "qnn", "encoding": "angle", "observables": "z"},
    {"kind": "qnn", "encoding": "complex_amplitude", "layers": 1},
    {"kind": "qnn", "reduction": "average_pool"},
    {"kind": "qnn", "reduction": "convolutional", "layers": 1},
    {"kind": "qnn", "layers": 0},
    {"kind": "qnn", "encoding": "qubit", "ansatz": "real_amplitudes", "observables": "projectors"},
    {"kind": "qnn", "encoding": "zz", "reduction": "max_pool", "ansatz": "efficient_su2", "layers": 1},
    {"kind": "qnn", "encoding": "reuploading", "ansatz": "strongly_entangling", "layers": 2},
    {"kind": "qnn", "ansatz": "paper_v2", "layers": 1, "observables": "z"},
    {"kind": "qnn", "ansatz": "none", "reduction": "centre_crop"},
    {"kind": "hybrid"},
    {"kind": "hybrid", "head": "normalised", "dropout": 0.0},
    {"kind": "hybrid", "head": "paper"},
]


@pytest.mark.parametrize("engine", ["exact", "aer"])
@pytest.mark.parametrize("choices", KINDS)
def test_every_student_learns_from_every_part(engine: str, choices: dict) -> None:
    student = make(engine, **choices).eval()
    logits = student(IMAGES)
    assert logits.shape == (5, 2 * 2**3 if choices.get("head") == "paper" else 3)
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0, 1])).backward()
    for name, weight in student.named_parameters():
        if weight.numel():
            assert weight.grad is not None, name
            assert weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize("choices", KINDS)
def test_both_engines_give_the_same_gradients(choices: dict) -> None:
    gradients = []
    for engine in ("exact", "aer"):
        student = make(engine, **choices).eval()
        torch.nn.functional.cross_entropy(student(IMAGES), torch.tensor([0, 1, 2, 0, 1])).backward()
        gradients.append(
            np.concatenate([weight.grad.numpy().ravel() for weight in student.parameters() if weight.numel()])
        )
    np.testing.assert_allclose(*gradients, atol=2e-6)


@pytest.mark.parametrize("choices", KINDS)
def test_both_roads_give_the_same_logits(choices: dict) -> None:
    """`EstimatorQNN.forward` and the one-PUB evaluation agree to 1e-9 on a noiseless simulator."""
    from qkd_qiskit.execution.aer import evaluate_on_aer

    student = make("aer", **choices).eval()
    values = student.parameter_values(IMAGES)
    inputs = len(student.circuit.input_params)
    through_qnn = student.quantum.neural_network.forward(values[:, :inputs], values[0, inputs:])
    one_pub, errors = evaluate_on_aer(student.circuit, values)
    assert not errors.any()
    np.testing.assert_allclose(student.classify(through_qnn), student.classify(one_pub), atol=1e-9)
    np.testing.assert_allclose(student(IMAGES).detach().numpy(), student.classify(one_pub), atol=1e-5)


CONTROLLED = [
    {"encoding": encoding, "ansatz": ansatz}
    for encoding in ("amplitude", "complex_amplitude", "angle", "zz")
    for ansatz in ("hardware_efficient", "strongly_entangling", "none")
] + [{"kind": "hybrid"}]


def test_settings_and_students_know_the_same_layers() -> None:
    assert set(get_args(StudentSettings.model_fields["layer"].annotation)) == set(LAYERS)
    for layer in LAYERS:
        assert (
            StudentSettings(layer=layer).has_circuit
            == make(layer=layer).blueprint.has_circuit
            == (layer not in ("classical", "mlp"))
        )


@pytest.mark.parametrize("layer", ["classical", "mlp"])
@pytest.mark.parametrize("choices", CONTROLLED)
def test_a_classical_control_has_as_many_weights_and_outputs(choices: dict, layer: str) -> None:
    quantum, classical = (make(layer=kind, **choices).eval() for kind in ("quantum", layer))
    assert classical.num_weights() == quantum.num_weights()
    shapes = [{name: weight.shape for name, weight in student.named_parameters()} for student in (quantum, classical)]
    assert shapes[0] == shapes[1]
    for name, weight in classical.named_parameters():  # it starts as the quantum student does
        assert torch.equal(weight.double(), quantum.get_parameter(name).double()), name
    values = classical.measure(IMAGES)
    assert values.shape == quantum.measure(IMAGES).shape
    assert values.abs().max() < 1


@pytest.mark.parametrize("nonlinear", [False, True])
@pytest.mark.parametrize("num_weights", [0, 2, 3, 6])
def test_a_classical_control_is_its_formula(num_weights: int, nonlinear: bool) -> None:
    torch.manual_seed(3)
    control = ClassicalControl(5, torch.randn(num_weights), 4, 2.0, nonlinear=nonlinear)
    inputs = torch.randn(3, 5)
    weights = control.weight.detach().numpy()
    for sample, found in zip(inputs.numpy(), control(inputs).detach().numpy()):
        hidden = control.inner.numpy() @ sample
        bent = np.tanh(hidden) if nonlinear else hidden
        scaled = [weights[j % num_weights] * value for j, value in enumerate(bent)] if num_weights else None
        inside = control.outer.numpy() @ np.array(scaled) if num_weights else hidden
        np.testing.assert_allclose(found, np.tanh(inside), atol=1e-6)


@pytest.mark.parametrize("nonlinear", [False, True])
@pytest.mark.parametrize(("features", "weights"), [(16, 28), (64, 12)])
def test_a_classical_control_has_no_bottleneck(features: int, weights: int, nonlinear: bool) -> None:
    torch.manual_seed(4)
    control = ClassicalControl(features, torch.ones(weights), 255, 1.0, nonlinear=nonlinear)
    slope = torch.autograd.functional.jacobian(control, torch.zeros(features))  # tanh is the identity at 0
    assert torch.linalg.matrix_rank(slope) == features


@pytest.mark.parametrize(("nonlinear", "least", "most"), [(False, 0.9, 1.0), (True, 0.0, 0.85)])
def test_a_nonlinear_control_is_further_from_an_affine_map(nonlinear: bool, least: float, most: float) -> None:
    torch.manual_seed(5)
    inputs = torch.nn.functional.normalize(torch.randn(2000, 16))
    control = ClassicalControl(16, torch.ones(28), 15, 1.0, nonlinear=nonlinear)
    values = control(inputs).detach().double()
    affine = torch.cat([inputs, torch.ones(2000, 1)], 1).double()
    rest = values - affine @ torch.linalg.lstsq(affine, values).solution
    assert least < 1 - float(rest.var(0).sum() / values.var(0).sum()) < most


@pytest.mark.parametrize("layer", ["classical", "mlp"])
@pytest.mark.parametrize("choices", [choices for choices in CONTROLLED if choices.get("ansatz") != "none"])
def test_a_classical_control_learns_from_every_part(choices: dict, layer: str) -> None:
    student = make(layer=layer, **choices).eval()
    torch.nn.functional.cross_entropy(student(IMAGES), torch.tensor([0, 1, 2, 0, 1])).backward()
    for name, weight in student.named_parameters():
        assert not weight.numel() or (weight.grad is not None and weight.grad.abs().sum() > 0), name


@pytest.mark.parametrize(("layer", "nonlinear"), [("classical", False), ("mlp", True)])
def test_a_classical_control_gets_what_the_circuit_is_given(layer: str, nonlinear: bool) -> None:
    student = make(layer=layer).eval()
    assert student.quantum.nonlinear == nonlinear
    features = student.features(IMAGES)
    wanted = student.quantum(features / features.norm(dim=1, keepdim=True))
    torch.testing.assert_close(student.measure(IMAGES), wanted)


@pytest.mark.parametrize("engine", ["exact", "aer"])
def test_a_frozen_circuit_keeps_its_weights(engine: str) -> None:
    quantum, frozen = (make(engine, layer=layer) for layer in ("quantum", "frozen"))
    assert frozen.num_weights() == {**quantum.num_weights(), "quantum": 0}
    torch.testing.assert_close(frozen(IMAGES), quantum(IMAGES))
    before = frozen.quantum_weights.copy()
    optimizer = torch.optim.AdamW(frozen.parameters(), lr=0.1, weight_decay=0.1)
    torch.nn.functional.cross_entropy(frozen(IMAGES), torch.tensor([0, 1, 2, 0, 1])).backward()
    optimizer.step()
    np.testing.assert_array_equal(frozen.quantum_weights, before)
    assert not torch.equal(frozen.head.weight, quantum.head.weight)


def test_the_seed_decides_every_weight() -> None:
    def weights(seed: int) -> np.ndarray:
        return np.concatenate([weight.detach().numpy().ravel() for weight in make(seed=seed).parameters()])

    np.testing.assert_array_equal(weights(4), weights(4))
    assert not np.array_equal(weights(4), weights(5))


def test_the_hybrid_student_has_the_papers_size() -> None:
    student = make("aer", kind="hybrid", head="paper", num_qubits=4, num_classes=8)
    assert student.num_weights() == {"features": 21_534, "quantum": 0, "head": 0}  # 21,556 less two unused layers
    assert student.num_weights()["features"] == 260 + 5_020 + 320 * 50 + 50 + 50 * 4 + 4


@pytest.mark.parametrize(
    ("choices", "telling"),
    [
        ({"kind": "qn"}, "did you mean 'qnn'"),
        ({"num_qubits": 0}, "1 to 12 qubits, not 0"),
        ({"layers": -1}, "0 or more layers"),
        ({"ansatz": "strongly_entangled"}, "did you mean 'strongly_entangling'"),
        ({"layer": "clasical"}, "did you mean 'classical'"),
        ({"layer": "frozen", "ansatz": "none"}, "no weights that could be frozen"),
        ({"layer": "frozen", "kind": "hybrid"}, "hybrid student never has any"),
        ({"encoding": "reuploading", "ansatz": "none"}, "before every layer, and there is none"),
        ({"encoding": "reuploading", "layers": 0}, "before every layer, and there is none"),
        ({"reduction": "lineal"}, "did you mean 'linear'"),
        ({"reduction": "average_pool", "num_qubits": 10, "image_shape": (1, 28, 28)}, "32 x 32 regions"),
        ({"kind": "hybrid", "image_shape": (1, 8, 8)}, "at least 16 x 16"),
        ({"head": "papr"}, "did you mean 'paper'"),
    ],
)
def test_what_does_not_fit_is_refused(choices: dict, telling: str) -> None:
    with pytest.raises(ConfigurationError, match=telling):
        make(**choices)


def test_values_of_another_shape_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"\(5, 3\).*\(N, 7\)"):
        make().classify(np.zeros((5, 3)))


def test_a_weight_that_is_not_finite_is_named() -> None:
    student = make("aer")
    with torch.no_grad():
        student.quantum.weight[2] = torch.nan
    with pytest.raises(ConfigurationError, match=r"w\[2\] of sample 0 is nan"):
        student.parameter_values(IMAGES)


def test_a_hybrid_student_s_weights_keep_their_names() -> None:
    """Checkpoints hold them."""
    names = [f"features.{layer}.{part}" for layer in (0, 3, 8, 11) for part in ("weight", "bias")]
    student = make("exact", kind="hybrid", normalise=False)
    assert [name for name in student.state_dict() if name.startswith("features")] == names
