"""Losses on relations between tokens: what MiniViT distils beside the logits (Zhang et al., CVPR 2022, arXiv 2204.07154).

A relation compares each token with each other one, so student and teacher may have other widths and other heads; only the
number of tokens must agree. An (N, N) matrix for each head and image is never kept: relations come block by block, and the
gradient is formed with the loss, because it is known there. All is computed in float32.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vitesse.errors import VitesseError

Pair = tuple[str, str]
SAME = (("q", "q"), ("k", "k"), ("v", "v"))
EVERY = tuple(itertools.product("qkv", repeat=2))  # as published
PUBLISHED_FACTOR = 49.0  # of `hidden_relations`: the area of a window, whatever the number of tokens

_BLOCK = 1 << 22  # entries of a relation that exist at one time: 16 MB
_CHEAPER = 8  # how much less the small Gram matrices must cost: they are computed in float64


def attention_relations(
    student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], *, pairs: Sequence[Pair] = SAME, heads: int = 1
) -> Tensor:
    """Mean cross-entropy between softmax(X_i X_j^T / sqrt(C / heads)) of teacher and student, over pairs (i, j).

    student, teacher: "q", "k" and "v" of one layer, (B, N, C) each with its heads side by side, unscaled; B counts
    windows, too. C may differ between the two. heads: relation heads, into which both C are divided; free, as no head
    of the networks is meant. Published: all nine pairs and one head; the three of the same kind cost a third.
    VitesseError where tokens or heads do not fit.
    """
    total = torch.zeros((), device=next(iter(student.values())).device)
    for left, right in pairs:
        sides = [_heads(one[kind], heads) for one in (student, teacher) for kind in (left, right)]
        _require_tokens(
            *(side.shape[:1] + side.shape[2:3] for side in (sides[0], sides[2])), what="attention relations"
        )
        with _full_precision(sides[0]):
            loss: Tensor = _AttentionRelation.apply(*(side.float() for side in sides))
        total = total + loss
    return total / len(pairs)


def hidden_relations(student: Tensor, teacher: Tensor, *, factor: float = 1.0) -> Tensor:
    """factor * mean squared difference of the cosine similarities between all tokens of an image.

    student (B, N, C), teacher (B, N, C'). With factor 1 the loss does not depend on the number of tokens; published is
    49 (`PUBLISHED_FACTOR`), the window's area, for maps of any size. VitesseError where B or N differ.
    """
    _require_tokens(student.shape[:2], teacher.shape[:2], what="hidden relations")
    with _full_precision(student):
        ours, theirs = (functional.normalize(side.float(), dim=-1) for side in (student, teacher.detach()))
        tokens, wide, other = student.shape[1], student.shape[2], teacher.shape[2]
        small = wide * wide + wide * other + other * other
        # Exact only in float64, where the squares of the three nearly cancel; not every device has it.
        if tokens * (wide + other) >= _CHEAPER * small and student.device.type != "mps":
            loss: Tensor = _gram_difference(ours.double(), theirs.double()).float()
        else:
            loss = _TokenRelation.apply(ours, theirs)
    return factor * loss


def _heads(x: Tensor, heads: int) -> Tensor:
    if x.shape[-1] % heads:
        raise VitesseError(
            f"The relation heads must divide the width of q, k and v, but {heads} heads do not divide {x.shape[-1]}. "
            "Set distill.relation_heads to a common divisor of both networks' widths; 1 always is."
        )
    divided: Tensor = x.unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, heads, N, C / heads)
    return divided


def _require_tokens(student: Sequence[int], teacher: Sequence[int], *, what: str) -> None:
    if tuple(student) != tuple(teacher):
        raise VitesseError(
            f"The {what} of student and teacher need as many images (or windows) and tokens, but the student has "
            f"{student[0]} of {student[1]} and the teacher {teacher[0]} of {teacher[1]}. Choose networks or layers with the "
            "same map, or distil features instead (distill.features)."
        )


def _full_precision(x: Tensor) -> torch.autocast:
    return torch.autocast(x.device.type, enabled=False)


def _gram_difference(student: Tensor, teacher: Tensor) -> Tensor:
    """mean((S S^T - T T^T)^2) by (C, C) matrices: |S^T S|^2 + |T^T T|^2 - 2 |S^T T|^2."""
    sides = ((student, student, 1.0), (teacher, teacher, 1.0), (student, teacher, -2.0))
    squares = sum(share * (a.transpose(1, 2) @ b).square().sum() for a, b, share in sides)
    return torch.as_tensor(squares) / (student.shape[0] * student.shape[1] ** 2)


def _blocks(batch: int, tokens: int) -> Iterator[tuple[slice, slice]]:
    """Slices of images (or heads of them) and of rows: whole relations where several fit, else some rows of one."""
    rows = max(1, min(tokens, _BLOCK // tokens))
    whole = max(1, _BLOCK // (tokens * tokens))
    for first in range(0, batch, whole):
        for row in range(0, tokens, rows):
            yield slice(first, first + whole), slice(row, row + rows)


class _AttentionRelation(torch.autograd.Function):
    """Inputs (B, heads, N, D) of the student, (B, heads, N, D') of the teacher; the mean over all rows."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, teacher_left: Tensor, teacher_right: Tensor) -> Tensor:
        sides = [side.flatten(0, 1) for side in (left, right, teacher_left, teacher_right)]  # (B heads, N, D)
        ours, theirs, scale, teacher_scale = sides[:2], sides[2:], *(1 / math.sqrt(sides[i].shape[-1]) for i in (0, 2))
        batch, tokens = ours[0].shape[:2]
        wanted = any(ctx.needs_input_grad[:2])
        gradients = [torch.zeros_like(side) for side in ours] if wanted else []
        total = left.new_zeros(())
        for images, rows in _blocks(batch, tokens):
            a, b = ours[0][images, rows], ours[1][images]
            logits = torch.log_softmax(a @ b.transpose(1, 2) * scale, -1)  # (b, rows, N)
            told = torch.softmax(theirs[0][images, rows] @ theirs[1][images].transpose(1, 2) * teacher_scale, -1)
            total -= (told * logits).sum()
            if wanted:
                slope = logits.exp_().sub_(told).mul_(scale / (batch * tokens))
                gradients[0][images, rows] += slope @ b
                gradients[1][images] += slope.transpose(1, 2) @ a
        ctx.save_for_backward(*(gradient.view_as(left) for gradient in gradients))
        return total / (batch * tokens)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Any:
        return *(gradient * slope for gradient in ctx.saved_tensors), None, None


class _TokenRelation(torch.autograd.Function):
    """Inputs (B, N, C) and (B, N, C'), normalised; mean((S S^T - T T^T)^2)."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        batch, tokens = student.shape[:2]
        wanted = ctx.needs_input_grad[0]
        gradient = torch.zeros_like(student) if wanted else None
        total = student.new_zeros(())
        for images, rows in _blocks(batch, tokens):
            apart = torch.baddbmm(
                student[images, rows] @ student[images].transpose(1, 2),
                teacher[images, rows],
                teacher[images].transpose(1, 2),
                alpha=-1,
            )  # (b, rows, N)
            total += apart.square().sum()
            if gradient is not None:  # the difference is symmetric: rows and columns give the same
                gradient[images, rows] = apart @ student[images] * (4 / (batch * tokens**2))
        ctx.save_for_backward(*(() if gradient is None else (gradient,)))
        return total / (batch * tokens**2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Any:
        return ctx.saved_tensors[0] * slope, None
