"""Whether moving the search space pays, what it costs, and which of its settings matter.

    python benchmarks/space_evolution.py --out FOLDER [--quick] [--json FILE]

Two tasks whose first space is wrong on purpose. `words`, made here, with a known answer: an image is sixteen patches, each
one of ten orthogonal patterns in noise, and its class is the pattern that it shows most often. To tell ten patterns apart a
network needs about ten channels, and as the classes are linear in the mean of the patches no MLP: the first space is too
narrow (4 to 8) and its MLPs are uselessly wide (6 to 10). `digits`: too narrow (8 to 16), with wide MLPs (4 to 6).

For each seed: `evolved`, the space moves twice, its supernet trained on after each move, then a search; `first`, the first
space's supernet trained for as many epochs in all, then the same search. Both winners are finished alike. A third supernet,
`fresh`, is trained in the last space from nothing, as long as the first one was: what it costs and how its E-T error compares
with that of the one that was carried over. Then, on the networks that were scored in the first space, where other settings
would have moved it. Test accuracy, mean and standard deviation over seeds; no teacher.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import stats
from scipy.linalg import hadamard
from showing import Row, conditions, end, options, quiet_job, show

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Budget,
    Choice,
    Head,
    PatchEmbed,
    Stage,
    cost,
    from_json,
    largest,
    picks,
)
from vitesse.arch.dimensions import dimensions
from vitesse.data.augment import Augment
from vitesse.data.load import DataSettings
from vitesse.saved import load_network
from vitesse.search import read_candidates
from vitesse.search.evolving import EvolveSettings
from vitesse.search.space_trend import Trend, trends
from vitesse.shrink import evolving, finish
from vitesse.shrink.costing import Costing
from vitesse.shrink.job import Job
from vitesse.shrink.searching import run_search, winner_arch
from vitesse.shrink.settings import SearchSettings, ShrinkSettings, SupernetSettings
from vitesse.shrink.supernet import NETWORK, load_supernet, train_supernet
from vitesse.supernet import Supernet
from vitesse.tasks.classification import accuracy
from vitesse.train.loop import Progress
from vitesse.train.settings import TrainSettings

BUDGETS = {"words": 5_000, "digits": 12_000}  # parameters
RIGHT = {"words": {"dim": "up", "ratio": "down"}, "digits": {"dim": "up"}}  # where the dimensions should go
WAYS = ("evolved", "first")


def first_space(task: str) -> Backbone:
    """The space that is wrong on purpose: networks of sixteen tokens, too narrow, with MLPs that are uselessly wide."""
    side = 16 if task == "words" else 8
    block = Block(Attention(heads=Choice(1, 2, 3), head_dim=4), MLP(ratio=Choice(6.0, 8.0, 10.0)))
    return Backbone(
        stem=PatchEmbed(image=(side, side), patch=(side // 4, side // 4), channels=1),
        stages=(Stage(dim=Choice(4, 6, 8), depth=Choice(1, 2, 3), block=block),),
        head=Head(classes=10, pool="mean"),
    )


def make_words(folder: Path, *, images: int) -> None:
    """Images by class: of sixteen patches five show the pattern of the class, each other one at most two times."""
    rng, patterns = np.random.default_rng(0), hadamard(16)[1:11].reshape(10, 4, 4)
    for place in range(images):
        label = place % 10
        others = np.repeat(np.delete(np.arange(10), label), 2)
        shown = rng.permutation(np.concatenate([np.full(5, label), rng.permutation(others)[:11]]))
        patches = patterns[shown].reshape(4, 4, 4, 4).transpose(0, 2, 1, 3).reshape(16, 16)
        pixels = np.clip(128 + 40 * patches + rng.normal(0, 20, size=(16, 16)), 0, 255).astype(np.uint8)
        file = folder / f"pattern{label}" / f"{place:05}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)


def settings_of(task: str, seed: int, *, out: Path, quick: bool, epochs: int = 0) -> ShrinkSettings:
    """epochs: of the supernet's training, where it is not the first one of an evolution."""
    train = TrainSettings(epochs=epochs or (12 if quick else 40), lr=1e-2, warmup=0.05, evaluate_every=1000)
    words = DataSettings(source=str(out / "images"), size=16, channels=1)
    return ShrinkSettings(
        seed=seed,
        data=words if task == "words" else DataSettings(),
        augment=Augment(),
        budget=Budget(max_params=BUDGETS[task]),
        supernet=SupernetSettings(rule="single", train=train),
        evolve=EvolveSettings(space=True, samples=32 if quick else 128, most_samples=64 if quick else 512),
        search=SearchSettings(population=8 if quick else 30, generations=2 if quick else 6),
        finish=replace(train, epochs=2 if quick else 40),
    )


def one_seed(task: str, seed: int, *, out: Path, quick: bool) -> dict[str, list[Row]]:
    """Everything about one seed of one task; each stage is done once, however often this is started."""
    home, space = out / task / f"seed{seed}", first_space(task)
    evolved = quiet_job(settings_of(task, seed, out=out, quick=quick), home / "evolved")
    after, _ = evolving.evolve_space(evolved, space, costing=Costing(evolved, space), priced=Costing, teacher=None)
    told = json.loads(evolved.path(evolving.HISTORY).read_text(encoding="utf-8"))["spaces"]
    epochs = told[-1]["supernet_epochs"]
    first = quiet_job(settings_of(task, seed, out=out, quick=quick, epochs=epochs), home / "first")
    first.do("supernet", partial(trained, first, space))
    finals = [
        {"task": task, "seed": seed, "way": way, "supernet epochs": epochs, **searched(job, reached)}
        for way, job, reached in (("evolved", evolved, after), ("first", first, space))
    ]
    print(finals, flush=True)
    moves = [
        {"task": task, "seed": seed, "dimension": one["name"], "began": begun["options"], "ended": one["options"]}
        for begun, one in zip(told[0]["dimensions"], told[-1]["dimensions"], strict=True)
    ]
    return {
        "finals": finals,
        "moves": moves,
        "costs": [carried_or_fresh(task, seed, told, space=after, out=out, quick=quick)],
        "variants": variants(task, seed, evolved, told[0]),
    }


def trained(job: Job, space: Backbone, progress: Progress) -> dict[str, Any]:
    """The stage of a supernet without an evolution."""
    return train_supernet(job, space, costing=Costing(job, space), teacher=None, progress=progress)


def searched(job: Job, space: Backbone) -> Row:
    """The search in the run's supernet, and its winner finished."""
    supernet = load_supernet(job.path(NETWORK), space)
    found = job.do("search", lambda progress: run_search(
        job, supernet, source=job.folder.path, costing=Costing(job, space), progress=progress))  # fmt: skip
    arch = winner_arch(job)
    job.do("finish", partial(finished, job, arch, supernet))
    network = load_network(job.path(finish.NETWORK)).eval()
    test = accuracy(network, job.parts.test, accelerator=job.accelerator).value
    return {"score": found["score"], "test": test, "width": arch.stages[0].dim, "depth": arch.stages[0].depth}


def finished(job: Job, arch: Backbone, supernet: Supernet, progress: Progress) -> dict[str, Any]:
    """The stage that trains on what was cut out."""
    return finish.finish(job, arch, supernet=supernet, teacher=None, progress=progress)


def carried_or_fresh(
    task: str, seed: int, told: Sequence[Any], *, space: Backbone, out: Path, quick: bool
) -> Row:  # fmt: skip
    """The last space as the supernet that was carried over shows it, and as one does that was trained from nothing."""
    settings = settings_of(task, seed, out=out, quick=quick)
    job = quiet_job(settings, out / task / f"seed{seed}" / "fresh")
    job.do("supernet", partial(trained, job, space))
    found = evolving.judged(job, load_supernet(job.path(NETWORK), space), Costing(job, space), study="study.db")
    each, last = settings.supernet.train.epochs, told[-1]
    return {
        "task": task,
        "seed": seed,
        "spaces": len(told),
        "epochs carried": last["supernet_epochs"],
        "epochs fresh": each * len(told),
        "E-T carried": last["error"]["both"],
        "E-T fresh": found.error.both,
        "carried says": _said({one["name"]: one["slope"]["value"] for one in last["dimensions"] if one["slope"]}),
        "fresh says": _said({one.dimension.name: one.slope.value for one in found.trends}),
    }


def _said(slopes: dict[str, float]) -> str:
    """What a step up of each dimension does to the error, in points."""
    return ", ".join(f"{_short(name)} {100 * slope:+.2f}" for name, slope in slopes.items())


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def variants(task: str, seed: int, job: Job, told: Any) -> list[Row]:
    """Where other settings would have moved the first space, by the same networks: (lower end, upper end) in steps."""
    space, base = from_json(told["space"]), job.settings.evolve
    candidates = read_candidates(job.path("spaces/0/study.db"))
    taken, errors = [picks(space, one.arch) for one in candidates], [1 - one.score for one in candidates]
    few, looks = base.samples, len(base.looks)
    changes: dict[str, tuple[dict[str, Any], int, int]] = {  # the change, how many networks, in how many looks
        "as set": ({}, len(errors), looks),
        "rounded down": ({"rounding": "floor"}, len(errors), looks),
        "rounded": ({"rounding": "nearest"}, len(errors), looks),
        "raw": ({"scale": "raw"}, len(errors), looks),
        "ends": ({"rule": "ends"}, len(errors), looks),
        "far": ({"most_steps": 4}, len(errors), looks),
        "expected error alone": ({"top": 1.0}, len(errors), looks),
        f"{few} networks": ({}, few, 1),
        f"{few} networks, untested": ({"confidence": 1e-9}, few, 1),
        "untested": ({"confidence": 1e-9}, len(errors), 1),
    }
    rows: list[Row] = []
    for name, (change, count, times) in changes.items():
        settings = replace(base, **change)
        found = trends(dimensions(space), taken[:count], errors[:count], settings=settings, looks=times, seed=seed)
        rows.append(_moves(task, seed, f"{name} ({count})" if name == "as set" else name, found))
    return [*rows, _moves(task, seed, "without cost bounds", unbounded(job, space))]


def unbounded(job: Job, space: Backbone) -> Sequence[Trend]:
    """The trends of the first space over all its networks, whatever they cost."""
    whole = Budget(max_params=cost(largest(space)).params)
    settings = replace(job.settings, budget=whole, evolve=replace(job.settings.evolve, least_cost=0.0))
    free = quiet_job(settings, job.path("").parent / "free")
    supernet = load_supernet(job.path("spaces/0/model.safetensors"), space)
    return evolving.judged(free, supernet, Costing(free, space), study="study.db").trends


def _moves(task: str, seed: int, setting: str, found: Sequence[Trend]) -> Row:
    ends = {_short(one.dimension.name): f"{one.lower:+d} {one.upper:+d}" for one in found}
    return {"task": task, "seed": seed, "setting": setting, **ends}


def summary(rows: Sequence[Row]) -> list[Row]:
    """For each task and way mean and deviation, and the gain of evolving, paired by seed."""
    found: list[Row] = []
    for task in BUDGETS:
        test = {way: [row["test"] for row in rows if (row["task"], row["way"]) == (task, way)] for way in WAYS}
        gains = [100 * (a - b) for a, b in zip(test["evolved"], test["first"], strict=True)]
        reach = float(stats.t.ppf(0.975, len(gains) - 1)) * statistics.stdev(gains) / len(gains) ** 0.5
        mean = statistics.mean(gains)
        for way, values in test.items():
            gain = f"{mean:+.2f} ({mean - reach:+.2f} to {mean + reach:+.2f})" if way == "evolved" else "–"
            found.append(
                {
                    "task": task,
                    "way": way,
                    "test accuracy": f"{100 * statistics.mean(values):.2f} %",
                    "deviation": f"{100 * statistics.stdev(values):.2f}",
                    "better by (95 %)": gain,
                }
            )
    return found


def right_ways(moves: Sequence[Row]) -> list[Row]:
    """In how many seeds a dimension went where it should."""
    rows = []
    for task, wanted in RIGHT.items():
        for kind, way in wanted.items():
            own = [row for row in moves if row["task"] == task and row["dimension"].endswith(kind)]
            ups = [sum(row["ended"]) / len(row["ended"]) - sum(row["began"]) / len(row["began"]) for row in own]
            right = sum(up > 0 if way == "up" else up < 0 for up in ups)
            rows.append({"task": task, "dimension": kind, "should go": way, "did": f"{right} of {len(own)} seeds"})
    return rows


def begin(args: argparse.Namespace) -> None:
    """Write the made images, once."""
    if not (args.out / "images").exists():
        make_words(args.out / "images", images=1000 if args.quick else 2000)


def main() -> None:
    args, before = options(__doc__, folder=True), conditions()
    begin(args)
    seeds = range(2) if args.quick else range(5)
    parts = [one_seed(task, seed, out=args.out, quick=args.quick) for task in BUDGETS for seed in seeds]
    rows = {name: [row for part in parts for row in part[name]] for name in parts[0]}
    show("All winners", rows["finals"])
    show(f"{len(seeds)} seeds", summary(rows["finals"]))
    show("Where the dimensions went", rows["moves"])
    show("The right way", right_ways(rows["moves"]))
    show("What an evolution costs", rows["costs"])
    show("Where other settings would have moved the first space", rows["variants"])
    end(args, before, {**rows, "summary": summary(rows["finals"]), "right": right_ways(rows["moves"])})


if __name__ == "__main__":
    main()
