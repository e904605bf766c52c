import pytest
import torch

from qkd_qiskit.classical.teacher_networks import TEACHERS, Ensemble, build_empty, build_initial
from qkd_qiskit.exceptions import ConfigurationError


@pytest.mark.parametrize(
    ("architecture", "num_classes", "parameters"),
    [
        ("lenet", 6, 44_086),
        ("lenet", 8, 44_256),
        ("alexnet", 6, 94_655_686),
        ("alexnet", 8, 94_663_880),
        ("ensemble", 6, 94_699_772),
        ("ensemble", 8, 94_708_136),
    ],
)
def test_parameters_are_the_papers(architecture: str, num_classes: int, parameters: int) -> None:
    network = build_empty(architecture, num_classes, (1, 28, 28))
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize("architecture", list(TEACHERS))
@pytest.mark.parametrize("image_shape", [(1, 28, 28), (3, 32, 32), (1, 16, 20)])
def test_logits_have_a_column_per_class(architecture: str, image_shape: tuple[int, int, int]) -> None:
    network = build_empty(architecture, 7, image_shape)
    assert network(torch.empty(5, *image_shape, device="meta")).shape == (5, 7)


def test_ensemble_is_the_mean_of_its_members_logits() -> None:
    network = build_initial("ensemble", 3, (1, 16, 16), seed=0)
    assert isinstance(network, Ensemble)
    pixels = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    members = torch.stack([network.lenet(pixels), network.alexnet(pixels)])
    assert torch.allclose(network(pixels), members.mean(0), atol=1e-7)
    assert not torch.allclose(members[0], members[1])


def test_initial_weights_come_from_the_seed_alone() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (build_initial("lenet", 4, (1, 28, 28), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        assert not torch.equal(value, other.state_dict()[name])
    weight = first.state_dict()["classifier.1.weight"]  # 256 inputs: uniform within 1/16
    assert 0.99 / 16 < weight.abs().max() <= 1 / 16


@pytest.mark.parametrize(("architecture", "image_shape"), [("lenet", (1, 15, 28)), ("alexnet", (1, 3, 3))])
def test_small_images_are_refused(architecture: str, image_shape: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigurationError, match=rf"{architecture} can't take .* at least"):
        TEACHERS[architecture](10, image_shape)
