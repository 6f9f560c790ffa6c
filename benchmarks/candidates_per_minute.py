"""Candidates scored a minute in a search, against reading the files anew for each of them.

    python benchmarks/candidates_per_minute.py [--quick] [--json FILE]

`naive`: for each candidate a full pass over the files, decoding, fp32, to the last image. `kept`: the images decoded once
(vitesse.shrink.scoring.Scorer without racing); `race`: candidates that fall far behind are dropped (z = 1.5); each in fp32
and bf16. All run the same supernet, trained for a short while so that candidates differ; racing looks at 50 candidates at
once. Data: the digits, and 1,000 made PNG images of 64x64. The contestants take turns, each round has new candidates.
The clock is the process's own processor time (one thread), so that others on the machine disturb little.
Target: race at least 5 times the naive way.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from showing import Row, conditions, end, options, quiet_job, show, unseen

from vitesse.arch import Backbone, Budget, cost, parameters, smallest
from vitesse.data.image import decode
from vitesse.data.load import DataSettings
from vitesse.data.preprocess import normalise, to_batch
from vitesse.data.source import open_source
from vitesse.search.candidate import Candidate
from vitesse.search.draw import draw
from vitesse.search.evolution import Evolution
from vitesse.search.loop import search
from vitesse.search.study import Study
from vitesse.shrink.costing import Costing, formula_costs
from vitesse.shrink.design import space_around, teacher_arch
from vitesse.shrink.job import Job
from vitesse.shrink.scoring import KEEP, Scorer
from vitesse.shrink.settings import ShrinkSettings, SupernetSettings
from vitesse.shrink.supernet import NETWORK, load_supernet, train_supernet
from vitesse.supernet import Supernet
from vitesse.train.settings import TrainSettings
from vitesse.weights.slice import Cut, cuts, take_all
from vitesse.zoo.autoformer import autoformer_tiny_space

Score = Callable[[Sequence[Backbone]], Sequence[float]]
POPULATION, BATCH, KINDS = 50, 256, 10


def make_images(folder: Path, count: int) -> None:
    """Gratings of ten directions in noise: `count` to search on, some to learn from, a few for a test part."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] / 64
    for part, share in (("train", 4 * count // 5), ("val", count), ("test", KINDS)):
        for number in range(share):
            kind = number % KINDS
            angle, phase = np.pi * (kind + rng.normal(0, 0.25)) / KINDS, rng.uniform(0, 2 * np.pi)
            wave = np.sin(2 * np.pi * 5 * (x * np.cos(angle) + y * np.sin(angle)) + phase)
            pixels = 128 + 30 * wave[..., None] + rng.normal(0, 50, (64, 64, 3))
            file = folder / part / str(kind) / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)


def trained(job: Job, space: Backbone) -> Supernet:
    """The supernet of the run's own stage, without a teacher."""
    train_supernet(job, space, costing=Costing(job, space), teacher=None, progress=unseen)
    return load_supernet(job.path(NETWORK), space)


def naive(supernet: Supernet, job: Job) -> Score:
    """Score each candidate by a pass over the files of the search part."""
    source, preprocess, wanted = (
        open_source(job.settings.data.source),
        job.parts.preprocess,
        set(job.parts.search.names),
    )
    places = [place for place, name in enumerate(source.names) if name in wanted]
    labels = torch.from_numpy(source.labels)

    @torch.inference_mode()
    def accuracy(arch: Backbone) -> float:
        right = 0
        for start in range(0, len(places), BATCH):
            some = places[start : start + BATCH]
            pixels = to_batch([decode(source.read(place), source.names[place]) for place in some], preprocess)
            right += int((supernet(normalise(pixels, preprocess), arch).argmax(-1) == labels[some]).sum())
        return right / len(places)

    return lambda archs: [accuracy(arch) for arch in archs]


def contest(supernet: Supernet, job: Job, *, population: int, naively: int, rounds: int) -> list[Row]:
    """All ways to score in turns; the naive way scores a few of each round's candidates."""
    part, accelerator = job.parts.search, job.accelerator
    how: dict[str, Any] = {"accelerator": accelerator, "batch": BATCH}
    ways: dict[str, Score] = {"naive": naive(supernet, job)}
    for precision in ("fp32", "bf16"):
        for name, z in (("kept", 0.0), ("race", 1.5)) if population > KEEP else (("kept", 0.0),):
            ways[f"{name} {precision}"] = Scorer(supernet, part, z=z, precision=precision, **how)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    losses: dict[str, list[float]] = {name: [] for name in ways}
    rng = random.Random(0)
    for number in range(rounds + 1):
        # The first round warms up, with a few.
        archs = draw(supernet.space, population if number else naively, rng=rng, feasible=affordable(job))
        scores: dict[str, list[float]] = {}
        for name, score in ways.items():
            mine = archs[:naively] if name == "naive" else archs
            before = time.process_time()
            scores[name] = list(score(mine))
            if number:
                seconds[name].append((time.process_time() - before) / len(mine))
        exact = scores["kept fp32"]
        torch.testing.assert_close(torch.tensor(exact[:naively]), torch.tensor(scores["naive"]), rtol=0, atol=0.003)
        for name in ways if number else ():
            losses[name].append(max(exact) - exact[int(np.argmax(scores[name]))])
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    return [
        {
            "way": name,
            "candidates a minute": 60 / middle[name],
            "times naive": statistics.median(a / b for a, b in zip(seconds["naive"], values, strict=True)),
            "least, most": f"{min(ratios(seconds, name)):.2f}, {max(ratios(seconds, name)):.2f}",
            "its best is worse by": "–" if name == "naive" else f"{100 * max(losses[name]):.1f} %",
        }
        for name, values in seconds.items()
    ]


def ratios(seconds: dict[str, list[float]], name: str) -> list[float]:
    """How many times as fast as the naive way, round by round."""
    return [a / b for a, b in zip(seconds["naive"], seconds[name], strict=True)]


def affordable(job: Job) -> Callable[[Backbone], bool]:
    """Whether a network is within the run's budget on parameters."""
    limit = job.settings.budget.max_params or float("inf")
    return lambda arch: cost(arch).params <= limit


class Clock:
    """What each part took: processor time of this process, and time on the wall, which waits for the disk too."""

    def __init__(self) -> None:
        self.spent: dict[str, tuple[float, float]] = {}

    def clocked(self, name: str, work: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """`work`, its time added up under this name."""

        def run(value: Any) -> Any:
            before = time.process_time(), time.perf_counter()
            out = work(value)
            own, wall = self.spent.get(name, (0.0, 0.0))
            self.spent[name] = own + time.process_time() - before[0], wall + time.perf_counter() - before[1]
            return out

        return run


def shares(supernet: Supernet, job: Job, *, generations: int) -> list[Row]:
    """Where the time of a whole search goes, with the scoring that a run uses (racing, fp32)."""
    scorer = Scorer(supernet, job.parts.search, accelerator=job.accelerator, batch=BATCH, z=1.5, precision="fp32")
    clock, asked = Clock(), list[Backbone]()
    supernet.register_forward_pre_hook(lambda module, args: asked.append(args[1]))

    def whole(storage: Path) -> list[Candidate]:
        return search(
            supernet.space, strategy=Evolution(population=POPULATION), score=clock.clocked("score", scorer),
            costs=clock.clocked("costs", formula_costs), limits=job.settings.budget.limits(), storage=storage,
            seed=0, generations=generations,
        )  # fmt: skip

    with tempfile.TemporaryDirectory() as place:
        found = clock.clocked("whole", whole)(Path(place, "a.db"))
        # Once more on its own, for what happened inside: the same slices cut, the same candidates written.
        clock.clocked("slices", Cutter(supernet))(list(asked))
        study = Study(Path(place, "b.db"), supernet.space, costs=tuple(formula_costs(smallest(supernet.space))))
        clock.clocked("study", lambda candidates: study.add(candidates, seed=0))(found)
    spent = clock.spent
    parts = {
        "slicing": {"slices": 1},
        "forward passes, skeletons": {"score": 1, "slices": -1},
        "costs by formula": {"costs": 1},
        "writing the study": {"study": 1},
        "proposing, drawing, the rest": {"whole": 1, "score": -1, "costs": -1, "study": -1},
    }
    rows: list[Row] = []
    for name, signs in parts.items():
        own, wall = (sum(sign * spent[key][which] for key, sign in signs.items()) for which in (0, 1))
        share = f"{own / spent['whole'][0]:.0%}"
        rows.append(
            {
                "part": name,
                "ms a candidate": 1e3 * own / len(found),
                "share": share,
                "ms, wall": 1e3 * wall / len(found),
            }
        )
    return rows


class Cutter:
    """Cuts slices as the supernet does: where they lie is worked out once an architecture."""

    def __init__(self, supernet: Supernet) -> None:
        self.supernet, self.known = supernet, dict[Backbone, Mapping[str, Cut | None]]()

    def __call__(self, archs: Sequence[Backbone]) -> None:
        for arch in archs:
            if arch not in self.known:
                self.known[arch] = cuts(parameters(self.supernet.host), parameters(arch))
            take_all(dict(self.supernet.network.named_parameters()), self.known[arch])


def settings_of(source: str, *, budget: int | None, epochs: int) -> ShrinkSettings:
    """The run's defaults, the supernet trained for a few epochs."""
    return ShrinkSettings(
        data=DataSettings(source=source, workers=1, size=None if source == "digits" else 64),
        budget=Budget(max_params=budget),
        supernet=SupernetSettings(train=TrainSettings(epochs=epochs, ema=0.0, evaluate_every=1000)),
    )


def main() -> None:
    args, before = options(__doc__), conditions()
    population, rounds = (20, 1) if args.quick else (POPULATION, 3)
    tables: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as place:
        source = str(Path(place, "png"))
        make_images(Path(source), 200 if args.quick else 1000)
        jobs = {
            "digits, 60k": settings_of("digits", budget=60_000, epochs=4 if args.quick else 40),
            "PNG, 150k": settings_of(source, budget=150_000, epochs=1 if args.quick else 8),
        }
        for name, settings in jobs.items():
            job = quiet_job(settings, Path(place, name))
            arch = teacher_arch(job.parts.preprocess, classes=len(job.parts.classes), budget=settings.budget)
            supernet = trained(job, space_around(arch))
            rows = contest(supernet, job, population=population, naively=3, rounds=rounds)
            parts = shares(supernet, job, generations=1 if args.quick else 4)
            show(f"{name}: {len(job.parts.search)} images to score on", rows)
            show(f"{name}: where the time of a search goes (racing, fp32)", parts)
            tables |= {name: rows, f"{name}, shares": parts}
        if not args.quick:
            job = quiet_job(settings_of(source, budget=None, epochs=1), Path(place, "tiny"))
            supernet = Supernet(autoformer_tiny_space(image=64, classes=KINDS)).eval()
            tables["tiny"] = contest(supernet, job, population=3, naively=3, rounds=rounds)
            show("PNG, AutoFormer-T, untrained, so without racing: 1,000 images to score on", tables["tiny"])
    end(args, before, tables)


if __name__ == "__main__":
    main()
