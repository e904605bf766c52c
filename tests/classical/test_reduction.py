"""Reductions against loops over pixels and NumPy, and principal components against two other roads to them."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from sklearn.decomposition import PCA

from qkd_qiskit.classical.reduction import REDUCTIONS, build_reduction, check_reduction, fit_reduction
from qkd_qiskit.exceptions import ConfigurationError

COLOUR = torch.rand(7, 3, 12, 20, generator=torch.Generator().manual_seed(0))
GRAY = COLOUR.numpy().mean(axis=1)


@pytest.mark.parametrize(("name", "pick"), [("average_pool", np.mean), ("max_pool", np.max)])
def test_pooling_reads_each_region_of_the_gray_image(name: str, pick: object) -> None:
    found = build_reduction(name, (3, 12, 20), 8)(COLOUR).numpy()  # 2 x 4 regions of 6 x 5 pixels
    wanted = np.array(
        [
            [pick(image[6 * row : 6 * row + 6, 5 * column : 5 * column + 5]) for row in range(2) for column in range(4)]  # type: ignore[operator]
            for image in GRAY
        ]
    )
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_centre_crop_keeps_the_middle() -> None:
    found = build_reduction("centre_crop", (3, 12, 20), 16)(COLOUR).numpy()
    np.testing.assert_allclose(found, GRAY[:, 4:8, 8:12].reshape(7, 16), atol=1e-6)
    found = build_reduction("centre_crop", (3, 12, 20), 8)(COLOUR).numpy()
    np.testing.assert_allclose(found, GRAY[:, 5:7, 8:12].reshape(7, 8), atol=1e-6)


def test_pca_gives_the_scores_of_numpy_and_sklearn() -> None:
    images = torch.rand(60, 1, 6, 7, generator=torch.Generator().manual_seed(1))
    images[:, :, 2] *= torch.linspace(0, 4, 60)[:, None, None]
    reduction = build_reduction("pca", (1, 6, 7), 5)
    fit_reduction(reduction, images)
    found = reduction(images).numpy()
    flat = images.numpy().reshape(60, 42).astype(np.float64)
    left, sizes, _ = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    for wanted in (left[:, :5] * sizes[:5], PCA(5).fit_transform(flat)):
        signs = np.sign((found * wanted).sum(0))
        np.testing.assert_allclose(found * signs, wanted, atol=2e-5)


def test_pca_takes_the_gray_image_and_has_one_sign() -> None:
    reductions = [build_reduction("pca", (3, 12, 20), 4) for _ in range(2)]
    fit_reduction(reductions[0], COLOUR)
    fit_reduction(reductions[1], COLOUR.flip(0))  # another order, the same images
    np.testing.assert_allclose(reductions[0](COLOUR).numpy(), reductions[1](COLOUR).numpy(), atol=1e-5)
    torch.testing.assert_close(reductions[0].mean, torch.tensor(GRAY.mean(0).ravel()))


def test_standardised_pixels_go_into_the_linear_layer() -> None:
    reduction = build_reduction("standardised_linear", (3, 12, 20), 8)
    fit_reduction(reduction, COLOUR)
    flat = COLOUR.numpy().reshape(7, 720).astype(np.float64)
    weight, bias = (parameter.detach().numpy() for parameter in reduction.parameters())
    wanted = (flat - flat.mean(0)) / (flat.std(0) + 0.1) @ weight.T + bias
    np.testing.assert_allclose(reduction(COLOUR).detach().numpy(), wanted, atol=1e-5)


def test_convolutions_are_those_of_scipy_and_large_enough_images_only() -> None:
    images = torch.rand(2, 3, 20, 17, generator=torch.Generator().manual_seed(2))
    reduction = build_reduction("convolutional", (3, 20, 17), 6)
    values = [value.detach().double().numpy() for value in reduction.parameters()]  # weight, bias, weight, ...
    *kernels, linear = zip(values[::2], values[1::2])
    for image, found in zip(images.double().numpy(), reduction(images).detach().numpy()):
        maps = image
        for weight, bias in kernels:
            sums = [sum(correlate2d(m, k, "valid") for m, k in zip(maps, own)) + b for own, b in zip(weight, bias)]
            rows, columns = (side // 2 for side in sums[0].shape)
            blocks = np.stack(sums)[:, : 2 * rows, : 2 * columns].reshape(-1, rows, 2, columns, 2)
            maps = np.maximum(blocks.max(axis=(2, 4)), 0)
        np.testing.assert_allclose(found, linear[0] @ maps.ravel() + linear[1], atol=1e-5)
    with pytest.raises(
        ConfigurationError,
        match=r"convolutional needs images of at least 16 x 16 pixels, not 12 x 20.*--reduction linear",
    ):
        check_reduction("convolutional", (3, 12, 20), 6)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_check_draws_nothing(name: str) -> None:
    before = torch.get_rng_state()
    check_reduction(name, (3, 28, 28), 16)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["pca", "standardised_linear"])
def test_a_reduction_without_its_fit_is_not_a_number(name: str) -> None:
    assert torch.isnan(build_reduction(name, (3, 12, 20), 4)(COLOUR)).all()


@pytest.mark.parametrize("name", ["pca", "standardised_linear"])
def test_a_fit_comes_back_from_a_checkpoint(name: str) -> None:
    fitted, loaded = (build_reduction(name, (3, 12, 20), 4) for _ in range(2))
    fit_reduction(fitted, COLOUR)
    loaded.load_state_dict(fitted.state_dict())
    torch.testing.assert_close(loaded(COLOUR), fitted(COLOUR), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "features", "telling"),
    [
        ("pca", 256, r"256 components.*240.*fewer qubits"),
        ("max_pool", 1024, "max_pool to 1024.*32 x 32"),
        ("centre_crop", 256, "centre_crop to 256.*16 x 16.*12 x 20"),
    ],
)
def test_more_features_than_pixels_are_refused(name: str, features: int, telling: str) -> None:
    with pytest.raises(ConfigurationError, match=telling):
        build_reduction(name, (3, 12, 20), features)


def test_more_components_than_images_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"8 components.*not 7.*--train-per-class"):
        fit_reduction(build_reduction("pca", (3, 12, 20), 8), COLOUR)
