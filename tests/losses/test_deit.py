"""DeiT's distillation loss against what the published code computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vitesse.losses.classification import cross_entropy, distillation
from vitesse.losses.deit import deit_distillation

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "minideit_loss_A.json").read_text())["cases"]
TENSORS = load_file(GOLDEN / "minideit_loss_A.safetensors")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_loss_and_its_gradients_agree(case: dict[str, Any]) -> None:
    given = {key.rpartition(".")[2]: one for key, one in TENSORS.items() if key.startswith(case["name"] + ".")}
    logits = given["outputs"].requires_grad_()
    head = given["outputs_kd"].requires_grad_() if case["distillation_head"] else None
    loss = deit_distillation(
        logits,
        given["teacher"],
        given["labels"],
        kind=case["kind"],
        weight=case["alpha"],
        temperature=case["tau"],
        distilled_logits=head,
        per_class=True,
    )
    assert loss.item() == pytest.approx(case["loss"], rel=1e-5)
    loss.backward()
    torch.testing.assert_close(logits.grad, given["grad_outputs"], rtol=1e-4, atol=1e-7)
    if head is not None:
        torch.testing.assert_close(head.grad, given["grad_outputs_kd"], rtol=1e-4, atol=1e-7)


def some() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(4, 6, generator=generator) for _ in range(3))  # type: ignore[return-value]


def test_by_default_the_teachers_share_does_not_depend_on_the_classes() -> None:
    logits, teacher, targets = some()
    targets = targets.softmax(-1)
    found = deit_distillation(logits, teacher, targets, weight=0.3, temperature=2.0)
    expected = 0.7 * cross_entropy(logits, targets) + 0.3 * distillation(logits, teacher, temperature=2.0)
    torch.testing.assert_close(found, expected)


def test_labels_are_targets_of_one() -> None:
    logits, teacher, _ = some()
    labels = torch.tensor([0, 5, 2, 2])
    soft = torch.nn.functional.one_hot(labels, 6).float()
    for kind in ("none", "soft", "hard"):
        pair = [deit_distillation(logits, teacher, one, kind=kind) for one in (labels, soft)]  # type: ignore[arg-type]
        torch.testing.assert_close(*pair)
