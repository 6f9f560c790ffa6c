"""A network of ours beside timm's: both with the same weights, made to compute the same before they are timed."""

from __future__ import annotations

import time
from collections.abc import Callable

import timm
import torch
from showing import Row
from torch import Tensor, nn

from vitesse.measure import compare, time_interleaved
from vitesse.zoo import from_timm

Call = Callable[[], object]


def call(network: nn.Module, images: Tensor, *, train: bool, forward: Callable[[Tensor], Tensor] | None = None) -> Call:
    """One pass as it is timed: forward alone without gradients, or forward, backward into fresh gradients.

    forward: how the network is asked, where it is not simply called.
    """
    run = forward or network

    def evaluate() -> object:
        with torch.inference_mode():
            return run(images)

    def learn() -> None:
        network.zero_grad(set_to_none=True)
        run(images).square().mean().backward()

    network.train(train)
    return learn if train else evaluate


def row(ours: Call, other: Call, *, other_name: str, rounds: int, seconds: float) -> Row:
    """The ratio of their times in the same rounds, by the process's own processor time."""
    calls = {"ours": ours, "other": other}
    timed = time_interleaved(calls, rounds=rounds, warmup=1, seconds=seconds, clock=time.process_time)
    found = compare(timed["other"], timed["ours"])
    return {
        f"{other_name} ms": timed["other"].median_ms,
        f"ours/{other_name}": f"{found.ratio:.2f} ({found.low:.2f}–{found.high:.2f})",
        "rounds": timed["other"].rounds,
    }


def case(name: str, *, batch: int, train: bool, rounds: int, seconds: float, **options: float) -> Row:
    """One network in one mode against timm's; `options` go to timm's constructor."""
    torch.manual_seed(0)
    theirs = timm.create_model(name, pretrained=False, **options).eval()
    ours = from_timm(theirs).eval()
    images = torch.randn(batch, 3, *ours.arch.stem.image, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours(images[:1]), theirs(images[:1]), rtol=1e-3, atol=1e-4)
    calls = [call(network, images, train=train) for network in (ours, theirs)]
    what: Row = {"model": name, "what": "fwd+bwd" if train else "fwd", "batch": batch}
    return {**what, **row(calls[0], calls[1], other_name="timm", rounds=rounds, seconds=seconds)}
