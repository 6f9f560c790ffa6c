"""Does the cyclic search find better networks than first-order DARTS and random search do?

    python benchmarks/cyclic.py --out FOLDER [--seeds 5] [--steps 300] [--quick] [--json FILE]

On the space of `nb201_digits.py`, against its table, so that nothing found has to be trained. Cyclic search and DARTS
make as many steps, each on a batch of 64 of either half of what is learned; random search takes the best on the search
part of as many networks of the table as can be trained with as many batches. Regret: how far the network found is below
the best of the space on the test part (accuracy). tau: Kendall's tau-b of what a search believes of all 729 networks,
their likelihood, with their accuracy; beside it that of "more parameters is better". The rows are means over seeds. Searches
that are done are kept in the folder.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import nb201_digits as truth
import numpy as np
import torch
from scipy import stats
from showing import conditions, end, options, show
from torch.nn import functional

from vitesse.data.augment import Augment
from vitesse.data.mix import Mix
from vitesse.data.part import Batch, Part
from vitesse.data.replay import Stream, permutation
from vitesse.runs.files import read_json, write_json
from vitesse.search.likelihood import Likelihood
from vitesse.tasks.cyclic.blocks import PairOfBlocks
from vitesse.tasks.cyclic.loop import CyclicTask, learn
from vitesse.tasks.cyclic.settings import CyclicSettings
from vitesse.tasks.teaching import Teaching
from vitesse.train.loop import Watch
from vitesse.train.settings import TrainSettings

EMBEDDING = (32, 64)
WAYS: dict[str, dict[str, Any]] = {
    "cyclic": {},
    "cyclic, published switches": {"rate": "constant", "clip_over": "all", "reduction": "mean"},
    "cyclic, nothing forgotten": {"reset_optimizers": False},
    "cyclic, nothing forgotten, exploring": {"reset_optimizers": False, "explore": 0.5},
}


@cache
def half_of(half: int, seed: int) -> Part:
    """One of two random halves of what is learned."""
    part = truth.parts().learn
    order = permutation(seed, 0, len(part), stream=Stream.SPLIT)
    middle = len(order) // 2
    return part.without(order[middle:] if half == 0 else order[:middle])


def halves(half: int, epoch: int, start: int, seed: int) -> Iterator[Batch]:
    """The batches of one half of what is learned."""
    part = half_of(half, seed)
    return part.train_batches(
        epoch=epoch, batch=truth.BATCH, seed=seed + half, augment=Augment(), mix=Mix(), start=start
    )


def train_settings(steps: int, seed: int) -> TrainSettings:
    """A search's training: the rate at which the networks of the table learn."""
    per_epoch = half_of(0, seed).steps(truth.BATCH)
    return TrainSettings(
        epochs=max(1, steps // per_epoch), batch=truth.BATCH, lr=truth.LR, weight_decay=truth.WEIGHT_DECAY, clip=5.0,
        seed=seed, evaluate_every=1000, checkpoint_seconds=1e9,
    )  # fmt: skip


def cyclic(settings: CyclicSettings, *, steps: int, seed: int) -> Likelihood:
    """What a cyclic search believes in the end."""
    torch.manual_seed(seed)
    pair = PairOfBlocks(truth.space(), settings)
    task = CyclicTask(
        batches=lambda half, epoch, start, rank, world: halves(half, epoch, start, seed),
        steps_per_epoch=half_of(0, seed).steps(truth.BATCH),
        evaluate=lambda supernet, arch: 0.0, teaching=Teaching(),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        learn(pair, train_settings(steps, seed), task=task, checkpoint=Path(folder) / "pair.pt", watch=Watch())
    return pair.believed()


def darts(*, steps: int, seed: int) -> Likelihood:
    """What first-order DARTS (ICLR 2019) believes in the end: its alpha learns from one half, its weights from the other."""
    torch.manual_seed(seed)
    settings = train_settings(steps, seed)
    pair = PairOfBlocks(truth.space(), CyclicSettings(embedding=EMBEDDING)).train()
    weights = torch.optim.AdamW(pair.search.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    alpha = torch.optim.Adam(pair.alpha.parameters(), lr=pair.settings.alpha_lr, betas=(0.5, 0.999), weight_decay=1e-3)
    total = settings.epochs * len(list(halves(0, 0, 0, seed)))
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(weights, total)
    for epoch in range(settings.epochs):
        for learned, held in zip(halves(0, epoch, 0, seed), halves(1, epoch, 0, seed), strict=True):
            for optimizer, batch in ((alpha, held), (weights, learned)):
                pair.zero_grad(set_to_none=True)
                functional.cross_entropy(pair.searching(batch.images).logits, batch.labels).backward()
                optimizer.step()
            rate.step()
    return pair.believed()


def believed(out: Path, name: str, *, steps: int, seed: int) -> tuple[Likelihood, float]:
    """What one search believes in the end, and its processor time; a search that was done before is read."""
    file = out / f"{name}, {steps} steps, seed {seed}.json"
    if not file.exists():
        begun = time.process_time()
        settings = CyclicSettings(embedding=EMBEDDING, **WAYS.get(name, {}))
        found = cyclic(settings, steps=steps, seed=seed) if name in WAYS else darts(steps=steps, seed=seed)
        write_json(file, {"logits": found.logits, "seconds": time.process_time() - begun})
        print(file.stem, flush=True)
    data = read_json(file)
    return Likelihood(logits=data["logits"]), data["seconds"]


def judged(believed: Likelihood, table: truth.Rows) -> dict[str, float]:
    """Regret of the likeliest network and rank correlation over all of them."""
    codes = list(table)
    archs = [truth.network_of(code) for code in codes]
    predicted = [believed.of(truth.space(), arch) for arch in archs]
    true = [table[code]["test"] for code in codes]
    found = int(np.argmax(predicted))
    return {
        "accuracy": true[found],
        "regret": max(true) - true[found],
        "tau": float(stats.kendalltau(predicted, true, variant="b").statistic),
        "convolutions": codes[found].count("c"),
    }


def chance(table: truth.Rows, *, steps: int, seed: int) -> dict[str, float]:
    """The best on the search part of as many random networks as can be trained with as many batches."""
    count = max(1, 2 * steps // truth.STEPS)
    codes = random.Random(seed).sample(sorted(table), count)
    found = max(codes, key=lambda code: table[code]["search"])
    best = max(row["test"] for row in table.values())
    return {
        "accuracy": table[found]["test"], "regret": best - table[found]["test"], "convolutions": found.count("c"),
    }  # fmt: skip


def mean_row(name: str, each: list[dict[str, float]], seconds: float | None) -> dict[str, Any]:
    """Means over seeds, with the standard deviation of what counts; random search believes nothing and trains nothing."""
    regrets, taus = [one["regret"] for one in each], [one["tau"] for one in each if "tau" in one]
    return {
        "way": name,
        "seeds": len(each),
        "regret": float(np.mean(regrets)),
        "deviation": float(np.std(regrets)),
        "worst": max(regrets),
        "tau": float(np.mean(taus)) if taus else "–",
        "deviation of tau": float(np.std(taus)) if taus else "–",
        "convolutions": float(np.mean([one["convolutions"] for one in each])),
        "seconds": "–" if seconds is None else seconds,
    }


def main() -> None:
    more = {
        "seeds": {"type": int, "default": 5, "help": "searches of each way"},
        "steps": {"type": int, "default": 300, "help": "steps of a search"},
        "table": {"type": Path, "default": truth.TABLE, "help": "the truth"},
    }
    args, before = options(__doc__, folder=True, more=more), conditions()
    steps, seeds = (30, 1) if args.quick else (args.steps, args.seeds)
    names = (*WAYS, "DARTS, first order")
    beliefs = {name: [believed(args.out, name, steps=steps, seed=seed) for seed in range(seeds)] for name in names}
    table = truth.read(args.table)
    details = {name: [judged(one, table) for one, _ in found] for name, found in beliefs.items()}
    details["random"] = [chance(table, steps=steps, seed=seed) for seed in range(seeds)]
    seconds = {name: float(np.mean([time for _, time in found])) for name, found in beliefs.items()}
    rows = [mean_row(name, each, seconds.get(name)) for name, each in details.items()]
    true = np.array([row["test"] for row in table.values()])
    params = [row["params"] for row in table.values()]
    show(
        "Cyclic search, DARTS and random search on a space whose networks are all known",
        rows,
        notes=(
            f"{len(table)} networks, test accuracy {true.min():.3f} to {true.max():.3f}, the largest "
            f"{true[int(np.argmax(params))]:.3f}; "
            f"a network drawn at random has a mean regret of {true.max() - true.mean():.3f}; "
            f"tau of the parameters {stats.kendalltau(params, true, variant='b').statistic:.3f}.",
        ),
    )
    end(args, before, {"rows": rows, "details": details})


if __name__ == "__main__":
    main()
