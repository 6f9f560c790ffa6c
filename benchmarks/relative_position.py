"""Image relative position encoding beside attention without it and beside its published form.

    python benchmarks/relative_position.py [--quick] [--json FILE]

Attention alone (q, k, v to the attended values) and a whole block of DeiT-S and DeiT-B at 224 pixels: 197 tokens, tables as
published. `plain` is the same without relative positions. `naive` is the published form without its own kernel: products
with the buckets indexed for each pair, and for values a vector of each pair as one (N, N, head_dim) tensor. Ratios are to
`plain`, in the same rounds. The clock is the process's own processor time (one thread), so that others on the machine
disturb little. Memory is what a profiler sees allocated at the worst moment, beside what was there before.
Target: on keys at most 1.10 of a whole block.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from showing import Row, conditions, end, options, show
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from vitesse.arch import MLP, Attention, Grid, ImageRelativePosition
from vitesse.measure import Latency, compare, time_interleaved
from vitesse.nets.branch import Branch
from vitesse.ops.attention import SelfAttention
from vitesse.ops.buckets import bucket_matrix
from vitesse.ops.image_position import ImagePositionTables

GRID = Grid(14, 14, 1)
WAYS: Mapping[str, ImageRelativePosition] = {
    "product k": ImageRelativePosition(on="k"),
    "product qk": ImageRelativePosition(on="qk"),
    "product qkv": ImageRelativePosition(on="qkv"),
    "cross k": ImageRelativePosition(method="cross", on="k", alpha=20, beta=40, gamma=160),
}
HEADS = {"DeiT-S": 6, "DeiT-B": 12}


class NaiveTables(ImagePositionTables):
    """As published: an index for each pair into the products, and for values a vector for each pair."""

    def __init__(self, value: ImageRelativePosition, heads: int, head_dim: int) -> None:
        super().__init__(value, heads, head_dim)
        steps = {"alpha": value.alpha, "beta": value.beta, "gamma": value.gamma}
        size: dict[str, Any] = {"height": GRID.rows, "width": GRID.columns, "extra": GRID.extra}
        self.index = {method: bucket_matrix(method, **steps, **size) for method, _ in self._parts(value.sides[0])}

    def attend(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid, **unused: Any) -> Tensor:
        scale = q.shape[-1] ** -0.5
        q = q * scale
        scores = q @ k.transpose(-1, -2)
        for side, x in (("key", q), ("query", k * scale)):
            for method, entries in self._parts(side) if side in self.value.sides else ():
                products = torch.einsum("bhnd,ed->bhne", x, entries[0]).flatten(2)  # (B, heads, N * n)
                flat = self.index[method] + torch.arange(grid.tokens)[:, None] * entries.shape[1]
                term = products[:, :, flat.flatten()].unflatten(-1, (grid.tokens, grid.tokens))
                scores = scores + (term if side == "key" else term.transpose(-1, -2))
        weights = scores.softmax(-1)
        out: Tensor = weights @ v
        for method, entries in self._parts("value") if "value" in self.value.sides else ():
            pairs = entries[0][self.index[method]]  # (N, N, head_dim)
            out = out + torch.einsum("bhij,ijd->bhid", weights, pairs)
        return out


class Core(nn.Module):
    """Attention alone: q, k, v as a projection leaves them, (B, N, 3 * heads * 64), to (B, heads, N, 64)."""

    def __init__(self, position: nn.Module | None, heads: int) -> None:
        super().__init__()
        self.position, self.heads = position, heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = x.unflatten(-1, (3, self.heads, 64)).permute(2, 0, 3, 1, 4).unbind(0)
        if self.position is None:
            return nn.functional.scaled_dot_product_attention(q, k, v)
        attended: Tensor = self.position.attend(q, k, v, GRID)  # type: ignore[operator]
        return attended


class Whole(nn.Module):
    """One block: attention and perceptron, each with its norm and its residual."""

    def __init__(self, position: nn.Module | None, heads: int) -> None:
        super().__init__()
        self.attention = Branch(Attention(heads=heads), 64 * heads)
        assert isinstance(self.attention.op, SelfAttention)
        self.attention.op.position = position  # type: ignore[assignment]
        self.perceptron = Branch(MLP(), 64 * heads)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.perceptron(self.attention(x, GRID), GRID)
        return out


def contestants(kind: type[Core] | type[Whole], value: ImageRelativePosition, heads: int) -> dict[str, nn.Module]:
    """Without positions, with ours, with the published form; the same weights, so that they can be compared."""
    ours, theirs = ImagePositionTables(value, heads, 64), NaiveTables(value, heads, 64)
    for table in ours.parameters():
        nn.init.normal_(table, std=0.02)
    theirs.load_state_dict(ours.state_dict())
    made: dict[str, nn.Module] = {"plain": kind(None, heads), "ours": kind(ours, heads), "naive": kind(theirs, heads)}
    for module in made.values():
        module.load_state_dict(made["plain"].state_dict(), strict=False)
    return made


def call(module: nn.Module, x: Tensor, train: bool) -> Callable[[], object]:
    """One pass as it is timed: forward alone without gradients, or forward and backward into fresh gradients."""

    def evaluate() -> object:
        with torch.inference_mode():
            return module(x)

    def learn() -> None:
        module.zero_grad(set_to_none=True)
        x.grad = None
        module(x).square().mean().backward()

    return learn if train else evaluate


def peak(pass_: Callable[[], object]) -> float:
    """The most MB that are allocated at once during a pass, by the profiler's record of every allocation."""
    pass_()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        pass_()
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most / 2**20


def case(model: str, name: str, kind: type[Core] | type[Whole], *, batch: int, train: bool, quick: bool) -> Row:
    """Time the contestants of one case against each other."""
    heads = HEADS[model]
    modules = contestants(kind, WAYS[name], heads)
    width = 64 * heads * (3 if kind is Core else 1)
    x = torch.randn(batch, GRID.tokens, width, generator=torch.Generator().manual_seed(0)).requires_grad_(train)
    with torch.inference_mode():
        torch.testing.assert_close(modules["ours"](x), modules["naive"](x), rtol=1e-3, atol=1e-4)
    calls = {key: call(module, x, train) for key, module in modules.items()}
    rounds, seconds = (10, 2.0) if quick else (40, 4.0 if batch == 1 else 20.0)
    timed = time_interleaved(calls, rounds=rounds, warmup=1, seconds=seconds, clock=time.process_time)
    return {
        "model": model,
        "positions": name,
        "of": "attention" if kind is Core else "block",
        "what": "fwd+bwd" if train else "fwd",
        "batch": batch,
        "plain ms": timed["plain"].median_ms,
        **{f"{key}/plain": ratio(timed, key) for key in ("ours", "naive")},
        **{f"{key} MB": round(peak(pass_), 1) for key, pass_ in calls.items()},
        "rounds": timed["plain"].rounds,
    }


def ratio(timed: Mapping[str, Latency], name: str) -> str:
    """How many times as long as without positions, with the 10th and 90th percentile over the rounds."""
    found = compare(timed["plain"], timed[name])
    return f"{found.ratio:.2f} ({found.low:.2f}–{found.high:.2f})"


def main() -> None:
    args, before, rows = options(__doc__), conditions(), []
    for model in ("DeiT-S",) if args.quick else HEADS:
        for batch in (1,) if args.quick else (1, 16):
            for kind in (Core, Whole):
                for name in WAYS:
                    for train in (False, True):
                        rows.append(case(model, name, kind, batch=batch, train=train, quick=args.quick))
                        print(rows[-1], flush=True)
    show("Image relative positions (197 tokens; ratio to the same without, 10th to 90th percentile)", rows)
    end(args, before, {"rows": rows})


if __name__ == "__main__":
    main()
