"""Relations against the published losses, and against the plain form with its (N, N) matrices."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vitesse.errors import VitesseError
from vitesse.losses import relations
from vitesse.losses.classification import distillation
from vitesse.losses.features import l2
from vitesse.losses.relations import EVERY, PUBLISHED_FACTOR, SAME, attention_relations, hidden_relations

GOLDEN = Path(__file__).parents[1] / "golden"
CASE = json.loads((GOLDEN / "minivit_losses_A.json").read_text())["cases"][0]


@pytest.fixture(scope="module")
def record() -> dict[str, Tensor]:
    return {
        name.removeprefix("l2."): value for name, value in load_file(GOLDEN / "minivit_losses_A.safetensors").items()
    }


def sides(seed: int, *shapes: tuple[int, int, int]) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [{kind: torch.randn(shape, generator=generator) for kind in "qkv"} for shape in shapes]


def plain_attention(student: dict[str, Tensor], teacher: dict[str, Tensor], pairs: object, heads: int) -> Tensor:
    """As the paper has it, with all matrices."""

    def relation(one: dict[str, Tensor], left: str, right: str) -> Tensor:
        a, b = (one[kind].unflatten(-1, (heads, -1)).transpose(1, 2) for kind in (left, right))
        return a @ b.transpose(-1, -2) / a.shape[-1] ** 0.5

    losses = [
        -(relation(teacher, *pair).softmax(-1) * relation(student, *pair).log_softmax(-1)).sum(-1).mean()
        for pair in pairs  # type: ignore[attr-defined]
    ]
    return torch.stack(losses).mean()


def plain_hidden(student: Tensor, teacher: Tensor) -> Tensor:
    a, b = (torch.nn.functional.normalize(side, dim=-1) for side in (student, teacher))
    return (a @ a.transpose(1, 2) - b @ b.transpose(1, 2)).square().mean()


def test_attention_relations_agree_with_the_published(record: dict[str, Tensor]) -> None:
    layers, heads = CASE["layers"], CASE["relation_heads_Ar"]
    students = [{k: record[f"student.{i}.{k}"].clone().requires_grad_() for k in "qkv"} for i in range(layers)]
    teachers = [{k: record[f"teacher.{i}.{k}"] for k in "qkv"} for i in range(layers)]
    pairs = zip(students, teachers, strict=True)
    loss = torch.stack([attention_relations(s, t, pairs=EVERY, heads=heads) for s, t in pairs]).mean()
    loss.backward()
    assert loss.item() == pytest.approx(record["relation_loss"].item(), rel=1e-5)
    for i, student in enumerate(students):
        for kind, x in student.items():
            torch.testing.assert_close(x.grad, record[f"relation_grad.{i}.{kind}"], rtol=1e-4, atol=1e-8)


def test_hidden_losses_agree_with_the_published(record: dict[str, Tensor]) -> None:
    layers = CASE["layers"]
    students = [record[f"student.{i}.hidden"].clone().requires_grad_() for i in range(layers)]
    teachers = [record[f"teacher.{i}.hidden"] for i in range(layers)]
    pairs = list(zip(students, teachers, strict=True))
    loss = torch.stack([hidden_relations(s, t, factor=PUBLISHED_FACTOR) for s, t in pairs]).mean()
    loss.backward()
    assert loss.item() == pytest.approx(record["hidden_relation_loss"].item(), rel=1e-5)
    for i, student in enumerate(students):
        torch.testing.assert_close(student.grad, record[f"hidden_relation_grad.{i}"], rtol=1e-4, atol=1e-8)
    same = torch.stack([l2(students[i], record[f"teacher_same.{i}.hidden"]) for i in range(layers)]).mean()
    assert same.item() == pytest.approx(record["hidden_mse_loss"].item(), rel=1e-5)


@pytest.mark.parametrize("temperature", [1, 3])
def test_logits_agree_with_the_published(record: dict[str, Tensor], temperature: int) -> None:
    logits = record["student_logits"].clone().requires_grad_()
    loss = distillation(logits, record["teacher_logits"], temperature=temperature, form="cross_entropy")
    assert loss.item() == pytest.approx(record[f"logits_loss.T{temperature}"].item(), rel=1e-5)
    if temperature == 1:
        loss.backward()
        torch.testing.assert_close(logits.grad, record["logits_grad"], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("block", [1, 40, 100, 1 << 22])
def test_blocks_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of one relation, several relations at once, a last block that is smaller: all give the plain form."""
    monkeypatch.setattr(relations, "_BLOCK", block)
    ours, theirs = sides(0, (3, 7, 12), (3, 7, 20))
    for side in ours.values():
        side.requires_grad_()
    mixed = (("q", "k"), *SAME, ("v", "q"))
    for loss, wanted in (
        (attention_relations(ours, theirs, pairs=mixed, heads=4), plain_attention(ours, theirs, mixed, 4)),
        (hidden_relations(ours["q"], theirs["q"]), plain_hidden(ours["q"], theirs["q"])),
    ):
        torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-7)
        found, expected = (
            torch.autograd.grad(3 * one, list(ours.values()), materialize_grads=True) for one in (loss, wanted)
        )
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_small_gram_matrices_are_the_same_relation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tokens and few channels; also where student and teacher nearly agree, where squares would cancel."""
    generator = torch.Generator().manual_seed(1)
    for apart in (1.0, 1e-3):
        teacher = torch.randn(2, 150, 4, generator=generator)
        student = (teacher + apart * torch.randn(2, 150, 4, generator=generator)).requires_grad_()
        monkeypatch.setattr(relations, "_CHEAPER", 8)
        small = hidden_relations(student, teacher)
        monkeypatch.setattr(relations, "_CHEAPER", 10**9)
        rows = hidden_relations(student, teacher)
        double = student.detach().double().requires_grad_()
        exact = plain_hidden(double, teacher.double())
        (wanted,) = torch.autograd.grad(exact, double)
        for loss in (small, rows):
            assert loss.item() == pytest.approx(exact.item(), rel=1e-3 if apart < 1 else 1e-5)
            (found,) = torch.autograd.grad(loss, student)
            torch.testing.assert_close(found.double(), wanted, rtol=1e-2, atol=1e-3 * float(wanted.abs().max()))


def test_memory_stays_that_of_a_block() -> None:
    """No tensor as large as all the relations is made, forward or backward."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        seen = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            for one in out if isinstance(out, (tuple, list)) else [out]:
                if isinstance(one, Tensor):
                    Largest.seen = max(Largest.seen, one.untyped_storage().nbytes() // 4)
            return out

    ours, theirs = sides(2, (2, 2304, 8), (2, 2304, 8))
    student = {kind: side.requires_grad_() for kind, side in ours.items()}
    with Largest():
        (attention_relations(student, theirs, pairs=SAME[:1]) + hidden_relations(student["q"], theirs["q"])).backward()
    assert Largest.seen <= relations._BLOCK < 2 * 2304**2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_relations_are_computed_in_float32(dtype: torch.dtype) -> None:
    ours, theirs = sides(3, (2, 5, 8), (2, 5, 8))
    wanted = attention_relations(ours, theirs), hidden_relations(ours["q"], theirs["q"])
    low = [{kind: x.to(dtype) for kind, x in one.items()} for one in (ours, theirs)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attention_relations(*low), hidden_relations(low[0]["q"], low[1]["q"])
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=2e-2, atol=1e-3)


def test_what_does_not_fit_is_named() -> None:
    ours, theirs, fewer = sides(4, (2, 5, 12), (2, 5, 20), (2, 4, 20))
    with pytest.raises(VitesseError, match="student has 2 of 5 and the teacher 2 of 4"):
        attention_relations(ours, fewer)
    with pytest.raises(VitesseError, match="student has 2 of 5 and the teacher 2 of 4"):
        hidden_relations(ours["q"], fewer["q"])
    with pytest.raises(VitesseError, match="3 heads do not divide 20"):
        attention_relations(ours, theirs, heads=3)


def test_a_teacher_gets_no_gradient() -> None:
    ours, theirs = sides(5, (1, 4, 4), (1, 4, 4))
    teacher = {kind: x.requires_grad_() for kind, x in theirs.items()}
    student = {kind: x.requires_grad_() for kind, x in ours.items()}
    (attention_relations(student, teacher) + hidden_relations(student["q"], teacher["q"])).backward()
    assert all(x.grad is None for x in teacher.values())
    assert all(x.grad is not None for x in student.values())
