"""Losses against formulas written out with numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qkd_qiskit.distillation.losses import Objective
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


def test_a_student_like_its_teacher_has_no_divergence() -> None:
    assert float(Objective("kd")(TEACHER + 5, LABELS, TEACHER).distillation) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [(("kdd",), "did you mean 'kd'"), (("kd", 0.0), "temperature must be above 0"), (("kd", 1.0, 1.5), "from 0 to 1")],
)
def test_wrong_constants_are_refused(arguments: tuple, telling: str) -> None:
    with pytest.raises(ConfigurationError, match=telling):
        Objective(*arguments)
