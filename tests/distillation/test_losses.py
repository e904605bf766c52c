"""Losses against formulas written out with numpy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from qkd_qiskit.config import LOSS_CONSTANTS
from qkd_qiskit.distillation.losses import LOSSES, Objective
from qkd_qiskit.exceptions import ConfigurationError

GENERATOR = torch.Generator().manual_seed(0)
STUDENT = torch.randn(6, 4, generator=GENERATOR, dtype=torch.float64)
TEACHER = 3 * torch.randn(6, 4, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def cross_entropy(logits: np.ndarray) -> float:
    return float(-np.log(softmax(logits)[np.arange(6), LABELS.numpy()]).mean())


def divergence(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    return float(temperature**2 * (p * np.log(p / q)).sum(1).mean())


def test_cross_entropy_needs_no_teacher() -> None:
    parts = Objective("ce")(STUDENT, LABELS, None)
    assert float(parts.total) == pytest.approx(cross_entropy(STUDENT.numpy()), abs=1e-12)
    assert float(parts.distillation) == 0


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 0.5), (4.0, 0.9), (2.5, 0.0), (2.5, 1.0)])
def test_kd_weighs_the_teacher_with_alpha(temperature: float, alpha: float) -> None:
    parts = Objective("kd", temperature, alpha)(STUDENT, LABELS, TEACHER)
    task = cross_entropy(STUDENT.numpy())
    soft = divergence(STUDENT.numpy(), TEACHER.numpy(), temperature)
    assert float(parts.task) == pytest.approx(task, abs=1e-12)
    assert float(parts.distillation) == pytest.approx(soft, abs=1e-12)
    assert float(parts.total) == pytest.approx((1 - alpha) * task + alpha * soft, abs=1e-12)


@pytest.mark.filterwarnings("ignore:reduction")
def test_the_papers_loss_is_its_codes_expression() -> None:
    """The notebooks: `CE + 0.9 * T*T * C * KLDivLoss('mean')(log_softmax(out[:, :C] / T), softmax(teacher / T))`."""
    scores = torch.rand(6, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    temperature, classes = 3.0, 4
    soft = torch.nn.KLDivLoss(reduction="mean")(
        torch.log_softmax(scores[:, :classes] / temperature, 1), torch.softmax(TEACHER / temperature, 1)
    )
    wanted = torch.nn.functional.cross_entropy(scores, LABELS) + 0.9 * temperature**2 * classes * soft
    assert float(Objective("paper", 3.0, 0.9)(scores, LABELS, TEACHER).total) == pytest.approx(float(wanted), abs=1e-12)


def test_dkd_is_two_divergences_of_target_and_others() -> None:
    temperature, alpha, beta = 2.5, 0.7, 3.0
    target, rest = 0.0, 0.0
    for student, teacher, label in zip(STUDENT.numpy(), TEACHER.numpy(), LABELS.numpy()):
        q, p = softmax(student[None] / temperature)[0], softmax(teacher[None] / temperature)[0]
        target += p[label] * np.log(p[label] / q[label]) + (1 - p[label]) * np.log((1 - p[label]) / (1 - q[label]))
        for other in range(4):
            if other != label:
                theirs, ours = p[other] / (1 - p[label]), q[other] / (1 - q[label])
                rest += theirs * np.log(theirs / ours)
    soft = temperature**2 * (alpha * target + beta * rest) / 6
    parts = Objective("dkd", temperature, alpha, beta)(STUDENT, LABELS, TEACHER)
    assert float(parts.distillation) == pytest.approx(soft, rel=1e-10)
    assert float(parts.total) == pytest.approx(cross_entropy(STUDENT.numpy()) + soft, rel=1e-10)


def test_dkd_with_the_teachers_own_weights_is_kd() -> None:
    """Equation 7 of the paper: `KL = TCKD + (1 - p_target) NCKD`, so for one image with that beta both are equal."""
    one, label = slice(0, 1), int(LABELS[0])
    share = 1 - softmax(TEACHER.numpy()[one])[0, label]
    dkd = Objective("dkd", 1.0, 1.0, float(share))(STUDENT[one], LABELS[one], TEACHER[one])
    kd = Objective("kd", 1.0, 1.0)(STUDENT[one], LABELS[one], TEACHER[one])
    assert float(dkd.distillation) == pytest.approx(float(kd.distillation), rel=1e-10)


def test_dist_is_two_correlations() -> None:
    temperature, beta, gamma = 1.5, 0.6, 2.0
    ours, theirs = softmax(STUDENT.numpy() / temperature), softmax(TEACHER.numpy() / temperature)
    inter = np.mean([1 - np.corrcoef(ours[row], theirs[row])[0, 1] for row in range(6)])
    intra = np.mean([1 - np.corrcoef(ours[:, column], theirs[:, column])[0, 1] for column in range(4)])
    parts = Objective("dist", temperature, beta=beta, gamma=gamma)(STUDENT, LABELS, TEACHER)
    soft = temperature**2 * (beta * inter + gamma * intra)
    assert float(parts.distillation) == pytest.approx(soft, rel=1e-9)
    assert float(parts.total) == pytest.approx(cross_entropy(STUDENT.numpy()) + soft, rel=1e-9)


def test_logit_std_compares_standardised_logits() -> None:
    def standardise(logits: np.ndarray) -> np.ndarray:
        return (logits - logits.mean(1, keepdims=True)) / logits.std(1, keepdims=True)

    parts = Objective("logit_std", 2.0, 0.8, 3.0)(STUDENT, LABELS, TEACHER)
    soft = divergence(standardise(STUDENT.numpy()), standardise(TEACHER.numpy()), 2.0)
    assert float(parts.distillation) == pytest.approx(soft, rel=1e-5)
    assert float(parts.total) == pytest.approx(0.2 * cross_entropy(STUDENT.numpy()) + 3 * soft, rel=1e-5)


def test_logit_std_is_free_of_scale() -> None:
    """A student with a hundredth of the teacher's range agrees with it, where `kd` sees two distributions."""
    shrunk = 0.01 * TEACHER + 0.5
    assert float(Objective("logit_std")(shrunk, LABELS, TEACHER).distillation) == pytest.approx(0, abs=1e-8)
    assert float(Objective("kd")(shrunk, LABELS, TEACHER).distillation) > 0.1


def test_rkd_compares_distances_and_angles() -> None:
    values = torch.rand(6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def huber(difference: float) -> float:
        return difference**2 / 2 if abs(difference) <= 1 else abs(difference) - 0.5

    def relations(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distances = np.array([[np.linalg.norm(a - b) for b in points] for a in points])
        cosines = np.zeros((6, 6, 6))
        for i, j, k in itertools.product(range(6), repeat=3):
            if j not in (i, k):
                first, second = points[i] - points[j], points[k] - points[j]
                cosines[i, j, k] = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
        return distances / (distances.sum() / 30), cosines

    ours, theirs = relations(values.numpy()), relations(TEACHER.numpy())
    distance, angle = (np.mean([huber(d) for d in (a - b).ravel()]) for a, b in zip(ours, theirs))
    parts = Objective("rkd", beta=2.0, gamma=3.0)(STUDENT, LABELS, TEACHER, values)
    assert float(parts.distillation) == pytest.approx(2 * distance + 3 * angle, rel=1e-10)
    assert float(parts.total) == pytest.approx(cross_entropy(STUDENT.numpy()) + 2 * distance + 3 * angle, rel=1e-10)


def test_rkd_of_equal_images_has_a_finite_gradient() -> None:
    values = torch.ones(4, 3, dtype=torch.float64)
    values[3, 0] = 0
    values.requires_grad_()
    Objective("rkd")(STUDENT[:4], LABELS[:4], TEACHER[:4], values).total.backward()
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()


def test_label_smoothing_is_cross_entropy_with_smoothed_labels() -> None:
    smoothed = 0.8 * np.eye(4)[LABELS.numpy()] + 0.2 / 4
    wanted = -(smoothed * np.log(softmax(STUDENT.numpy()))).sum(1).mean()
    parts = Objective("label_smoothing", smoothing=0.2)(STUDENT, LABELS, None)
    assert float(parts.total) == pytest.approx(wanted, rel=1e-12)
    assert float(parts.task) == pytest.approx(cross_entropy(STUDENT.numpy()), rel=1e-12)
    assert float(parts.distillation) == 0


def test_kd_may_have_smoothed_labels() -> None:
    wide = torch.cat([STUDENT, torch.randn(6, 4, generator=torch.Generator().manual_seed(5))], dim=1)
    smoothed = 0.8 * np.eye(8)[LABELS.numpy()] + 0.2 / 4 * (np.arange(8) < 4)
    task = -(smoothed * np.log(softmax(wide.numpy()))).sum(1).mean()
    parts = Objective("kd", 2.0, 0.3, smoothing=0.2)(wide, LABELS, TEACHER)
    soft = divergence(STUDENT.numpy(), TEACHER.numpy(), 2.0)
    assert float(parts.total) == pytest.approx(0.7 * task + 0.3 * soft, abs=1e-12)
    assert float(parts.task) == pytest.approx(cross_entropy(wide.numpy()), rel=1e-12)


NAMES = ["kd", "dkd", "dist", "logit_std"]


@pytest.mark.parametrize("name", NAMES)
def test_scores_beyond_the_classes_are_no_business_of_the_teacher(name: str) -> None:
    wide = torch.cat([STUDENT, torch.randn(6, 4, generator=torch.Generator().manual_seed(5))], dim=1)
    parts, narrow = (Objective(name)(logits, LABELS, TEACHER) for logits in (wide, STUDENT))
    assert float(parts.distillation) == pytest.approx(float(narrow.distillation), rel=1e-12)
    assert float(parts.task) == pytest.approx(cross_entropy(wide.numpy()), rel=1e-12)


def test_label_smoothing_spreads_over_classes_only() -> None:
    wide = torch.cat([STUDENT, torch.randn(6, 4, generator=torch.Generator().manual_seed(5))], dim=1)
    smoothed = 0.9 * np.eye(8)[LABELS.numpy()] + 0.1 / 4 * (np.arange(8) < 4)
    wanted = -(smoothed * np.log(softmax(wide.numpy()))).sum(1).mean()
    assert float(Objective("label_smoothing", num_classes=4)(wide, LABELS, None).total) == pytest.approx(wanted)


@pytest.mark.parametrize("name", NAMES)
def test_a_student_like_its_teacher_has_no_divergence(name: str) -> None:
    assert float(Objective(name)(TEACHER + 5, LABELS, TEACHER).distillation) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", [*LOSSES])
def test_every_loss_has_the_gradient_of_finite_differences(name: str) -> None:
    values = torch.rand(6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    logits, objective = STUDENT.clone().requires_grad_(), Objective(name)

    def total(logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return objective(logits, LABELS, TEACHER, values if objective.needs_values else None).total

    assert torch.autograd.gradcheck(total, (logits, values), eps=1e-6, atol=1e-5)


def test_every_loss_has_its_papers_constants() -> None:
    assert LOSSES.keys() == LOSS_CONSTANTS.keys()
    for name, constants in LOSS_CONSTANTS.items():
        found = Objective(name, num_classes=4).describe()
        assert {key: value for key, value in found.items() if key not in ("name", "num_classes")} == constants


def test_the_temperature_goes_down_geometrically() -> None:
    objective = Objective("kd", 8.0, temperature_end=2.0)
    assert [objective.at(progress).temperature for progress in (0, 0.5, 1)] == pytest.approx([8, 4, 2])
    assert objective.describe()["temperature_end"] == 2
    assert Objective("kd", 8.0).at(0.5).temperature == 8


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [
        (("kdd",), "did you mean 'kd'"),
        (("kd", 0.0), "temperature must be above 0"),
        (("kd", 1.0, 1.5), "from 0 to 1"),
        (("kd", 1.0, 0.5, 2.0), "'kd' has no beta"),
        (("dkd", 1.0, 0.5, 2.0, 1.0), "'dkd' has no gamma"),
        (("dkd", 1.0, 0.5, 2.0, None, 0.1), "'dkd' has no smoothing"),
        (("rkd", None, None, None, None, None, 2.0), "'rkd' has no temperature"),
        (("kd", None, None, None, None, None, -1.0), "temperature end must be above 0"),
    ],
)
def test_wrong_constants_are_refused(arguments: tuple, telling: str) -> None:
    with pytest.raises(ConfigurationError, match=telling):
        Objective(*arguments)


@pytest.mark.parametrize(("name", "least"), [("dist", 2), ("rkd", 3)])
def test_losses_that_compare_images_need_several(name: str, least: int) -> None:
    Objective(name).check_batch_size(least)
    with pytest.raises(ConfigurationError, match=f"--batch-size {least} or more"):
        Objective(name).check_batch_size(least - 1)
