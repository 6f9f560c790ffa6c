"""All strategies on the same space, budget and length of training: what they find, what it costs, what their supernets know.

    python benchmarks/strategies.py --out FOLDER [--quick] [--spaces auto mobile] [--json FILE]

The digits, one teacher for all seeds, 60,000 parameters. Two spaces: `auto`, the ViTs around the teacher that `vitesse shrink`
makes, whose choices are sizes and whose supernets begin with the teacher's weights, and `mobile`, whose blocks choose between
operations and whose supernets begin from nothing. For each seed a supernet is trained by each rule for as many epochs, and each
strategy searches in the supernet that belongs to it; the winners begin with its weights and are finished alike. `unsearched` is
the first random network within the budget. Test accuracy, mean and standard deviation over seeds; `tau` is Kendall's tau-b of a
supernet's scores with the test accuracy of some networks of the space that were trained alone, once for all seeds. Cost is
processor time. Search sees the search part alone.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from showing import Row, conditions, end, options, quiet_job, show

from vitesse.arch import Backbone, Budget, cost, space_from_json, to_json
from vitesse.measure.ranking import rank_report
from vitesse.nets import Network, build
from vitesse.runs.files import write_json
from vitesse.saved import load_network
from vitesse.search.draw import draw
from vitesse.search.feasible import within
from vitesse.shrink import finish
from vitesse.shrink.costing import Costing
from vitesse.shrink.job import Job
from vitesse.shrink.scoring import Scorer, calibration
from vitesse.shrink.searching import run_search, winner_arch
from vitesse.shrink.settings import SearchSettings, ShrinkSettings, SupernetSettings, TeacherSettings
from vitesse.shrink.supernet import NETWORK, load_supernet, space_of, train_supernet
from vitesse.shrink.teacher import NETWORK as TEACHER
from vitesse.shrink.teacher import Teacher
from vitesse.supernet import Supernet
from vitesse.tasks.classification import accuracy, plain
from vitesse.tasks.cyclic.settings import CyclicSettings
from vitesse.tasks.teaching import Teaching
from vitesse.train.loop import Progress
from vitesse.train.settings import TrainSettings

BUDGET = 60_000  # parameters
SPACES = ("auto", "mobile")
ALONE = 16  # networks of any size whose true accuracy is known
# From nothing: far enough to tell them apart, before all are as good as perfect.
ALONE_EPOCHS = {"auto": 40, "mobile": 12}


class Way(NamedTuple):
    """A rule by which a supernet is trained, and a strategy that searches in it; `cyclic` asks for choices of operations."""

    rule: str
    strategy: str


WAYS = (
    Way("single", "unsearched"),
    Way("single", "random"),
    Way("single", "evolution"),
    Way("single", "nsga2"),
    Way("sandwich", "evolution"),
    Way("prioritized", "prioritized"),
    Way("cyclic", "cyclic"),
)


def settings_of(seed: int, way: Way, *, space: str, teacher: str, quick: bool) -> ShrinkSettings:
    """Those of `vitesse shrink` with shorter trainings and a smaller search (an epoch is 18 steps)."""
    strategy: Any = "random" if way.strategy == "unsearched" else way.strategy
    rule: Any = way.rule
    return ShrinkSettings(
        seed=seed,
        budget=Budget(max_params=BUDGET),
        teacher=TeacherSettings(
            model=teacher,
            train=TrainSettings(epochs=2 if quick else 56, lr=2e-3, ema=0.99, drop_path=0.1, evaluate_every=1000),
        ),
        supernet=SupernetSettings(
            space=space,
            rule=rule,
            cyclic=CyclicSettings(cycles=2 if quick else 6),
            train=TrainSettings(epochs=2 if quick else 10, lr=4e-3, ema=0.95, evaluate_every=1000),
        ),
        search=SearchSettings(strategy=strategy, population=8 if quick else 16, generations=2 if quick else 3),
        finish=TrainSettings(epochs=1 if quick else 8, lr=4e-3, ema=0.97, evaluate_every=1000),
    )


def the_space(job: Job) -> Backbone:
    """The space of a run."""
    space = space_of(job, load_network(Path(job.settings.teacher.model)).arch)
    assert isinstance(space, Backbone)
    return space


def one_seed(seed: int, space: str, *, out: Path, teacher: str, ways: Sequence[Way], quick: bool) -> list[Row]:
    """Each way from the supernet to the finished winner; each stage is done once, however often this is started."""
    rows: list[Row] = []
    truth, taught = alone(space, out=out, teacher=teacher, quick=quick), load_network(Path(teacher)).eval()
    for way in ways:
        home = out / space / f"seed{seed}"
        settings = settings_of(seed, way, space=space, teacher=teacher, quick=quick)
        trained = quiet_job(settings, home / f"{way.rule}-{way.strategy}")
        shared = quiet_job(settings, home / way.rule) if way.rule == "single" else trained
        own = the_space(shared)
        costing = Costing(shared, own)
        spent = shared.do("supernet", partial(timed_supernet, shared, own, costing, taught))
        supernet = load_supernet(shared.path(NETWORK), own)
        known = shared.do("tau", partial(agreement, shared, supernet, truth))
        searched = trained.do("search", partial(timed_search, trained, supernet, costing, way, shared.folder.path))
        arch = winner_arch(trained) if way.strategy != "unsearched" else space_from_json(searched["arch"])
        trained.do("finish", partial(finished, trained, arch, supernet, taught))
        network = load_network(trained.path(finish.NETWORK)).eval()
        rows.append(
            {
                "space": space,
                "seed": seed,
                "rule": way.rule,
                "strategy": way.strategy,
                "params": cost(arch).params,
                "candidates": searched["candidates"],
                "supernet s": round(spent["processor_seconds"], 1),
                "search s": round(searched["processor_seconds"], 1),
                "tau": round(known["tau"], 3),
                "test": accuracy(network, trained.parts.test, accelerator=trained.accelerator).value,
            }
        )
        print(rows[-1], flush=True)
    return rows


def timed_supernet(job: Job, space: Backbone, costing: Costing, teacher: Network, progress: Progress) -> dict[str, Any]:
    """The stage of the supernet, and what it cost."""
    began = time.process_time()
    found = train_supernet(job, space, costing=costing, teacher=teacher, progress=progress)
    return found | {"processor_seconds": time.process_time() - began}


def timed_search(
    job: Job, supernet: Supernet, costing: Costing, way: Way, source: Path, progress: Progress
) -> dict[str, Any]:
    """The stage of the search, and what it cost; without one the first network that a seed draws."""
    if way.strategy == "unsearched":
        rng = random.Random(f"unsearched/{job.settings.seed}")
        arch = draw(supernet.space, 1, rng=rng, feasible=affordable(costing))[0]
        return {"arch": to_json(arch), "candidates": 0, "processor_seconds": 0.0}
    began = time.process_time()
    found = run_search(job, supernet, source=source, costing=costing, progress=progress)
    return found | {"processor_seconds": time.process_time() - began}


def finished(job: Job, arch: Backbone, supernet: Supernet, teacher: Network, progress: Progress) -> dict[str, Any]:
    """The stage that trains on what was cut out."""
    return finish.finish(job, arch, supernet=supernet, teacher=teacher, progress=progress)


def affordable(costing: Costing) -> Any:
    """Whether a network is within the budget."""
    return lambda arch: within(costing(arch), costing.limits)


def alone(space: str, *, out: Path, teacher: str, quick: bool) -> list[tuple[Backbone, float]]:
    """Some networks of the space, each trained from nothing, and what it reaches on the test part: written down once."""
    job = quiet_job(settings_of(0, WAYS[0], space=space, teacher=teacher, quick=quick), out / space / "alone")
    own = the_space(job)
    archs = draw(own, 4 if quick else ALONE, rng=random.Random(0), feasible=lambda arch: True)
    file = job.path("alone.json")
    known: list[float] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    for number in range(len(known), len(archs)):
        torch.manual_seed(number)
        epochs = 1 if quick else ALONE_EPOCHS[space]
        train = TrainSettings(epochs=epochs, lr=5e-3, ema=0.95, seed=number, evaluate_every=1000)
        stage = f"alone{number}"
        network = job.train(
            build(archs[number]), train, stage=stage, losses=plain(Teaching()), progress=lambda *_: None
        )
        known.append(accuracy(network, job.parts.test, accelerator=job.accelerator).value)
        write_json(file, known)
    return list(zip(archs, known, strict=True))


def agreement(
    job: Job, supernet: Supernet, truth: Sequence[tuple[Backbone, float]], progress: Progress
) -> dict[str, Any]:
    """How well the supernet orders the networks whose true accuracy is known."""
    score = Scorer(
        supernet, job.parts.search, accelerator=job.accelerator,
        batch=256, z=0.0, precision="fp32", calibration=calibration(job, supernet.host),
    )  # fmt: skip
    archs, true = zip(*truth, strict=True)
    return {"tau": rank_report(score(archs), true, seed=0).tau.value}


def summary(rows: Sequence[Row]) -> list[Row]:
    """For each space and way mean and deviation over seeds."""
    found: list[Row] = []
    for space, rule, strategy in dict.fromkeys((row["space"], row["rule"], row["strategy"]) for row in rows):
        own = [row for row in rows if (row["space"], row["rule"], row["strategy"]) == (space, rule, strategy)]
        tests, taus = [100 * row["test"] for row in own], [row["tau"] for row in own]
        found.append(
            {
                "space": space,
                "supernet": rule,
                "strategy": strategy,
                "test accuracy": f"{statistics.mean(tests):.2f} %",
                "deviation": f"{statistics.stdev(tests):.2f}",
                "tau": f"{statistics.mean(taus):.2f} ({min(taus):.2f} to {max(taus):.2f})",
                "supernet s": f"{statistics.mean(row['supernet s'] for row in own):.0f}",
                "search s": f"{statistics.mean(row['search s'] for row in own):.0f}",
                "candidates": round(statistics.mean(row["candidates"] for row in own)),
                "parameters": round(statistics.mean(row["params"] for row in own)),
            }
        )
    return found


def teach(out: Path, *, quick: bool) -> str:
    """The file of the one teacher."""
    job = quiet_job(settings_of(0, WAYS[0], space="auto", teacher="", quick=quick), out / "teacher")
    job.do("teacher", Teacher(job).train)
    return str(job.path(TEACHER))


def main() -> None:
    args: argparse.Namespace = options(
        __doc__, folder=True, more={"spaces": {"nargs": "+", "default": list(SPACES), "choices": SPACES}}
    )
    before = conditions()
    teacher, seeds = teach(args.out, quick=args.quick), range(2) if args.quick else range(5)
    rows: list[Row] = []
    for seed in seeds:
        for space in args.spaces:
            ways = [way for way in WAYS if way.rule != "cyclic" or space == "mobile"]
            rows += one_seed(seed, space, out=args.out, teacher=teacher, ways=ways, quick=args.quick)
    show("All winners", rows)
    show(f"{len(seeds)} seeds", summary(rows))
    end(args, before, {"rows": rows, "summary": summary(rows)})


if __name__ == "__main__":
    main()
