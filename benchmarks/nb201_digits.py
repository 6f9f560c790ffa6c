"""The truth about a small space: every one of its 729 networks trained alone, on the digits.

    python benchmarks/nb201_digits.py [--table FILE] [--seeds 2]

One cell of NAS-Bench-201 with 8 channels; each of its six edges is the identity (s), average pooling (a) or a 3x3
convolution (c). Two of the three have no parameters, because those are what a differentiable search is known to fall
for. 450 images are learned for 140 steps, which is short enough that networks differ; 539 images (search) and 808
(test) judge. The table has a line a training: edges, seed, parameters, multiply-adds, and accuracy on both
parts. Networks that are the same function by another graph are trained each for itself. Started again, it goes on
where the table ends.
"""

from __future__ import annotations

import csv
import itertools
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from showing import options
from torch import Tensor, nn
from torch.nn import functional

from vitesse.arch import Backbone, NB201Cell, cost
from vitesse.data.load import DataSettings, Parts, load_parts
from vitesse.nets import build
from vitesse.zoo.nb201 import SMALL_KINDS, nb201, nb201_cell_space, the_cell

LETTERS = dict(zip("sac", SMALL_KINDS, strict=True))
SHAPE: dict[str, Any] = {"width": 8, "image": 8, "channels": 1}
STEPS, BATCH, LR, WEIGHT_DECAY = 140, 64, 2e-2, 0.02
TABLE = Path(__file__).with_suffix(".csv")
COLUMNS = ("edges", "seed", "params", "macs", "search", "test")
Rows = dict[str, dict[str, float]]


@cache
def parts() -> Parts:
    """The digits, always in the same three parts."""
    return load_parts(DataSettings(search_fraction=0.3, test_fraction=0.45))


def space() -> Backbone:
    """All 729 networks."""
    return nb201_cell_space(SMALL_KINDS, **SHAPE)


def network_of(code: str) -> Backbone:
    """The network of six letters, one for each edge."""
    return nb201(NB201Cell(edges=tuple(LETTERS[letter] for letter in code)), cells=1, stages=1, **SHAPE)


def code_of(arch: Backbone) -> str:
    """The six letters of a network."""
    letters = {kind: letter for letter, kind in LETTERS.items()}
    return "".join(letters[str(kind)] for kind in the_cell(arch).edges)


@cache
def whole(name: str) -> tuple[Tensor, Tensor]:
    """All images and labels of a part."""
    batches = list(getattr(parts(), name).batches(4096))
    return torch.cat([one.images for one in batches]), torch.cat([one.labels for one in batches])


def trained(arch: Backbone, *, seed: int, steps: int = STEPS) -> nn.Module:
    """One network, trained from nothing."""
    torch.manual_seed(seed)
    images, labels = whole("learn")
    network, order = build(arch).train(), np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=WEIGHT_DECAY, foreach=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        some = torch.from_numpy(order.choice(len(labels), BATCH, replace=False))
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(network(images[some]), labels[some]).backward()
        optimizer.step()
        rate.step()
    return network.eval()


@torch.inference_mode()
def right(network: nn.Module, name: str) -> float:
    """Accuracy on a part."""
    images, labels = whole(name)
    return float((network(images).argmax(-1) == labels).double().mean())


def read(table: Path = TABLE) -> Rows:
    """The table by the networks' letters: params, macs, and the mean accuracy over seeds on `search` and `test`."""
    rows = lines_of(table)
    found: Rows = {}
    for code in dict.fromkeys(row["edges"] for row in rows):
        own = [row for row in rows if row["edges"] == code]
        found[code] = {name: float(np.mean([float(row[name]) for row in own])) for name in COLUMNS[2:]}
    return found


def lines_of(table: Path) -> list[dict[str, str]]:
    """The lines of a table; none where there is no table yet."""
    if not table.exists():
        return []
    with table.open(newline="") as lines:
        return list(csv.DictReader(lines))


def main() -> None:
    args = options(__doc__, more={
        "table": {"type": Path, "default": TABLE, "help": "where the table is, or is to be"},
        "seeds": {"type": int, "default": 2, "help": "how often each network is trained"},
    })  # fmt: skip
    codes = ["".join(letters) for letters in itertools.product(LETTERS, repeat=6)]
    wanted = [(code, seed) for seed in range(args.seeds) for code in (codes[:4] if args.quick else codes)]
    known = {(row["edges"], int(row["seed"])) for row in lines_of(args.table)}
    with args.table.open("a", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        if not known:
            lines.writerow(COLUMNS)
        for number, (code, seed) in enumerate(wanted):
            if (code, seed) in known:
                continue
            arch = network_of(code)
            network = trained(arch, seed=seed)
            accuracies = [f"{right(network, name):.4f}" for name in ("search", "test")]
            lines.writerow([code, seed, cost(arch).params, cost(arch).macs, *accuracies])
            file.flush()
            if number % 27 == 26:
                print(f"{number + 1}/{len(wanted)}: {code} {' '.join(accuracies)}", flush=True)


if __name__ == "__main__":
    main()
