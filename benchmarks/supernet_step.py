"""A step of the supernet against the plain network of the same subnet, a timm ViT, and relative position done naively.

    python benchmarks/supernet_step.py [--quick] [--json FILE]

AutoFormer-tiny at 224 and 64 pixels. `supernet` cuts the subnet out and runs it by `functional_call`; `fresh` does so for
a subnet that was never asked for before, so that its skeleton is made too. `plain` is the same subnet extracted. `timm`
is a ViT of the nearest uniform sizes, without relative position. `naive` is `plain` with the relative vectors of all pairs
of tokens as one (N, N, head_dim) tensor and einsum, as the maths is printed. Ratios are to `plain`, in the same rounds.
Also a path of Cream's space (43 million multiply-adds, 64 pixels), where operations are selected, not sliced.
The clock is the process's own processor time (one thread), so that others on the machine disturb little.
Target: supernet at most 1.05 for forward and backward.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from shutil import which
from typing import Any

import torch
from showing import Row, conditions, end, options, show
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.func import functional_call

from vitesse.arch import MLP, Attention, Backbone, Grid, largest, parameters, resolve, sample, smallest
from vitesse.measure import Latency, compare, time_interleaved
from vitesse.nets import Network
from vitesse.ops.attention import SelfAttention
from vitesse.ops.relative_position import RelativePositionTables
from vitesse.supernet import Supernet, inherit
from vitesse.weights.slice import places, take_all
from vitesse.zoo.autoformer import autoformer_tiny_space
from vitesse.zoo.cream_space import cream_space

CLASSES = 1000
Forward = Callable[[Tensor], Tensor]


class NaiveTables(RelativePositionTables):
    """Relative position by its definition: a vector for each pair of tokens."""

    def pairs(self, side: str, grid: Grid) -> Tensor:
        """The vector of each (query, key): (N, N, head_dim)."""
        tables = self.by_place(side, grid)  # one table for all heads
        both = (
            tables.rows[0][:, None, :, None] + tables.columns[0][None, :, None, :]
        )  # (rows, columns, rows, columns, head_dim)
        table = tables.extra.expand(grid.tokens, grid.tokens, -1).clone()
        table[grid.extra :, grid.extra :] = both.flatten(2, 3).flatten(0, 1)
        return table

    def attend(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        scores = q @ k.transpose(-1, -2) + torch.einsum("bhid,ijd->bhij", q, self.pairs("key", grid))
        weights = (scores * q.shape[-1] ** -0.5).softmax(-1)  # (B, heads, N, N)
        attended: Tensor = weights @ v + torch.einsum("bhij,ijd->bhid", weights, self.pairs("value", grid))
        return attended


def naive(network: Network) -> Network:
    """The same network, its relative position done naively."""
    copy = inherit(network, network.arch)
    for module in copy.modules():
        if isinstance(module, SelfAttention) and module.position is not None:
            tables = NaiveTables(module.position.value, module.value.head_dim)
            tables.load_state_dict(module.position.state_dict())
            module.position = tables
    return copy


def timm_vit(arch: Backbone) -> VisionTransformer:
    """A ViT of the same width and depth, with the nearest uniform number of heads and MLP ratio."""
    stage = arch.stages[0]
    branches = [branch for block in stage.blocks for branch in block.branches]
    heads = [branch.heads for branch in branches if isinstance(branch, Attention)]
    ratios = [branch.ratio for branch in branches if isinstance(branch, MLP)]
    # timm's heads share the width, so their number must divide it.
    count = min((n for n in range(1, 13) if stage.dim % n == 0), key=lambda n: abs(n - sum(heads) / len(heads)))
    return VisionTransformer(
        img_size=arch.stem.image, patch_size=arch.stem.patch, num_classes=CLASSES, global_pool="avg",
        embed_dim=stage.dim, depth=stage.depth, num_heads=count, mlp_ratio=sum(ratios) / len(ratios),
    )  # fmt: skip


def middle(space: Backbone) -> Backbone:
    """The middle option of each choice; of two, by turns from block to block."""

    def pick(path: str, choice: Any) -> Any:
        block = int(path.split(".")[3]) if ".blocks." in path else 0
        turn = block % 2 if path.endswith("heads") else block // 2 % 2
        return choice.options[len(choice.options) // 2 - (turn if len(choice.options) == 2 else 0)]

    return resolve(space, pick)


def call(forward: Forward, images: Tensor, *, train: bool, bf16: bool, owner: nn.Module) -> Callable[[], object]:
    """One pass as it is timed: forward alone without gradients, or forward and backward into fresh gradients."""

    def evaluate() -> object:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return forward(images)

    def learn() -> None:
        owner.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = forward(images).float().square().mean()
        loss.backward()

    return learn if train else evaluate


def never_seen(space: Backbone) -> Iterator[Backbone]:
    """Subnets that differ each time, all as large as the middle one in depth and width."""
    rng, like = random.Random(0), middle(space).stages[0]
    held = replace(space, stages=(replace(space.stages[0], dim=like.dim, depth=like.depth),))
    while True:
        yield sample(held, rng)


def case(supernet: Supernet, name: str, arch: Backbone, *, batch: int, train: bool, bf16: bool, quick: bool) -> Row:
    """Time all contestants of one case against each other; of what takes seconds a pass, only the middle against all."""
    heavy = arch.stem.image[0] * batch > 224 * 8
    images = torch.randn(batch, 3, *arch.stem.image, generator=torch.Generator().manual_seed(0))
    plain = inherit(supernet.network, arch)
    modules: dict[str, nn.Module] = {"plain": plain, "timm": timm_vit(arch), "naive": naive(plain)}
    for module in (supernet, *modules.values()):
        module.train(train)
    same_numbers(plain, modules["naive"], lambda x: supernet(x, arch), images=images[:1])
    how: Any = {"images": images, "train": train, "bf16": bf16}
    calls = {"plain": call(plain, owner=plain, **how)}
    calls["supernet"] = call(lambda x: supernet(x, arch), owner=supernet, **how)
    if name == "middle":
        fresh = never_seen(supernet.space)
        calls["fresh"] = call(lambda x: supernet(x, next(fresh)), owner=supernet, **how)
    if name == "middle" or not heavy:
        calls |= {key: call(modules[key], owner=modules[key], **how) for key in ("timm", "naive")}
    rounds, seconds = (10, 5.0) if quick else (10, 150.0) if heavy else (60, 12.0)
    timed = time_interleaved(calls, rounds=rounds, warmup=1, seconds=seconds, clock=time.process_time)
    return {
        "pixels": arch.stem.image[0],
        "what": ("fwd+bwd" if train else "fwd") + (" bf16" if bf16 else ""),
        "batch": batch,
        "subnet": name,
        "plain ms": timed["plain"].median_ms,
        **{f"{key}/plain": ratio(timed, key) for key in ("supernet", "fresh", "timm", "naive")},
        "rounds": timed["plain"].rounds,
    }


def path_case(*, batch: int, train: bool, quick: bool) -> Row:
    """A path of Cream's space, which selects operations: in the supernet, and as a network of its own."""
    space = cream_space(max_flops=43, classes=CLASSES, image=64)
    supernet, rng = Supernet(space), random.Random(0)
    arch = sample(space, rng)
    images = torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain = inherit(supernet.network, arch)
    for module in (supernet, plain):
        module.train(False)
    same_numbers(plain, lambda x: supernet(x, arch), images=images[:2])
    for module in (supernet, plain):
        module.train(train)
    how: Any = {"images": images, "train": train, "bf16": False}
    calls = {
        "plain": call(plain, owner=plain, **how),
        "supernet": call(lambda x: supernet(x, arch), owner=supernet, **how),
        "fresh": call(lambda x: supernet(x, sample(space, rng)), owner=supernet, **how),
    }
    timed = time_interleaved(calls, rounds=10 if quick else 60, warmup=1, seconds=12.0, clock=time.process_time)
    return {
        "what": "fwd+bwd" if train else "fwd",
        "batch": batch,
        "plain ms": timed["plain"].median_ms,
        **{f"{key}/plain": ratio(timed, key) for key in ("supernet", "fresh")},
        "rounds": timed["plain"].rounds,
    }


def ratio(timed: Mapping[str, Latency], name: str) -> str:
    """How many times as long as the plain network, with the 10th and 90th percentile over the rounds."""
    if name not in timed:
        return "–"
    found = compare(timed["plain"], timed[name])
    return f"{found.ratio:.2f} ({found.low:.2f}–{found.high:.2f})"


def shares(supernet: Supernet) -> list[Row]:
    """Where the supernet's time goes beside the network itself: nothing here depends on the images."""
    arch = middle(supernet.space)
    shapes, small = parameters(supernet.host), parameters(arch)
    state, where = dict(supernet.network.named_parameters()), places(shapes, small)
    taken, plain = take_all(state, where), Bare(inherit(supernet.network, arch))
    own = [nn.Parameter(torch.zeros_like(weight)) for weight in taken.values()]
    gradients = [torch.zeros_like(weight) for weight in own]
    named = {f"network.{name}": weight for name, weight in taken.items()}

    def through_slices() -> None:
        supernet.zero_grad(set_to_none=True)
        torch.autograd.backward(list(taken.values()), gradients, retain_graph=True)

    def directly() -> None:
        for weight in own:
            weight.grad = None
        torch.autograd.backward([weight.view_as(weight) for weight in own], gradients)

    calls: dict[str, Callable[[], object]] = {
        "list the parameters": lambda: dict(supernet.network.named_parameters()),
        "find where slices lie (once an architecture)": lambda: places(shapes, parameters(arch)),
        "take the slices": lambda: take_all(state, where),
        "put them into the skeleton": lambda: functional_call(plain, named, ()),
        "gradients through the slices": through_slices,
        "the same gradients without slices": directly,
    }
    timed = time_interleaved(calls, rounds=40, warmup=2, clock=time.process_time)
    return [{"part": name, "ms": latency.median_ms, "p90 ms": latency.p90_ms} for name, latency in timed.items()]


class Bare(nn.Module):
    """Holds a network and does nothing."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self) -> None:
        return None


@torch.inference_mode()
def same_numbers(plain: nn.Module, *others: Forward, images: Tensor) -> None:
    """Contestants that claim to compute the same must do so before they are timed."""
    for other in others:
        torch.testing.assert_close(other(images), plain(images), rtol=1e-3, atol=1e-4)


def compiled(supernet: Supernet, arch: Backbone, *, batch: int, rounds: int) -> Row:
    """The extracted network through torch.compile: what compiling costs, and what it brings in evaluation."""
    images = torch.randn(batch, 3, *arch.stem.image, generator=torch.Generator().manual_seed(0))
    plain = inherit(supernet.network, arch).eval()
    torch.compiler.reset()
    fast = torch.compile(plain)
    before = time.perf_counter()  # the compiler is another process
    same_numbers(plain, fast, images=images)
    seconds = time.perf_counter() - before
    how: Any = {"images": images, "train": False, "bf16": False}
    calls = {"plain": call(plain, owner=plain, **how), "compiled": call(fast, owner=plain, **how)}
    timed = time_interleaved(calls, rounds=rounds, warmup=1, clock=time.process_time)
    return {
        "pixels": arch.stem.image[0],
        "batch": batch,
        "plain ms": timed["plain"].median_ms,
        "compiled": compare(timed["plain"], timed["compiled"]).verdict,
        "seconds to compile, wall": seconds,
    }


def plans(quick: bool) -> Iterator[tuple[int, bool, bool]]:
    """Batch, whether backward too, whether in bf16."""
    for batch in (1, 16):
        yield from ((batch, train, False) for train in (False, True))
    if not quick:
        yield from ((1, False, True), (16, True, True))


def main() -> None:
    args, before = options(__doc__), conditions()
    rows, graphs = [], []
    for pixels in (64,) if args.quick else (64, 224):
        space = autoformer_tiny_space(classes=CLASSES, image=pixels)
        supernet = Supernet(space)
        archs = {"middle": middle(space), "smallest": smallest(space), "largest": largest(space)}
        for batch, train, bf16 in plans(args.quick):
            for name in ("middle",) if args.quick or bf16 else archs:
                rows.append(case(supernet, name, archs[name], batch=batch, train=train, bf16=bf16, quick=args.quick))
                print(rows[-1], flush=True)
        if not args.quick and which("c++"):
            graphs += [compiled(supernet, archs["middle"], batch=batch, rounds=15) for batch in (1, 16)]
    paths = [path_case(batch=batch, train=train, quick=args.quick) for batch in (1, 16) for train in (False, True)]
    parts = shares(supernet)
    show("A step of the supernet (AutoFormer-tiny; ratio to the plain network, 10th to 90th percentile)", rows)
    show("A path of Cream's space at 64 pixels; fresh: another path each time", paths)
    show("What the supernet adds, whatever the images and the batch", parts)
    if graphs:
        show("The extracted middle subnet compiled (fp32, evaluation)", graphs)
    end(args, before, {"rows": rows, "paths": paths, "parts": parts, "compiled": graphs})


if __name__ == "__main__":
    main()
