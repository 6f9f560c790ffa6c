"""What sharing weights costs in time, and what is lost and won back in accuracy.

    python benchmarks/multiplexing.py --out FOLDER [--quick] [--seeds N] [--part speed|accuracy] [--json FILE]

Speed: a DeiT-tiny and a DeiT-small whose blocks share by two against the same network whose blocks do not, both without
and with maps over the heads, forward alone and forward with backward. Ratios to the unshared network of the same kind of
attention, and of the mixed ones to the plain network beside what its multiply-adds let expect. The clock is the process's
own processor time.

Accuracy: the digits, about 30,000 parameters. One teacher for all seeds, deep and wide enough that sharing by two brings
it to that size. For each seed networks taught by it with the same number of steps: `shared`, with its shared weights
begun by the first of each group; `mixed`, the same with maps over the heads; `smaller`, a network of the same depth
whose blocks do not share, cut out of the teacher, as wide as the same parameters allow. Taught by labels and logits, or
by weight distillation, too (relations of q, k, v and of hidden states). Test accuracy, mean and deviation over the seeds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from showing import Row, conditions, end, options, quiet_job, show
from torch import Tensor, nn

from vitesse.arch import MLP, Attention, Backbone, Block, Head, HeadMix, PatchEmbed, Stage, cost
from vitesse.measure import Latency, compare, time_interleaved
from vitesse.nets import Network, build
from vitesse.saved import load_network
from vitesse.shrink import finish
from vitesse.shrink.job import Job
from vitesse.shrink.multiplexing import START, begin, multiplexed
from vitesse.shrink.settings import MultiplexSettings, ShrinkSettings, TeacherSettings
from vitesse.tasks.classification import accuracy
from vitesse.tasks.settings import DistillSettings
from vitesse.train.loop import Progress
from vitesse.train.settings import TrainSettings
from vitesse.zoo import deit_small_patch16_224, deit_tiny_patch16_224

SHARE = 2
TEACHER = Backbone(
    stem=PatchEmbed(image=8, patch=2, channels=1),
    stages=(Stage(dim=40, depth=4, block=Block(Attention(heads=3, head_dim=16), MLP(ratio=1.75))),),
    head=Head(classes=10, pool="mean"),
)

# --- speed


def sharing(arch: Backbone, *, share: int, mix: bool) -> Backbone:
    """`arch` with groups of `share` blocks, with maps over the heads where asked for."""
    stage = arch.stages[0]
    attention, mlp = stage.blocks[0].branches
    assert isinstance(attention, Attention)
    block = Block(replace(attention, mix=HeadMix() if mix else None), mlp)
    return replace(arch, stages=(replace(stage, block=block, share=share),))


def call(network: nn.Module, images: Tensor, *, train: bool) -> Callable[[], object]:
    """One pass as it is timed: forward alone without gradients, or forward and backward into fresh gradients."""

    def evaluate() -> object:
        with torch.inference_mode():
            return network(images)

    def learn() -> None:
        network.zero_grad(set_to_none=True)
        network(images).square().mean().backward()

    return learn if train else evaluate


def speed_case(name: str, arch: Backbone, *, train: bool, batch: int, quick: bool) -> Row:
    """The four kinds against each other."""
    kinds = {
        "plain": sharing(arch, share=1, mix=False),
        "shared": sharing(arch, share=SHARE, mix=False),
        "mixed": sharing(arch, share=1, mix=True),
        "shared mixed": sharing(arch, share=SHARE, mix=True),
    }
    images = torch.randn(batch, 3, *arch.stem.image, generator=torch.Generator().manual_seed(0))
    networks = {kind: build(value).train(train) for kind, value in kinds.items()}
    calls = {kind: call(network, images, train=train) for kind, network in networks.items()}
    rounds, seconds = (5, 6.0) if quick else (30, 40.0)
    timed = time_interleaved(calls, rounds=rounds, warmup=1, seconds=seconds, clock=time.process_time)
    return {
        "network": name,
        "what": "fwd+bwd" if train else "fwd",
        "batch": batch,
        "plain ms": timed["plain"].median_ms,
        "shared/plain": ratio(timed, "plain", "shared"),
        "shared mixed/mixed": ratio(timed, "mixed", "shared mixed"),
        "shared mixed/plain": ratio(timed, "plain", "shared mixed"),
        "MACs mixed/plain": cost(kinds["mixed"]).macs / cost(kinds["plain"]).macs,
        "rounds": timed["plain"].rounds,
    }


def ratio(timed: Mapping[str, Latency], first: str, second: str) -> str:
    """How many times as long as the first, with the 10th and 90th percentile over the rounds."""
    found = compare(timed[first], timed[second])
    return f"{found.ratio:.3f} ({found.low:.3f}–{found.high:.3f})"


def speed(*, quick: bool) -> list[Row]:
    """All cases."""
    archs = {"DeiT-tiny": deit_tiny_patch16_224()} | ({} if quick else {"DeiT-small": deit_small_patch16_224()})
    rows = []
    for name, arch in archs.items():
        for train in (False, True):
            rows.append(speed_case(name, arch, train=train, batch=1 if quick else 4, quick=quick))
            print(rows[-1], flush=True)
    return rows


# --- accuracy

# The loss of a step by the name of a way of teaching; "weights" is weight distillation (MiniViT) beside labels and logits.
TEACHINGS: Mapping[str, DistillSettings] = {
    "logits": DistillSettings(),
    "weights": DistillSettings(attention=1.0, hidden=1.0),
}
# What is compared: a way of making the network, and how it is taught.
CONTESTANTS = (
    ("shared", "logits"),
    ("mixed", "logits"),
    ("mixed", "weights"),
    ("smaller", "logits"),
    ("smaller", "weights"),
)


def settings_of(seed: int, teacher: str, teaching: DistillSettings, *, mix: str, quick: bool) -> ShrinkSettings:
    """An epoch is 18 steps."""
    return ShrinkSettings(
        seed=seed,
        distill=teaching,
        teacher=TeacherSettings(
            model=teacher,
            train=TrainSettings(epochs=2 if quick else 56, lr=2e-3, ema=0.99, drop_path=0.1, evaluate_every=1000),
        ),
        multiplex=MultiplexSettings(share=SHARE, mix=mix, init="first"),  # type: ignore[arg-type]
        finish=TrainSettings(epochs=1 if quick else 33, lr=2e-3, ema=0.99, evaluate_every=1000),
    )


def teach(out: Path, *, quick: bool) -> Path:
    """The one teacher: `TEACHER`, from labels alone."""
    job = quiet_job(settings_of(0, "", TEACHINGS["logits"], mix="none", quick=quick), out / "teacher")
    job.do("finish", partial(learned, job))
    return job.path(finish.NETWORK)


def learned(job: Job, progress: Progress) -> dict[str, Any]:
    """The stage that trains the teacher, as long as a teacher is trained."""
    job.settings = replace(job.settings, finish=job.settings.teacher.train)
    return finish.finish(job, TEACHER, supernet=None, teacher=None, progress=progress)


def smaller(limit: int) -> Backbone:
    """The teacher's depth, blocks that share nothing, as wide as so many parameters allow."""
    stage = TEACHER.stages[0]
    fitting = [
        replace(
            TEACHER,
            stages=(replace(stage, dim=dim, block=Block(Attention(heads=heads, head_dim=16), MLP(ratio=1.75))),),
        )
        for dim in range(8, 41)
        for heads in (1, 2, 3)
    ]
    return max((arch for arch in fitting if cost(arch).params <= limit), key=lambda arch: cost(arch).params)


def one_seed(seed: int, *, out: Path, teacher_file: Path, quick: bool) -> list[Row]:
    """The three ways with each way of teaching; each stage is done once, however often this is started."""
    teacher = load_network(teacher_file).eval()
    rows: list[Row] = []
    most = cost(multiplexed(teacher.arch, MultiplexSettings(share=SHARE, mix="heads"))).params
    for way, name in CONTESTANTS:
        settings = settings_of(
            seed, str(teacher_file), TEACHINGS[name], mix="heads" if way == "mixed" else "none", quick=quick
        )
        job = quiet_job(settings, out / f"seed{seed}" / f"{way}-{name}")
        start, arch = teacher, smaller(most) if way == "smaller" else multiplexed(teacher.arch, settings.multiplex)
        if way != "smaller":
            job.do("multiplex", partial(begun, job, teacher, arch))
            start = load_network(job.path(START))
        job.do("finish", partial(finished, job, arch, start, teacher))
        network = load_network(job.path(finish.NETWORK)).eval()
        test = accuracy(network, job.parts.test, accelerator=job.accelerator).value
        rows.append({"seed": seed, "way": way, "teaching": name, "params": cost(arch).params, "test": test})
        print(rows[-1], flush=True)
    return rows


def begun(job: Job, teacher: Network, arch: Backbone, progress: Progress) -> dict[str, Any]:
    """The stage that makes blocks share."""
    return begin(job, teacher, arch, progress=progress)


def finished(job: Job, arch: Backbone, start: Network | None, teacher: Network, progress: Progress) -> dict[str, Any]:
    """The stage that teaches."""
    return finish.finish(job, arch, supernet=None, start=start, teacher=teacher, progress=progress)


def summary(rows: list[Row]) -> list[Row]:
    """For each way its mean and deviation."""
    found = []
    for way, teaching in dict.fromkeys((row["way"], row["teaching"]) for row in rows):
        tests = [row["test"] for row in rows if (row["way"], row["teaching"]) == (way, teaching)]
        params = next(row["params"] for row in rows if row["way"] == way)
        found.append(
            {
                "way": way,
                "teaching": teaching,
                "parameters": params,
                "test accuracy": f"{100 * statistics.mean(tests):.2f} %",
                "deviation": f"{100 * statistics.stdev(tests):.2f}" if len(tests) > 1 else "–",
                "seeds": len(tests),
            }
        )
    return found


def main() -> None:
    args, before = (
        options(
            __doc__,
            folder=True,
            more={
                "seeds": {"type": int, "default": 5},
                "part": {"choices": ("speed", "accuracy", "all"), "default": "all"},
            },
        ),
        conditions(),
    )
    results: dict[str, Any] = {}
    if args.part != "accuracy":
        results["speed"] = speed(quick=args.quick)
        show("Time of networks whose blocks share, by two", results["speed"])
    if args.part != "speed":
        teacher_file = teach(args.out, quick=args.quick)
        seeds = range(min(args.seeds, 2) if args.quick else args.seeds)
        rows = [
            row for seed in seeds for row in one_seed(seed, out=args.out, teacher_file=teacher_file, quick=args.quick)
        ]
        results |= {"rows": rows, "summary": summary(rows)}
        show("Accuracy on the digits", results["summary"])
    end(args, before, results)


if __name__ == "__main__":
    main()
