"""A layer that starts from the state itself against the whole circuit: the same values, gradients and students."""

import numpy as np
import pytest
import torch
from qiskit.quantum_info import Statevector
from qiskit_aer.noise import NoiseModel

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.execution.amplitudes import AmplitudeConnector
from qkd_qiskit.execution.engines import build_quantum_layer
from qkd_qiskit.pipeline.placing import probe
from qkd_qiskit.quantum.student import QuantumStudent, StudentBlueprint, build_student

BLUEPRINT = StudentBlueprint(num_qubits=3, layers=2, image_shape=(1, 6, 6), num_classes=4)


def build(shortcut: bool, **changes: object) -> QuantumStudent:
    blueprint = StudentBlueprint(**{**BLUEPRINT.__dict__, **changes})
    ansatz = blueprint.build_ansatz_circuit() if shortcut else None
    return build_student(blueprint, build_quantum_layer("exact", None, ansatz=ansatz), seed=1).double()


@pytest.mark.parametrize(
    "changes", [{}, {"ansatz": "strongly_entangling"}, {"observables": "z", "reduction": "average_pool"}]
)
def test_values_and_gradients_are_those_of_the_whole_circuit(changes: dict[str, object]) -> None:
    images = torch.rand(5, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    short, whole = build(True, **changes), build(False, **changes)
    assert isinstance(short.quantum, AmplitudeConnector)
    found = []
    for student in (short, whole):
        logits = student(images)
        logits.square().sum().backward()
        found.append((logits.detach(), [weight.grad for weight in student.parameters()]))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-12, rtol=0)
    for ours, theirs in zip(found[0][1], found[1][1]):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)


def test_the_state_is_the_one_that_qiskit_starts_from() -> None:
    student = build(True)
    images = torch.rand(4, 1, 6, 6, dtype=torch.float64)
    amplitudes = student.encoding.loaded(student.features(images)).detach().numpy()
    ansatz = BLUEPRINT.build_ansatz_circuit()
    assert ansatz is not None
    bound = ansatz.circuit.assign_parameters(dict(zip(ansatz.weight_params, student.quantum_weights)))
    wanted = [
        [Statevector(row).evolve(bound).expectation_value(z).real for z in ansatz.observables] for row in amplitudes
    ]
    np.testing.assert_allclose(student.measure_exactly(images).numpy(), wanted, atol=1e-12)


def test_angles_are_taken_as_well() -> None:
    student = build(True)
    features = torch.randn(3, 8, dtype=torch.float64)
    by_state = student.quantum(student.encoding.loaded(features))
    by_angles = student.quantum(student.encoding.angles(features))
    torch.testing.assert_close(by_state, by_angles, atol=1e-12, rtol=0)


def test_a_black_image_is_the_ground_state_and_has_finite_gradients() -> None:
    short, whole = (build(shortcut, reduction="average_pool") for shortcut in (True, False))
    images = torch.zeros(2, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(short.measure(images), whole.measure(images), atol=1e-12, rtol=0)
    short(images).sum().backward()
    assert images.grad is not None
    assert not images.grad.any()


def test_what_is_not_a_number_is_refused_not_encoded() -> None:
    student = build(True)
    images = torch.rand(2, 1, 6, 6, dtype=torch.float64)
    images[1, 0, 2, 2] = torch.nan
    with pytest.raises(ConfigurationError, match="NaN or infinity"):
        student(images)
    with pytest.raises(ConfigurationError, match="NaN or infinity"):
        build(True, reduction="pca")(torch.rand(2, 1, 6, 6, dtype=torch.float64))


@pytest.mark.parametrize("how", [{"engine": "aer"}, {"noise_model": NoiseModel()}, {"drawn": [None]}])
def test_a_layer_that_could_not_honour_what_is_asked_is_refused(how: dict[str, object]) -> None:
    asked = {"engine": "exact", "noise_model": None, **how}
    with pytest.raises(ConfigurationError, match="exact engine, and no noise"):
        build_quantum_layer(**asked, ansatz=BLUEPRINT.build_ansatz_circuit())


@pytest.mark.parametrize(
    ("changes", "short"),
    [
        ({}, True),
        ({"layer": "frozen"}, True),
        ({"engine": "aer"}, False),
        ({"encoding": "angle"}, False),
        ({"backend": "fake_manila"}, False),
        ({"backend": "aer_noisy", "noise_scales": (0.5, 1.0)}, False),
        ({"angle_injection": 0.1}, False),
        ({"injection": 0.1}, True),
    ],
)
def test_it_is_used_where_it_is_exact(changes: dict[str, object], short: bool) -> None:
    import qkd_qiskit as qkd
    from qkd_qiskit.config import TrainingSettings

    dataset = qkd.load_dataset("digits", classes="0-1", train_per_class=4, seed=0)
    settings = dict(changes)
    training = TrainingSettings(
        **{name: settings.pop(name) for name in list(settings) if "injection" in name or "scales" in name}
    )
    placed = qkd.build_student(dataset, qubits=3, training=training, **settings)
    assert isinstance(placed.student.quantum, AmplitudeConnector) == short
    if "engine" not in changes:
        assert probe(placed, dataset.train.pixels[:2]) < 1e-12
