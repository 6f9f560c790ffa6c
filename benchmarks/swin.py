"""Swin against timm's, and a step of its supernet against the plain network, ratios taken in the same rounds.

    python benchmarks/swin.py [--quick] [--json FILE]

Both Swins have the same weights and are made to compute the same before they are timed. `timm` is timm's module as it
comes. `supernet` cuts a subnet out of a space around the network and runs it; `plain` is the same subnet extracted. The
clock is the process's own processor time (one thread). Target: at most 1.0 of timm, at most 1.08 of plain.
"""

from __future__ import annotations

import random
from functools import partial

import torch
from beside_timm import call, case, row
from showing import Row, conditions, end, options, show

from vitesse.arch import sample
from vitesse.shrink.design import space_around
from vitesse.supernet import Supernet, inherit
from vitesse.zoo import swin_tiny_patch4_window7_224


def beside_plain(*, batch: int, train: bool, rounds: int, seconds: float) -> Row:
    """A subnet on slices of a supernet around Swin-T against the same as a network of its own."""
    supernet = Supernet(space_around(swin_tiny_patch4_window7_224()))
    arch = sample(supernet.space, random.Random(0))
    plain, images = inherit(supernet.network, arch), torch.randn(batch, 3, *arch.stem.image)
    ours = call(supernet, images, train=train, forward=partial(supernet, arch=arch))
    other = call(plain, images, train=train)
    what: Row = {"model": "a subnet of Swin-T's space", "what": "fwd+bwd" if train else "fwd", "batch": batch}
    return {**what, **row(ours, other, other_name="plain", rounds=rounds, seconds=seconds)}


def main() -> None:
    """Run the cases and show them."""
    args = options(__doc__)
    before = conditions()
    rounds, seconds = (6, 15.0) if args.quick else (20, 60.0)
    modes = ((1, False), (8, False), (8, True)) if not args.quick else ((1, False), (2, True))
    names = ("swin_tiny_patch4_window7_224",)
    names += () if args.quick else ("swin_s3_small_224", "swinv2_tiny_window8_256")
    rows = []
    for name in names:
        for batch, train in modes:
            rows.append(case(name, batch=batch, train=train, rounds=rounds, seconds=seconds, drop_path_rate=0.0))
            print(rows[-1], flush=True)
    supernets = [beside_plain(batch=8, train=True, rounds=rounds, seconds=seconds)]
    show("Swin against timm's (fp32, one thread)", rows)
    show("A supernet around Swin-T against the plain network", supernets)
    end(args, before, {"rows": rows, "supernets": supernets})


if __name__ == "__main__":
    main()
