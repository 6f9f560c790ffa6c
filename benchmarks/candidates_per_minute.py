"""Candidates scored a minute in a search, against reading the files anew for each of them.

    python benchmarks/candidates_per_minute.py [--quick] [--json FILE]

`naive`: for each candidate a full pass over the files of the search part, decoding, fp32, to the last image. `published`: the
same over the test part too, as the published search does and ours never may; a second baseline, not the target's.
`kept`: the images decoded once, and what candidates begin alike with computed once (vitesse.shrink.scoring.Scorer without
racing); `race`: candidates that fall far behind are dropped (z = 1.5). bf16 only where the processor has it. All run the
same supernet, trained for a short while so that candidates differ. A round scores one generation of a real search, the
first (random) among them; the baselines score a few of it. Data: the digits, 1,000 made PNG images of 64x64, and 1,000
made JPEG photos of 500x375, seen at 64x64. The clock is the process's own processor time (one thread), so that others
on the machine disturb little. Target: race at least 5 times the naive way.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from showing import Row, conditions, end, options, quiet_job, show, unseen

from vitesse.arch import Backbone, Budget, cost, smallest
from vitesse.data.image import decode
from vitesse.data.load import DataSettings
from vitesse.data.part import Part
from vitesse.data.preprocess import Preprocess, normalise, to_batch
from vitesse.data.source import Source, open_source
from vitesse.search.candidate import Candidate
from vitesse.search.draw import draw
from vitesse.search.evolution import Evolution
from vitesse.search.loop import search
from vitesse.search.study import Study
from vitesse.shrink.costing import Costing, formula_costs
from vitesse.shrink.design import space_around, teacher_arch
from vitesse.shrink.job import Job
from vitesse.shrink.scoring import Scorer
from vitesse.shrink.settings import ShrinkSettings, SupernetSettings
from vitesse.shrink.subnets import Subnets
from vitesse.shrink.supernet import NETWORK, load_supernet, train_supernet
from vitesse.supernet import Supernet
from vitesse.train.settings import TrainSettings
from vitesse.zoo.autoformer import autoformer_tiny_space

Score = Callable[[Sequence[Backbone]], Sequence[float]]
POPULATION, BATCH, KINDS = 50, 256, 10


def make_images(folder: Path, count: int, *, suffix: str) -> None:
    """Gratings of ten directions in noise: `count` to search on, as many to test, some to learn from.

    PNG: 64x64, a noise of pixels. JPEG: 500x375, quality 90, smooth clouds as of a photo out of focus, and a little grain.
    """
    rng = np.random.default_rng(0)
    width, height = (64, 64) if suffix == "png" else (500, 375)
    y, x = np.mgrid[:height, :width] / max(width, height)
    for part, share in (("train", 4 * count // 5), ("val", count), ("test", count)):
        for number in range(share):
            kind = number % KINDS
            angle, phase = np.pi * (kind + rng.normal(0, 0.25)) / KINDS, rng.uniform(0, 2 * np.pi)
            wave = np.sin(2 * np.pi * 5 * (x * np.cos(angle) + y * np.sin(angle)) + phase)
            if suffix == "png":
                noise = rng.normal(0, 50, (height, width, 3))
            else:
                coarse = Image.fromarray(rng.normal(128, 60, (24, 32, 3)).clip(0, 255).astype(np.uint8))
                noise = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) - 128.0
                noise += rng.normal(0, 4, noise.shape)
            pixels = 128 + 30 * wave[..., None] + noise
            file = folder / part / str(kind) / f"{number}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, quality=90)


def trained(job: Job, space: Backbone) -> Supernet:
    """The supernet of the run's own stage, without a teacher."""
    train_supernet(job, space, costing=Costing(job, space), teacher=None, progress=unseen)
    return load_supernet(job.path(NETWORK), space)


def naive(supernet: Supernet, job: Job, *parts: Part) -> Score:
    """Score each candidate by a pass over the files of the first part; it passes over the others for nothing."""
    source, preprocess = open_source(job.settings.data.source), job.parts.preprocess
    passes = [_pass(supernet, source, set(part.names), preprocess) for part in parts]

    def score(archs: Sequence[Backbone]) -> list[float]:
        every = [[accuracy(arch) for accuracy in passes] for arch in archs]
        return [first for first, *_ in every]

    return score


def _pass(supernet: Supernet, source: Source, wanted: set[str], preprocess: Preprocess) -> Callable[[Backbone], float]:
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

    return accuracy


def contest(
    supernet: Supernet, job: Job, rounds: Sequence[Sequence[Backbone]], *, naively: int, racing: bool = True
) -> list[Row]:
    """All ways to score in turns, a generation a round; the baselines score a few of each."""
    part, accelerator = job.parts.search, job.accelerator
    how: dict[str, Any] = {"accelerator": accelerator, "batch": BATCH}
    ways: dict[str, Score] = {
        "naive": naive(supernet, job, part),
        "published": naive(supernet, job, part, job.parts.test),
    }
    baselines = tuple(ways)
    for precision in ("fp32", "bf16") if torch.ops.mkldnn._is_mkldnn_bf16_supported() else ("fp32",):
        for name, z in (("kept", 0.0), ("race", 1.5)) if racing else (("kept", 0.0),):
            ways[f"{name} {precision}"] = Scorer(supernet, part, z=z, precision=precision, **how)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    losses: dict[str, list[float]] = {name: [] for name in ways}
    warm = draw(supernet.space, 2, rng=random.Random(0), feasible=affordable(job))
    for number, archs in enumerate([warm, *rounds]):
        scores: dict[str, list[float]] = {}
        for name, score in ways.items():
            # Spread over the generation, whose mutants come before its crossovers.
            mine = archs[:: max(1, len(archs) // naively)][:naively] if name in baselines else archs
            before = time.process_time()
            scores[name] = list(score(mine))
            if number:
                seconds[name].append((time.process_time() - before) / len(mine))
        exact = scores["kept fp32"]
        few = torch.tensor(exact[:: max(1, len(archs) // naively)][:naively])
        torch.testing.assert_close(few, torch.tensor(scores["naive"]), rtol=0, atol=0.003)
        for name in set(ways) - set(baselines) if number else ():
            losses[name].append(max(exact) - exact[int(np.argmax(scores[name]))])
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    return [
        {
            "way": name,
            "candidates a minute": 60 / middle[name],
            "times naive": statistics.median(a / b for a, b in zip(seconds["naive"], values, strict=True)),
            "least, most": f"{min(ratios(seconds, name)):.2f}, {max(ratios(seconds, name)):.2f}",
            "its best is worse by": "–" if name in baselines else f"{100 * max(losses[name]):.1f} %",
        }
        for name, values in seconds.items()
    ]


def generations(supernet: Supernet, job: Job, *, population: int, wanted: Sequence[int]) -> list[list[Backbone]]:
    """The candidates of some generations of a search."""
    score = Scorer(supernet, job.parts.search, accelerator=job.accelerator, batch=BATCH, z=1.5, precision="fp32")
    half = population // 2
    with tempfile.TemporaryDirectory() as place:
        found = search(
            supernet.space, strategy=Evolution(population=population, mutants=half, crossovers=half), score=score,
            costs=formula_costs, limits=job.settings.budget.limits(), storage=Path(place, "a.db"), seed=0,
            generations=max(wanted) + 1,
        )  # fmt: skip
    return [[candidate.arch for candidate in found if candidate.generation == number] for number in wanted]


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
    clock = Clock()

    def whole(storage: Path) -> list[Candidate]:
        return search(
            supernet.space, strategy=Evolution(population=POPULATION), score=clock.clocked("score", scorer),
            costs=clock.clocked("costs", formula_costs), limits=job.settings.budget.limits(), storage=storage,
            seed=0, generations=generations,
        )  # fmt: skip

    with tempfile.TemporaryDirectory() as place:
        found = clock.clocked("whole", whole)(Path(place, "a.db"))
        # Once more on its own, for what happened inside: the same networks cut out, the same candidates written.
        subnets, none = Subnets(supernet), torch.zeros(0, *job.parts.search.batches(1).__next__().images.shape[1:])
        clock.clocked("networks", lambda archs: subnets.logits(archs, none))([c.arch for c in found])
        study = Study(Path(place, "b.db"), supernet.space, costs=tuple(formula_costs(smallest(supernet.space))))
        write = clock.clocked("study", lambda candidates: study.add(candidates, seed=0))
        for number in range(generations):
            write([candidate for candidate in found if candidate.generation == number])
    spent = clock.spent
    parts = {
        "cutting networks out, and their Python": {"networks": 1},
        "forward passes": {"score": 1, "networks": -1},
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


def settings_of(source: str, *, budget: int | None, epochs: int) -> ShrinkSettings:
    """The run's defaults, the supernet trained for a few epochs."""
    return ShrinkSettings(
        data=DataSettings(source=source, workers=1, size=None if source == "digits" else 64),
        budget=Budget(max_params=budget),
        supernet=SupernetSettings(train=TrainSettings(epochs=epochs, ema=0.0, evaluate_every=1000)),
    )


def main() -> None:
    args, before = options(__doc__), conditions()
    population, wanted = (20, (0, 1)) if args.quick else (POPULATION, (0, 2, 4))
    tables: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as place:
        sources = {suffix: str(Path(place, suffix)) for suffix in ("png", "jpeg")}
        for suffix, folder in sources.items():
            make_images(Path(folder), 100 if args.quick else 1000, suffix=suffix)
        epochs = 1 if args.quick else 8
        jobs = {
            "digits, 60k": settings_of("digits", budget=60_000, epochs=5 * epochs),
            "PNG, 150k": settings_of(sources["png"], budget=150_000, epochs=epochs),
            "JPEG, 150k": settings_of(sources["jpeg"], budget=150_000, epochs=epochs),
        }
        for name, settings in jobs.items():
            job = quiet_job(settings, Path(place, name))
            arch = teacher_arch(job.parts.preprocess, classes=len(job.parts.classes), budget=settings.budget)
            supernet = trained(job, space_around(arch))
            rounds = generations(supernet, job, population=population, wanted=wanted)
            tables[name] = contest(supernet, job, rounds, naively=1 if name.startswith("JPEG") else 5)
            show(f"{name}: {len(job.parts.search)} images to score on", tables[name])
            if not name.startswith("JPEG"):  # its images are decoded as many as the others'
                tables[f"{name}, shares"] = shares(supernet, job, generations=1 if args.quick else 4)
                show(f"{name}: where the time of a search goes (racing, fp32)", tables[f"{name}, shares"])
        if not args.quick:
            job = quiet_job(settings_of(sources["png"], budget=None, epochs=1), Path(place, "tiny"))
            supernet = Supernet(autoformer_tiny_space(image=64, classes=KINDS)).eval()
            rng = random.Random(0)
            rounds = [draw(supernet.space, 3, rng=rng, feasible=affordable(job)) for _ in range(3)]
            tables["tiny"] = contest(supernet, job, rounds, naively=3, racing=False)
            show("PNG, AutoFormer-T, untrained, so without racing: 1,000 images to score on", tables["tiny"])
    end(args, before, tables)


if __name__ == "__main__":
    main()
