"""Losses by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from vitesse.errors import VitesseError
from vitesse.losses.classification import cross_entropy, dense_targets, distillation

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


GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "tinyvit_distill_A.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_dense_targets_agree_with_the_published(case: dict[str, Any]) -> None:
    record = load_file(GOLDEN / "tinyvit_distill_A.safetensors")
    name, total = case["name"], case["num_classes"]
    classes, values = record[f"{name}.index"], record[f"{name}.value"]
    dense = dense_targets(classes, values, total=total, published=True)
    torch.testing.assert_close(dense, record[f"{name}.dense_soft_label"], rtol=1e-5, atol=1e-9)
    student = record[f"{name}.student_logits"].clone().requires_grad_()
    loss = cross_entropy(student, dense)
    loss.backward()
    assert loss.item() == pytest.approx(case["loss"], rel=1e-5)
    torch.testing.assert_close(student.grad, record[f"{name}.grad_student"], rtol=1e-4, atol=1e-8)
    # What sums to less than 1 is the same either way.
    torch.testing.assert_close(dense_targets(classes, values, total=total), dense, rtol=1e-5, atol=1e-6)


def test_values_that_sum_to_more_than_one() -> None:
    classes, values = torch.tensor([[2, 0]], dtype=torch.int16), torch.tensor([[0.75, 0.26]])
    torch.testing.assert_close(
        dense_targets(classes, values, total=4, published=True), torch.tensor([[0.26, -0.005, 0.75, -0.005]])
    )
    torch.testing.assert_close(
        dense_targets(classes, values, total=4), torch.tensor([[0.26 / 1.01, 0.0, 0.75 / 1.01, 0.0]])
    )


@pytest.mark.parametrize("published", [True, False])
def test_all_classes_stored_leave_nothing_to_spread(published: bool) -> None:
    classes, values = torch.tensor([[1, 0, 2]]), torch.tensor([[0.5, 0.3, 0.1]])
    dense = dense_targets(classes, values, total=3, published=published)
    torch.testing.assert_close(dense, torch.tensor([[0.3, 0.5, 0.1]]) / 0.9)


@pytest.mark.parametrize(("classes", "total"), [([[0, 5]], 5), ([[0, -1]], 5), ([[0, 1]], 1)])
def test_classes_of_another_task_are_refused(classes: list[list[int]], total: int) -> None:
    with pytest.raises(VitesseError, match="Take a store of the same classes"):
        dense_targets(torch.tensor(classes), torch.tensor([[0.5, 0.3]]), total=total)


def test_the_published_form_differs_by_what_it_says() -> None:
    teacher, student = torch.randn(4, 5), torch.randn(4, 5, requires_grad=True)
    entropy = torch.distributions.Categorical(logits=teacher / 2).entropy().mean()
    ours = distillation(student, teacher, temperature=2.0)
    theirs = distillation(student, teacher, temperature=2.0, form="cross_entropy")
    torch.testing.assert_close(theirs - entropy, ours / 4)
