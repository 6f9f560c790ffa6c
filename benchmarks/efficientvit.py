"""EfficientViT (MSRA) against timm's: forward, and a training step, ratios taken in the same rounds.

    python benchmarks/efficientvit.py [--quick] [--json FILE]

Both have the same weights and are made to compute the same before they are timed. `timm` is timm's module as it comes,
not folded; in evaluation it keeps gathered biases, ours gathers them anew. The clock is the process's own processor time
(one thread). Target: at most 1.0 of timm.
"""

from __future__ import annotations

import time

import timm
import torch
from showing import Row, conditions, end, options, show
from tiny_vit import call

from vitesse.measure import compare, time_interleaved
from vitesse.zoo import from_timm


def case(name: str, *, batch: int, train: bool, rounds: int, seconds: float) -> Row:
    """Time one network in one mode against timm's."""
    torch.manual_seed(0)
    theirs = timm.create_model(name, pretrained=False).eval()
    ours = from_timm(theirs)
    images = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours(images[:1]), theirs(images[:1]), rtol=1e-3, atol=1e-4)
    networks = {"ours": ours.train(train), "timm": theirs}
    theirs.train(train)  # timm's gives nothing back
    calls = {label: call(network, images, train=train) for label, network in networks.items()}
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
    names = ("efficientvit_m0",) if args.quick else ("efficientvit_m0", "efficientvit_m2", "efficientvit_m5")
    rounds, seconds = (6, 10.0) if args.quick else (20, 60.0)
    rows = []
    for name in names:
        for batch, train in ((1, False), (16, False), (16, True)):
            rows.append(case(name, batch=batch, train=train, rounds=rounds, seconds=seconds))
            print(rows[-1], flush=True)
    show("EfficientViT against timm's (fp32, one thread)", rows)
    end(args, before, {"rows": rows})


if __name__ == "__main__":
    main()
