"""Whether search pays: its winner against the best of random candidates and against the teacher scaled down.

    python benchmarks/search_gain.py --out FOLDER [--quick] [--json FILE]

The digits, 60,000 parameters. One teacher for all seeds. For each seed one supernet around the teacher, then three
networks: `evolution`, the winner of the search; `random`, the best of as many random candidates within the budget, scored
with the same supernet; `scaled`, the teacher with width, depth and heads made smaller by one factor, as large as the
budget allows, no search. All three take their weights from the supernet and are finished alike: same steps, same teacher,
same seed. The split of the data is the same for all seeds. Test accuracy, mean and standard deviation over seeds; the
trainings are shorter than those of `vitesse shrink`.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from scipy import stats
from showing import Row, conditions, end, options, quiet_job, show

from vitesse.arch import MLP, Attention, Backbone, Block, Budget, Stage, cost
from vitesse.nets import Network
from vitesse.saved import load_network
from vitesse.shrink import finish
from vitesse.shrink.costing import Costing
from vitesse.shrink.design import space_around
from vitesse.shrink.job import Job
from vitesse.shrink.searching import run_search, winner_arch
from vitesse.shrink.settings import SearchSettings, ShrinkSettings, SupernetSettings, TeacherSettings
from vitesse.shrink.supernet import NETWORK, load_supernet, train_supernet
from vitesse.shrink.teacher import NETWORK as TEACHER
from vitesse.shrink.teacher import Teacher
from vitesse.supernet import Supernet, inherit
from vitesse.tasks.classification import accuracy
from vitesse.train.loop import Progress
from vitesse.train.settings import TrainSettings

BUDGET = 60_000
WAYS = ("evolution", "random", "scaled")


def settings_of(seed: int, *, teacher: str, strategy: Any, quick: bool) -> ShrinkSettings:
    """Those of `vitesse shrink` with shorter trainings (an epoch is 18 steps) and a smaller search."""
    return ShrinkSettings(
        seed=seed,
        budget=Budget(max_params=BUDGET),
        teacher=TeacherSettings(
            model=teacher,
            train=TrainSettings(epochs=2 if quick else 56, lr=2e-3, ema=0.99, drop_path=0.1, evaluate_every=1000),
        ),
        supernet=SupernetSettings(
            train=TrainSettings(epochs=1 if quick else 22, lr=1e-3, ema=0.98, evaluate_every=1000)
        ),
        search=SearchSettings(strategy=strategy, population=8 if quick else 30, generations=2 if quick else 6),
        finish=TrainSettings(epochs=1 if quick else 33, lr=2e-3, ema=0.99, evaluate_every=1000),
    )


def scaled_down(teacher: Backbone) -> Backbone:
    """The teacher's width, depth and heads times one factor, the greatest that meets the budget."""
    for thousandth in range(1000, 0, -1):
        factor = thousandth / 1000
        stage = teacher.stages[0]
        attention, mlp = stage.blocks[0].branches
        assert isinstance(attention, Attention) and isinstance(mlp, MLP)
        block = Block(replace(attention, heads=max(1, round(attention.heads * factor))), mlp)
        depth = max(1, round(stage.depth * factor))
        smaller = Stage(dim=max(8, 8 * round(stage.dim * factor / 8)), depth=depth, block=block)
        arch = replace(teacher, stages=(smaller,))
        if cost(arch).params <= BUDGET:
            return arch
    raise AssertionError("a teacher of some hundred thousand parameters scales down to any budget of this benchmark")


def one_seed(seed: int, *, out: Path, teacher_file: Path, quick: bool) -> list[Row]:
    """Supernet, two searches, three finishes; each stage is done once, however often this is started."""
    jobs = {
        way: quiet_job(
            settings_of(
                seed, teacher=str(teacher_file), strategy="random" if way == "random" else "evolution", quick=quick
            ),
            out / f"seed{seed}" / way,
        )
        for way in WAYS
    }
    first = jobs["evolution"]
    teacher = load_network(teacher_file).eval()
    space = space_around(teacher.arch)
    costing = Costing(first, space)
    first.do(
        "supernet", lambda progress: train_supernet(first, space, costing=costing, teacher=teacher, progress=progress)
    )
    supernet = load_supernet(first.path(NETWORK), space)
    rows: list[Row] = []
    for way, job in jobs.items():
        arch, candidates = scaled_down(teacher.arch), 0
        if way != "scaled":
            found = job.do("search", partial(searched, job, supernet, costing))
            arch, candidates = winner_arch(job), found["candidates"]
        job.do("finish", partial(finished, job, arch, supernet, teacher))
        network = load_network(job.path(finish.NETWORK)).eval()
        inherited = inherit(supernet.network, arch).eval()
        rows.append(
            {
                "seed": seed,
                "way": way,
                "params": cost(arch).params,
                "shape": shape(arch),
                "candidates": candidates,
                "score": accuracy(inherited, job.parts.search, accelerator=job.accelerator).value,
                "test": accuracy(network, job.parts.test, accelerator=job.accelerator).value,
            }
        )
        print(rows[-1], flush=True)
    return rows


def searched(job: Job, supernet: Supernet, costing: Costing, progress: Progress) -> dict[str, Any]:
    """The stage of the search."""
    return run_search(job, supernet, source=job.folder.path, costing=costing, progress=progress)


def finished(job: Job, arch: Backbone, supernet: Supernet, teacher: Network, progress: Progress) -> dict[str, Any]:
    """The stage that trains on what was cut out."""
    return finish.finish(job, arch, supernet=supernet, teacher=teacher, progress=progress)


def shape(arch: Backbone) -> str:
    """Width, depth, heads and ratios in short."""
    blocks = arch.stages[0].blocks
    heads = "/".join(str(b.heads) for block in blocks for b in block.branches if isinstance(b, Attention))
    ratios = "/".join(f"{b.ratio:g}" for block in blocks for b in block.branches if isinstance(b, MLP))
    return f"{arch.stages[0].dim} wide, heads {heads}, ratios {ratios}"


def summary(rows: Sequence[Row]) -> list[Row]:
    """For each way its mean and deviation, and the gain of evolution over it, paired by seed."""
    test = {way: [row["test"] for row in rows if row["way"] == way] for way in WAYS}
    found: list[Row] = []
    for way, values in test.items():
        gains = [100 * (a - b) for a, b in zip(test["evolution"], values, strict=True)]
        mean, error = statistics.mean(gains), statistics.stdev(gains) / len(gains) ** 0.5
        reach = float(stats.t.ppf(0.975, len(gains) - 1)) * error
        found.append(
            {
                "way": way,
                "test accuracy": f"{100 * statistics.mean(values):.2f} %",
                "deviation": f"{100 * statistics.stdev(values):.2f}",
                "search score": f"{100 * statistics.mean(row['score'] for row in rows if row['way'] == way):.2f} %",
                "evolution is better by (95 %)": "–"
                if way == "evolution"
                else f"{mean:+.2f} ({mean - reach:+.2f} to {mean + reach:+.2f})",
                "parameters": round(statistics.mean(row["params"] for row in rows if row["way"] == way)),
            }
        )
    return found


def teach(args: argparse.Namespace) -> Path:
    """The one teacher."""
    job = quiet_job(settings_of(0, teacher="", strategy="random", quick=args.quick), args.out / "teacher")
    job.do("teacher", Teacher(job).train)
    return job.path(TEACHER)


def main() -> None:
    args, before = options(__doc__, folder=True), conditions()
    teacher_file = teach(args)
    seeds = range(2) if args.quick else range(5)
    rows = [row for seed in seeds for row in one_seed(seed, out=args.out, teacher_file=teacher_file, quick=args.quick)]
    job = quiet_job(
        settings_of(0, teacher=str(teacher_file), strategy="random", quick=args.quick), args.out / "teacher"
    )
    teacher = load_network(teacher_file).eval()
    taught = accuracy(teacher, job.parts.test, accelerator=job.accelerator)
    show("All networks", rows)
    note = f"Teacher: {cost(teacher.arch).params:,} parameters, {taught.value:.2%} of {taught.total} test images."
    show(f"{len(seeds)} seeds", summary(rows), notes=(note,))
    end(args, before, {"rows": rows, "summary": summary(rows), "teacher_test": taught.value})


if __name__ == "__main__":
    main()
