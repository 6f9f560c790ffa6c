"""Do inherited weights order networks as training each of them alone does?

    python benchmarks/rank_correlation.py --out FOLDER [--quick] [--json FILE]

100 random networks of the space that `vitesse shrink` makes for the digits at 60,000 parameters (its largest network is the
teacher's shape), none left out for its size. Predicted: accuracy on the search part with weights sliced out of one
trained supernet. True: accuracy on the test part after training each network alone from nothing for 330 steps, which is
too short to finish any: without augmentation and at a high learning rate, to come as far as it goes. Kendall's tau-b
with a 95 % interval, beside it that of "more parameters is better". Writes a line a network into
FOLDER/alone/networks.jsonl and goes on there when it is started again. More of the digits than usual are held out
(search 25 %, test 35 %), because what is compared are small differences.
"""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import torch
from showing import Row, conditions, end, options, quiet_job, show

from vitesse.arch import Backbone, Budget, cost, to_json
from vitesse.data.augment import Augment
from vitesse.data.load import DataSettings
from vitesse.measure.ranking import Estimate, rank_report
from vitesse.nets import build
from vitesse.search.draw import draw
from vitesse.shrink.costing import Costing
from vitesse.shrink.design import space_around, teacher_arch
from vitesse.shrink.job import Job
from vitesse.shrink.scoring import Scorer
from vitesse.shrink.settings import ShrinkSettings, SupernetSettings
from vitesse.shrink.supernet import NETWORK, load_supernet, train_supernet
from vitesse.tasks.classification import accuracy, plain
from vitesse.tasks.teaching import Teaching
from vitesse.train.settings import TrainSettings

LINES = "networks.jsonl"


def settings_of(*, quick: bool, augment: Augment | None = None) -> ShrinkSettings:
    """A run without a budget: the ranking is about the whole space. An epoch is 11 steps."""
    train = TrainSettings(epochs=1 if quick else 60, lr=1e-3, ema=0.98, evaluate_every=1000)
    return ShrinkSettings(
        data=DataSettings(search_fraction=0.25, test_fraction=0.35),
        augment=augment,
        supernet=SupernetSettings(train=train),
    )


def alone(job: Job, arch: Backbone, *, epochs: int, number: int) -> float:
    """Test accuracy of one network trained from nothing, without a teacher."""
    torch.manual_seed(number)
    settings = TrainSettings(epochs=epochs, lr=5e-3, ema=0.98, seed=number, evaluate_every=1000)
    checkpoint = job.path(f"checkpoints/alone{number}.pt")
    network = job.train(
        build(arch), settings, stage=f"alone{number}", losses=plain(Teaching()), progress=lambda *_: None
    )
    checkpoint.unlink()
    return accuracy(network, job.parts.test, accelerator=job.accelerator).value


def measured(job: Job, archs: list[Backbone], predicted: list[float], *, epochs: int) -> list[Row]:
    """A record for each network; those of an earlier start are read back."""
    file = job.path(LINES)
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for number, (arch, score) in enumerate(zip(archs, predicted, strict=True)):
        if number < len(known):
            continue
        true = alone(job, arch, epochs=epochs, number=number)
        price = cost(arch)
        known.append(
            {"predicted": score, "true": true, "params": price.params, "macs": price.macs, "arch": to_json(arch)}
        )
        with file.open("a") as lines:
            lines.write(json.dumps(known[-1]) + "\n")
        print(
            f"{number + 1}/{len(archs)}: {price.params} parameters, predicted {score:.3f}, true {true:.3f}", flush=True
        )
    return known


def figures(rows: list[Row]) -> list[Row]:
    """The report as rows: all networks, and the half with fewer parameters, where budgets lie."""
    found: list[Row] = []
    half = sorted(rows, key=lambda row: row["params"])[: len(rows) // 2]
    for name, some in (("all", rows), ("the smaller half", half)):
        columns: dict[str, Any] = {key: [row[key] for row in some] for key in ("predicted", "true", "params", "macs")}
        report = rank_report(columns.pop("predicted"), columns.pop("true"), seed=0, **columns)
        for field in dataclasses.fields(report):
            value = getattr(report, field.name)
            if isinstance(value, Estimate):
                text = f"{value.low:.3f} to {value.high:.3f}"
                found.append(
                    {"networks": f"{name} ({len(some)})", "figure": field.name, "value": value.value, "95 %": text}
                )
    return found


def main() -> None:
    args, before = options(__doc__, folder=True), conditions()
    out = Path(args.out)
    job = quiet_job(settings_of(quick=args.quick), out)
    parts = job.parts
    space = space_around(teacher_arch(parts.preprocess, classes=len(parts.classes), budget=Budget(max_params=60_000)))
    job.do("supernet", lambda progress: train_supernet(
        job, space, costing=Costing(job, space), teacher=None, progress=progress))  # fmt: skip
    supernet = load_supernet(job.path(NETWORK), space)
    archs = draw(space, 8 if args.quick else 100, rng=random.Random(0), feasible=lambda arch: True)
    score = Scorer(supernet, parts.search, accelerator=job.accelerator, batch=256, z=0.0, precision="fp32")
    plainly = quiet_job(settings_of(quick=args.quick, augment=Augment()), out / "alone")
    rows = measured(plainly, archs, score(archs), epochs=1 if args.quick else 30)
    true, sizes = [row["true"] for row in rows], [row["params"] for row in rows]
    show(
        "Order by inherited weights against order by training alone (tau-b; regret in accuracy)",
        figures(rows),
        notes=(
            f"True accuracies from {min(true):.3f} to {max(true):.3f} on {len(parts.test)} images; predicted on "
            f"{len(parts.search)} others; parameters from {min(sizes):,} to {max(sizes):,}.",
        ),
    )
    end(args, before, {"figures": figures(rows), "rows": rows})


if __name__ == "__main__":
    main()
