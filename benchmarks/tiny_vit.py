"""TinyViT against timm's: forward and a training step, ratios taken in the same rounds.

    python benchmarks/tiny_vit.py [--quick] [--json FILE]

Both have the same weights and are made to compute the same before they are timed. `timm` is timm's module as it comes;
in evaluation it keeps gathered biases, ours gathers them anew. `contiguous` and `channels last` say how the images lie.
The clock is the process's own processor time (one thread). Target: at most 1.0 of timm.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import timm
import torch
from showing import Row, conditions, end, options, show
from torch import Tensor, nn

from vitesse.measure import compare, time_interleaved
from vitesse.zoo import from_timm


def call(network: nn.Module, images: Tensor, *, train: bool) -> Callable[[], object]:
    """One pass as it is timed: forward alone without gradients, or forward, backward into fresh gradients."""

    def evaluate() -> object:
        with torch.inference_mode():
            return network(images)

    def learn() -> None:
        network.zero_grad(set_to_none=True)
        network(images).square().mean().backward()

    return learn if train else evaluate


def case(name: str, *, batch: int, train: bool, rounds: int, seconds: float) -> Row:
    """Time one network in one mode against timm's."""
    torch.manual_seed(0)
    theirs = timm.create_model(name, pretrained=False, drop_path_rate=0.0)
    ours = from_timm(theirs)
    size = ours.arch.stem.image
    images = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))
    for network in (theirs, ours):
        network.eval()
    with torch.inference_mode():
        torch.testing.assert_close(ours(images[:1]), theirs(images[:1]), rtol=1e-3, atol=1e-4)
    calls = {}
    for label, network in (("ours", ours), ("timm", theirs)):
        calls[label] = call(network.train(train), images, train=train)
    timed = time_interleaved(calls, rounds=rounds, warmup=1, seconds=seconds, clock=time.process_time)
    found = compare(timed["timm"], timed["ours"])
    return {
        "model": name,
        "what": "fwd+bwd" if train else "fwd",
        "batch": batch,
        "timm ms": timed["timm"].median_ms,
        "ours/timm": f"{found.ratio:.2f} ({found.low:.2f}–{found.high:.2f})",
        "rounds": timed["timm"].rounds,
    }


def main() -> None:
    """Run the cases and show them."""
    args = options(__doc__)
    before = conditions()
    names = ("tiny_vit_5m_224",) if args.quick else ("tiny_vit_5m_224", "tiny_vit_21m_224")
    rounds, seconds = (6, 15.0) if args.quick else (20, 60.0)
    rows = []
    for name in names:
        for batch, train in ((1, False), (8, False), (8, True)):
            rows.append(case(name, batch=batch, train=train, rounds=rounds, seconds=seconds))
            print(rows[-1], flush=True)
    show("TinyViT against timm's (fp32, one thread)", rows)
    end(args, before, {"rows": rows})


if __name__ == "__main__":
    main()
