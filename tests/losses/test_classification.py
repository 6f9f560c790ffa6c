"""Losses by hand."""

from __future__ import annotations

import math

import pytest
import torch

from vitesse.losses.classification import cross_entropy, distillation

LOGITS = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


def test_cross_entropy_by_hand() -> None:
    targets = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.0, 1.0]])
    z = math.log(math.e**2 + 2)
    by_hand = (0.9 * (z - 2) + 0.1 * z + math.log(3)) / 2
    assert cross_entropy(LOGITS, targets).item() == pytest.approx(by_hand, rel=1e-6)


def test_distillation_by_hand() -> None:
    teacher = torch.tensor([[0.0, 2.0, 0.0], [4.0, 0.0, 0.0]])
    p, q = (torch.softmax(x.double() / 2.0, -1) for x in (teacher, LOGITS))
    by_hand = 4.0 * (p * (p / q).log()).sum(-1).mean()
    assert distillation(LOGITS, teacher, temperature=2.0).item() == pytest.approx(by_hand.item(), rel=1e-6)


def test_a_pupil_like_the_teacher_has_nothing_to_learn() -> None:
    student = LOGITS.clone().requires_grad_()
    loss = distillation(student, LOGITS + 3.0, temperature=3.0)  # a shift of all logits means nothing
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert student.grad is not None and student.grad.abs().max() < 1e-6


def test_the_gradient_keeps_its_size_over_temperatures() -> None:
    teacher = torch.tensor([[0.1, -0.2, 0.3], [0.2, 0.1, 0.0]])
    sizes = []
    for temperature in (4.0, 16.0):
        student = (LOGITS * 0.1).requires_grad_()
        distillation(student, teacher, temperature=temperature).backward()
        assert student.grad is not None
        sizes.append(student.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_computed_in_float32(dtype: torch.dtype) -> None:
    logits = (LOGITS * 20).to(dtype)
    targets = torch.eye(3)[:2].to(dtype)
    for loss in (cross_entropy(logits, targets), distillation(logits, logits.flip(-1))):
        assert loss.dtype == torch.float32 and bool(loss.isfinite())
    assert cross_entropy(logits, targets).item() == pytest.approx(math.log(3) / 2, rel=1e-5)


def test_a_confident_teacher_gives_no_nan() -> None:
    teacher = torch.tensor([[1000.0, 0.0, -1000.0]])
    student = torch.zeros(1, 3, requires_grad=True)
    loss = distillation(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(3), rel=1e-5)
    assert student.grad is not None and bool(student.grad.isfinite().all())
