"""What a student learns from stored logits, and how many of them it needs.

    python benchmarks/stored_logits.py --out FOLDER [--quick] [--seeds N] [--json FILE]

`ways`: on the digits a student of some 30,000 parameters learns from the labels alone, from a live teacher, and from a
store of all of that teacher's logits; same steps, same views of equal strength; mean and deviation over the seeds.

`digits`, `thousand`: the same student with stores of K classes, with their sizes. The thousand classes are patterns that this
script makes: fifty families of twenty, members of a family being alike, shown with noise and in other lights.
Temperature 1 throughout, so that stores of different K are told alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from showing import Row, conditions, end, options, quiet_job, show

from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, Stage, cost
from vitesse.data import Augment, DataSettings
from vitesse.distill.store.making import store_size
from vitesse.distill.store.writing import TeacherFacts, plan, write
from vitesse.nets import Network
from vitesse.saved import load_network
from vitesse.shrink import finish
from vitesse.shrink.job import Job
from vitesse.shrink.settings import ShrinkSettings, TeacherSettings
from vitesse.tasks.classification import accuracy
from vitesse.tasks.settings import DistillSettings
from vitesse.train.loop import Progress
from vitesse.train.settings import TrainSettings

TOLD = DistillSettings(temperature=1.0)
SEEN = Augment.digits()  # a mirror image, or one without a part, may be of another class


class Task:
    """Images with a teacher and a student of theirs, and how long each learns."""

    def __init__(self, source: str, *, classes: int, image: int, epochs: tuple[int, int], batch: int) -> None:
        self.source, self.image, self.epochs, self.batch = source, image, epochs, batch
        self.teacher = vit(image, classes, dim=96, depth=6, heads=3)
        self.student = vit(image, classes, dim=32, depth=4, heads=2)

    def settings(self, seed: int, *, epochs: int, **changes: Any) -> ShrinkSettings:
        """Those of a training of so many epochs."""
        train = TrainSettings(epochs=epochs, batch=self.batch, lr=2e-3, ema=0.99, evaluate_every=1000)
        data = DataSettings(source=self.source, size=self.image, workers=1)
        return ShrinkSettings(seed=seed, data=data, augment=SEEN, finish=train, distill=TOLD, **changes)


def vit(image: int, classes: int, *, dim: int, depth: int, heads: int) -> Backbone:
    """A plain ViT of sixteen tokens for small grey images."""
    block = Block(Attention(heads=heads, head_dim=dim // heads), MLP(ratio=2.0))
    stem = PatchEmbed(image=(image, image), patch=(image // 4, image // 4), channels=1)
    return Backbone(
        stem=stem, stages=(Stage(dim=dim, depth=depth, block=block),), head=Head(classes=classes, pool="mean")
    )


def make_patterns(folder: Path, *, each: int) -> None:
    """A thousand patterns of 16 x 16 in fifty families: `each` images to learn from, a fifth as many to look at and to test."""
    rng = np.random.default_rng(0)

    def smooth(count: int, side: int) -> np.ndarray:
        """Random fields (count, 16, 16) with details of 16 / side pixels."""
        coarse = rng.normal(size=(count, side, side)).astype(np.float32)
        return np.stack([np.asarray(Image.fromarray(one).resize((16, 16), Image.Resampling.BICUBIC)) for one in coarse])

    patterns = np.repeat(smooth(50, 4), 20, 0) + 0.5 * smooth(1000, 6)
    for part, count in (("train", each), ("val", max(1, each // 5)), ("test", max(1, each // 5))):
        for kind, pattern in enumerate(patterns):
            place = folder / part / f"{kind:03d}"
            place.mkdir(parents=True)
            for copy in range(count):
                seen = rng.uniform(0.8, 1.2) * pattern + rng.normal(0, 0.6, pattern.shape)
                Image.fromarray((128 + 45 * seen).clip(0, 255).astype(np.uint8)).save(place / f"{copy}.png")


def learned(job: Job, arch: Backbone, teacher: Network | None, progress: Progress) -> dict[str, Any]:
    """The stage that trains."""
    return finish.finish(job, arch, supernet=None, teacher=teacher, progress=progress)


def trained(settings: ShrinkSettings, folder: Path, arch: Backbone, teacher: Network | None) -> tuple[Network, float]:
    """A network and its accuracy on the test part; trained once, however often this is started."""
    job = quiet_job(settings, folder)
    job.do("finish", partial(learned, job, arch, teacher))
    network = load_network(job.path(finish.NETWORK)).eval()
    return network, accuracy(network, job.parts.test, accelerator=job.accelerator).value


def stored(task: Task, teacher: Network, folder: Path, *, seed: int, epochs: int, top: int) -> tuple[Path, int]:
    """A store of the teacher's logits, and its size in bytes."""
    job = quiet_job(task.settings(seed, epochs=epochs), folder / "job")
    wanted = plan(
        teacher, job.parts, facts=TeacherFacts(name="benchmark"), epochs=range(epochs), augment=job.augment,
        mix=job.settings.mix, seed=seed, top=top,
    )  # fmt: skip
    write(folder / "store", teacher, job.parts, plan=wanted, batch=256)
    return folder / "store", store_size(wanted)


def from_store(task: Task, teacher: Network, out: Path, *, seed: int, epochs: int, top: int) -> Row:
    """A student of a store of `top` classes."""
    place, size = stored(task, teacher, out / f"K{top}-seed{seed}", seed=seed, epochs=epochs, top=top)
    settings = task.settings(seed, epochs=epochs, teacher=TeacherSettings(store=str(place)))
    _, test = trained(settings, out / f"K{top}-seed{seed}" / "student", task.student, None)
    return {"K": top, "bytes": size, "test": test}


def by_ways(task: Task, teacher: Network, out: Path, *, seeds: range) -> list[Row]:
    """Labels alone, the live teacher, the store of all its logits."""
    epochs = task.epochs[1]
    found: dict[str, list[float]] = {"labels": [], "live teacher": [], "stored logits": []}
    for seed in seeds:
        plain = task.settings(seed, epochs=epochs)
        found["labels"].append(trained(plain, out / f"labels-{seed}", task.student, None)[1])
        found["live teacher"].append(trained(plain, out / f"live-{seed}", task.student, teacher)[1])
        row = from_store(task, teacher, out, seed=seed, epochs=epochs, top=task.student.head.classes)
        found["stored logits"].append(row["test"])
        print({name: values[-1] for name, values in found.items()}, flush=True)
    return [{"way": name, **_mean(values)} for name, values in found.items()]


def by_top(task: Task, teacher: Network, out: Path, *, tops: tuple[int, ...], seeds: range) -> list[Row]:
    """Stores of K classes each."""
    rows = []
    for top in tops:
        each = [from_store(task, teacher, out, seed=seed, epochs=task.epochs[1], top=top) for seed in seeds]
        rows.append({"K": top, "kB": each[0]["bytes"] / 1e3, **_mean([row["test"] for row in each])})
        print(rows[-1], flush=True)
    return rows


def _mean(values: list[float]) -> Row:
    deviation = f"{100 * statistics.stdev(values):.2f}" if len(values) > 1 else "–"
    return {"test accuracy": f"{100 * statistics.mean(values):.2f} %", "deviation": deviation, "seeds": len(values)}


def main() -> None:
    args, before = options(__doc__, folder=True, more={"seeds": {"type": int, "default": 5}}), conditions()
    seeds = range(2 if args.quick else args.seeds)
    digits = Task("digits", classes=10, image=8, epochs=(2, 1) if args.quick else (56, 33), batch=64)
    results: dict[str, Any] = {}

    def teach(task: Task, name: str) -> Network:
        settings = replace(task.settings(0, epochs=task.epochs[0]))
        network, test = trained(settings, args.out / name / "teacher", task.teacher, None)
        sizes = f"teacher {cost(task.teacher).params}, student {cost(task.student).params} parameters"
        print(f"{name}: {sizes}; the teacher is right on {test:.2%} of the test part", flush=True)
        results[f"{name} teacher"] = test
        return network

    teacher = teach(digits, "digits")
    results["ways"] = by_ways(digits, teacher, args.out / "digits", seeds=seeds)
    results["digits"] = by_top(digits, teacher, args.out / "digits", tops=(1, 2, 3, 5, 10), seeds=seeds[:3])
    patterns = args.out / "patterns"
    if not patterns.exists():
        make_patterns(patterns, each=2 if args.quick else 12)
    thousand = Task(str(patterns), classes=1000, image=16, epochs=(1, 1) if args.quick else (30, 20), batch=128)
    teacher = teach(thousand, "thousand")
    tops = (1, 10, 100, 1000)
    results["thousand"] = by_top(thousand, teacher, args.out / "thousand", tops=tops, seeds=seeds[:1])
    titles: dict[str, Callable[[], str]] = {
        "ways": lambda: "The digits: how the student learns",
        "digits": lambda: "The digits: classes that are stored",
        "thousand": lambda: "A thousand classes: classes that are stored",
    }
    for name, title in titles.items():
        show(title(), results[name])
    end(args, before, results)


if __name__ == "__main__":
    main()
