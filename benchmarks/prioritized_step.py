"""A step of training by prioritized paths against a step of one path: what teaching, choosing and the board cost.

    python benchmarks/prioritized_step.py [--quick] [--json FILE]

AutoFormer-tiny at 64 pixels, and at 224 without --quick; forward and backward, without the optimizer. `single` trains one
path. `top1` adds the teacher's pass. `meta` chooses that teacher by what the path says of four images of each of ten
teachers. `board` also measures the path on 128 images that are held out, as in a step in which it may enter. `lesson` is `meta`
with a lesson of the meta network. Every step has the same path; ratios are to `single`, in the same rounds. The clock is
the process's own processor time (one thread), so that others on the machine disturb little.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from showing import Row, conditions, end, options, show

from vitesse.arch import Backbone, cost, sample
from vitesse.data.part import Batch
from vitesse.measure import Latency, compare, time_interleaved
from vitesse.search.board import Board, Entry, insert
from vitesse.search.prioritizing import PrioritizedSettings
from vitesse.supernet import Supernet
from vitesse.tasks.classification import one_subnet
from vitesse.tasks.prioritized import HeldOut, Prioritized
from vitesse.tasks.teaching import Teaching
from vitesse.train.loop import Losses
from vitesse.train.processes import processes
from vitesse.zoo.autoformer import autoformer_tiny_space

CLASSES, HELD = 100, 128
NEVER = 10**9
KINDS: Mapping[str, Mapping[str, Any]] = {
    "top1": {"teacher": "top1", "every": NEVER},
    "meta": {"every": NEVER},
    "board": {"every": NEVER},
    "lesson": {"every": 1},
}


def prioritized(kind: str, archs: list[Backbone], *, pixels: int) -> Prioritized:
    """The losses of a step of one kind, with ten paths on the board; the first of `archs` is trained."""
    settings = PrioritizedSettings(**{"refresh": NEVER, **KINDS[kind]})
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(HELD, 3, pixels, pixels, generator=generator)
    held = HeldOut(
        places=tuple(range(HELD)), images=images, labels=torch.randint(CLASSES, (HELD,), generator=generator)
    )
    # What costs more than all that stand there cannot enter, and is not measured.
    price = 0.0 if kind == "board" else float("inf")
    losses = Prioritized(
        lambda rng, board: archs[0], Teaching(), settings, cost=lambda arch: price,
        pictures=lambda places: images[list(places)], held=held, classes=CLASSES, begin=0, rate=0.01, seed=0,
        accelerator=processes(),
    )  # fmt: skip
    board = Board(size=settings.size)
    for place, arch in enumerate(archs[1:]):
        probabilities = torch.randn(settings.references, CLASSES, generator=generator).softmax(-1)
        places = tuple(range(place, place + settings.references))
        # An accuracy that chance never reaches: the board stays as it is.
        board = insert(board, Entry(
            arch=arch, accuracy=1.0, cost=cost(arch).macs, step=place, images=places, probabilities=probabilities))  # fmt: skip
    losses.board = board
    return losses


def stepping(losses: Losses, supernet: Supernet, batch: Batch) -> Callable[[], object]:
    """One step after the other: forward and backward into fresh gradients."""
    steps = itertools.count(1)

    def step() -> None:
        supernet.zero_grad(set_to_none=True)
        for loss in losses(supernet, batch, next(steps)):
            loss.backward()

    return step


def case(*, pixels: int, batch: int, quick: bool) -> Row:
    """All kinds of steps against each other."""
    space = autoformer_tiny_space(classes=CLASSES, image=pixels)
    torch.manual_seed(0)
    supernet = Supernet(space)
    rng = random.Random(0)
    archs = [sample(space, rng) for _ in range(11)]
    labels = torch.arange(batch) % CLASSES
    images = torch.randn(batch, 3, pixels, pixels, generator=torch.Generator().manual_seed(1))
    one = Batch(images, torch.nn.functional.one_hot(labels, CLASSES).float(), labels, torch.arange(batch))
    calls = {"single": stepping(one_subnet(lambda rng: archs[0], Teaching(), seed=0), supernet, one)}
    calls |= {kind: stepping(prioritized(kind, archs, pixels=pixels), supernet, one) for kind in KINDS}
    rounds, seconds = (5, 30.0) if quick else (20, 600.0)
    timed = time_interleaved(calls, rounds=rounds, warmup=1, seconds=seconds, clock=time.process_time)
    return {
        "pixels": pixels,
        "batch": batch,
        "single ms": timed["single"].median_ms,
        **{f"{kind}/single": ratio(timed, kind) for kind in KINDS},
        "rounds": timed["single"].rounds,
    }


def ratio(timed: Mapping[str, Latency], kind: str) -> str:
    """How many times as long as a step of one path, with the 10th and 90th percentile over the rounds."""
    found = compare(timed["single"], timed[kind])
    return f"{found.ratio:.2f} ({found.low:.2f}–{found.high:.2f})"


def main() -> None:
    args, before = options(__doc__), conditions()
    sizes = [(64, 32)] if args.quick else [(64, 32), (64, 128), (224, 16)]
    rows = [case(pixels=pixels, batch=batch, quick=args.quick) for pixels, batch in sizes]
    show("A step of prioritized paths (AutoFormer-tiny; ratio to a step of one path, 10th to 90th percentile)", rows)
    end(args, before, {"rows": rows})


if __name__ == "__main__":
    main()
