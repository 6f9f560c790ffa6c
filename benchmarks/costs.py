"""The costs of 10,000 architectures: by formula, beside building each network and counting while it runs.

    python benchmarks/costs.py [--quick] [--json FILE]

Random networks of the space AutoFormer-T, and random paths of Cream's space of 600 million multiply-adds. `formula` is
`vitesse.arch.cost`: parameters, multiply-adds, memory. `build` makes each network without memory for its weights (device
meta) and counts its parameters only. `count` also runs it under
PyTorch's FlopCounterMode. The last two are timed on a few networks, and their time for all is extrapolated.
The clock is processor time. Target: the formula in less than a second.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import torch
from showing import Row, conditions, end, options, show
from torch.utils.flop_counter import FlopCounterMode

from vitesse.arch import Backbone, cost, sample
from vitesse.nets.build import skeleton
from vitesse.zoo.autoformer import autoformer_tiny_space
from vitesse.zoo.cream_space import cream_space

NETWORKS = 10_000


def build(arch: Backbone) -> int:
    """The number of parameters, counted on the network."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in skeleton(arch).parameters())


def count(arch: Backbone) -> int:
    """Multiply-adds, counted while the network runs."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        skeleton(arch).eval()(torch.empty(1, 3, 224, 224))
    return int(counter.get_total_flops()) // 2


def timed(name: str, price: Callable[[Backbone], Any], archs: list[Backbone]) -> Row:
    """Time one way over these networks, as often as they are, once each."""
    before = time.process_time()
    for arch in archs:
        price(arch)
    seconds = time.process_time() - before
    each = seconds / len(archs)
    how = "measured" if len(archs) == NETWORKS else f"extrapolated from {len(archs)}"
    return {"way": name, "ms a network": 1e3 * each, f"s for {NETWORKS:,}": each * NETWORKS, "which is": how}


def main() -> None:
    args, before = options(__doc__), conditions()
    space, rng = autoformer_tiny_space(), random.Random(0)
    drawing = time.process_time()
    archs = [sample(space, rng) for _ in range(NETWORKS)]
    drawn = time.process_time() - drawing
    few = archs[: 3 if args.quick else 20]
    for arch in few[:3]:
        assert build(arch) == cost(arch).params, "the formula must count what the network has"
    rows = [timed("formula", cost, archs), timed("formula again", cost, archs)]
    rows += [timed("build", build, few), timed("count", count, few)]
    chains = cream_space()
    paths = [sample(chains, rng) for _ in range(NETWORKS)]
    for path in paths[:3]:
        assert build(path) == cost(path).params, "the formula must count what the network has"
    rows += [timed("formula, paths of Cream", cost, paths)]
    gap = [count(arch) / cost(arch).macs for arch in few]
    show(
        "Costs of architectures (AutoFormer-T at 224)",
        rows,
        notes=(
            f"{len(set(archs))} of the {NETWORKS:,} networks differ; drawing them took {drawn:.2f} s. Parameters by formula "
            "equal those of the built network.",
            f"What is counted is {min(gap):.2f} to {max(gap):.2f} of the formula's multiply-adds: the formula charges relative "
            "position by its definition, the implementation needs less.",
        ),
    )
    end(args, before, {"rows": rows, "seconds_to_draw": drawn, "counted_over_formula": gap})


if __name__ == "__main__":
    main()
