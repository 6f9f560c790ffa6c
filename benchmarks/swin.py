"""Swin against timm's, and a step of its supernet against the plain network, ratios taken in the same rounds.

    python benchmarks/swin.py [--quick] [--json FILE]

Both Swins have the same weights and are made to compute the same before they are timed. `timm` is timm's module as it
comes. `supernet` cuts a subnet out of a space around the network and runs it; `plain` is the same subnet extracted. The
clock is the process's own processor time (one thread). Target: at most 1.0 of timm, at most 1.08 of plain.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial

import timm
import torch
from showing import Row, conditions, end, options, show
from torch import Tensor, nn

from vitesse.arch import sample
from vitesse.measure import compare, time_interleaved
from vitesse.shrink.design import space_around
from vitesse.supernet import Supernet, inherit
from vitesse.zoo import from_timm, swin_tiny_patch4_window7_224

Forward = Callable[[Tensor], Tensor]


def call(network: nn.Module, forward: Forward, images: Tensor, *, train: bool) -> Callable[[], object]:
    """One pass as it is timed: forward alone without gradients, or forward, backward into fresh gradients."""

    def evaluate() -> object:
        with torch.inference_mode():
            return forward(images)

    def learn() -> None:
        network.zero_grad(set_to_none=True)
        forward(images).square().mean().backward()

    network.train(train)
    return learn if train else evaluate


def row(what: str, ours: Callable[[], object], other: Callable[[], object], *, rounds: int, seconds: float) -> Row:
    """Time one against the other."""
    timed = time_interleaved(
        {"ours": ours, "other": other}, rounds=rounds, warmup=1, seconds=seconds, clock=time.process_time
    )
    found = compare(timed["other"], timed["ours"])
    return {
        "what": what,
        "other ms": timed["other"].median_ms,
        "ours/other": f"{found.ratio:.2f} ({found.low:.2f}–{found.high:.2f})",
        "rounds": timed["other"].rounds,
    }


def beside_timm(name: str, *, batch: int, train: bool, rounds: int, seconds: float) -> Row:
    """One network in one mode against timm's."""
    torch.manual_seed(0)
    theirs = timm.create_model(name, pretrained=False, drop_path_rate=0.0).eval()
    ours = from_timm(theirs)
    images = torch.randn(batch, 3, *ours.arch.stem.image)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images[:1]), theirs(images[:1]), rtol=1e-3, atol=1e-4)
    calls = [call(network, network, images, train=train) for network in (ours, theirs)]
    what = f"{name}, {'fwd+bwd' if train else 'fwd'}, batch {batch}, beside timm's"
    return row(what, calls[0], calls[1], rounds=rounds, seconds=seconds)


def beside_plain(*, batch: int, train: bool, rounds: int, seconds: float) -> Row:
    """A subnet on slices of a supernet around Swin-T against the same as a network of its own."""
    supernet = Supernet(space_around(swin_tiny_patch4_window7_224()))
    arch = sample(supernet.space, random.Random(0))
    plain, images = inherit(supernet.network, arch), torch.randn(batch, 3, *arch.stem.image)
    ours = call(supernet, partial(supernet, arch=arch), images, train=train)
    what = f"a subnet of Swin-T's space, {'fwd+bwd' if train else 'fwd'}, batch {batch}, beside it alone"
    return row(what, ours, call(plain, plain, images, train=train), rounds=rounds, seconds=seconds)


def main() -> None:
    """Run the cases and show them."""
    args = options(__doc__)
    before = conditions()
    rounds, seconds = (6, 15.0) if args.quick else (20, 60.0)
    modes = ((1, False), (8, False), (8, True)) if not args.quick else ((1, False), (2, True))
    names = ("swin_tiny_patch4_window7_224",)
    names += () if args.quick else ("swin_s3_small_224", "swinv2_tiny_window8_256")
    cases = [partial(beside_timm, name, batch=batch, train=train) for name in names for batch, train in modes]
    cases.append(partial(beside_plain, batch=8, train=True))
    rows = []
    for case in cases:
        rows.append(case(rounds=rounds, seconds=seconds))
        print(rows[-1], flush=True)
    show("Swin against timm's and its supernet against the plain network (fp32, one thread)", rows)
    end(args, before, {"rows": rows})


if __name__ == "__main__":
    main()
