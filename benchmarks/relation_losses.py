"""Time and peak memory of the relation losses, forward and backward, against the plain form with its (N, N) matrices.

    python benchmarks/relation_losses.py [--quick] [--json FILE]

Sizes are those of layers of DeiT-S and of the stages of Swin-T, with teachers of the B size (q, k, v by windows). `plain`
writes the losses as the paper has them and leaves the rest to autograd. Time is processor time, the two by turns, the
median; memory is the most that tensors made in a pass hold at one time.
"""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable
from typing import Any

import torch
from showing import Row, conditions, end, options, show
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from vitesse.losses.relations import SAME, attention_relations, hidden_relations

Sides = tuple[dict[str, Tensor], dict[str, Tensor]]

# name: which loss, (B, N, C) of the student, C of the teacher, relation heads.
CASES = {
    "attention, DeiT-S of DeiT-B": ("attention", (8, 197, 384), 768, 12),
    "attention, Swin-T stage 1, windows": ("attention", (128, 49, 96), 128, 1),
    "hidden, DeiT-S of DeiT-B": ("hidden", (8, 197, 384), 768, 1),
    "hidden, Swin-T stage 1": ("hidden", (2, 3136, 96), 128, 1),
    "hidden, Swin-T stage 2": ("hidden", (2, 784, 192), 256, 1),
    "hidden, Swin-T stage 3": ("hidden", (8, 196, 384), 512, 1),
}


def sides(case: str) -> Sides:
    """Student and teacher of a case, random."""
    _, (batch, tokens, width), other, _ = CASES[case]
    generator = torch.Generator().manual_seed(0)
    ours = {kind: torch.randn(batch, tokens, width, generator=generator).requires_grad_() for kind in "qkv"}
    return ours, {kind: torch.randn(batch, tokens, other, generator=generator) for kind in "qkv"}


def ours(case: str, student: dict[str, Tensor], teacher: dict[str, Tensor]) -> Tensor:
    """The losses of Vitesse."""
    loss, *_, heads = CASES[case]
    if loss == "attention":
        return attention_relations(student, teacher, pairs=SAME, heads=heads)
    return hidden_relations(student["q"], teacher["q"])


def plain(case: str, student: dict[str, Tensor], teacher: dict[str, Tensor]) -> Tensor:
    """The same with every matrix in memory."""
    loss, *_, heads = CASES[case]
    if loss == "hidden":
        a, b = (functional.normalize(side["q"], dim=-1) for side in (student, teacher))
        return (a @ a.transpose(1, 2) - b @ b.transpose(1, 2)).square().mean()

    def relation(x: Tensor) -> Tensor:
        x = x.unflatten(-1, (heads, -1)).transpose(1, 2)
        return x @ x.transpose(-1, -2) / x.shape[-1] ** 0.5

    terms = [-(relation(teacher[k]).softmax(-1) * relation(student[k]).log_softmax(-1)).sum(-1).mean() for k, _ in SAME]
    return torch.stack(terms).mean()


WAYS: dict[str, Callable[[str, dict[str, Tensor], dict[str, Tensor]], Tensor]] = {"ours": ours, "plain": plain}


def seconds(way: str, case: str, given: Sides) -> float:
    """Processor time of one forward and backward pass."""
    for side in given[0].values():
        side.grad = None
    before = time.process_time()
    WAYS[way](case, *given).backward()
    return time.process_time() - before


class Alive(TorchDispatchMode):
    """Counts the bytes of all tensors that are made within it, and remembers the most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(one, Tensor):
                self._count(one.untyped_storage())
        return out

    def _count(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return

        def gone(reference: Any) -> None:
            del self.known[key]
            self.now -= size

        self.known[key] = weakref.ref(storage, gone)
        self.now += size
        self.most = max(self.most, self.now)


def megabytes(way: str, case: str) -> float:
    """The most that the tensors of one pass take together, beside student and teacher."""
    given = sides(case)
    with Alive() as alive:
        WAYS[way](case, *given).backward()
    return alive.most / 1e6


def measured(case: str, rounds: int) -> Row:
    """One row: milliseconds and megabytes of both ways, and their ratios."""
    given = sides(case)
    values = [WAYS[way](case, *given).item() for way in WAYS]
    assert abs(values[0] - values[1]) <= 1e-4 * abs(values[1]), f"{case}: the two ways must agree, but gave {values}"
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            times[way].append(1e3 * seconds(way, case, given))
    middle = {way: statistics.median(each) for way, each in times.items()}
    memory = {way: megabytes(way, case) for way in WAYS}
    return {
        "case": case,
        "ours ms": middle["ours"],
        "plain ms": middle["plain"],
        "times as fast": middle["plain"] / middle["ours"],
        "ours MB": memory["ours"],
        "plain MB": memory["plain"],
        "of the memory": memory["ours"] / max(memory["plain"], 1e-9),
    }


def main() -> None:
    args, before = options(__doc__), conditions()
    rows = [measured(case, 2 if args.quick else 5) for case in CASES]
    show("Relation losses, forward and backward", rows)
    end(args, before, {"rows": rows})


if __name__ == "__main__":
    main()
