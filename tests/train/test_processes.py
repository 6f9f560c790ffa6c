"""Two processes train the same subnets to the same weights as one process with the whole batch, and have one board."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vitesse.train.processes import autocast, average_gradients, processes, total

# One process or one of two: the sandwich rule on the digits, ranks sharing each batch.
SCRIPT = """
import random, sys
from pathlib import Path
import torch
from vitesse.arch import MLP, Attention, Backbone, Block, Choice, Head, PatchEmbed, Stage, largest, sample, smallest, to_json
from vitesse.data import DataSettings, Mix, load_parts
from vitesse.data.augment import Augment
from vitesse.supernet import Supernet
from vitesse.tasks.classification import accuracy, sandwich
from vitesse.tasks.teaching import Teaching
from vitesse.train import TrainSettings
from vitesse.train.loop import Task, Watch, fit
from vitesse.train.processes import processes

place = Path(sys.argv[1])
accelerator = processes()
rank, world = accelerator.process_index, accelerator.num_processes
parts = load_parts(DataSettings(source="digits", workers=0))
space = Backbone(
    stem=PatchEmbed(image=(8, 8), patch=(4, 4), channels=1),
    stages=(Stage(dim=Choice(8, 16), depth=Choice(1, 2, 3),
                  block=Block(Attention(heads=Choice(1, 2), head_dim=4), MLP(ratio=Choice(1.0, 2.0)))),),
    head=Head(classes=10),
)
drawn = []

def draw(rng):
    drawn.append(sample(space, rng))
    return drawn[-1]

torch.manual_seed(0)
supernet = Supernet(space)
losses = sandwich(space, draw, Teaching(), seed=0)
common = dict(batch=32, seed=0, augment=Augment(), mix=Mix())
seen = []

def evaluate(network):
    found = accuracy(lambda x: network(x), parts.search, accelerator=accelerator)
    seen.append((found.correct, found.total))
    return found.value

task = Task(
    losses=losses,
    batches=lambda epoch, start, rank, world: (b for i, b in zip(range(6 - start), parts.learn.train_batches(
        epoch=epoch, start=start, rank=rank, world=world, **common))),
    steps_per_epoch=6, evaluate=evaluate, chance=0.1,
)
# Plain descent: AdamW divides by the gradient's size, so that rounding could turn steps around.
settings = TrainSettings(epochs=1, batch=32, lr=0.05, optimizer="sgd", evaluate_every=1, checkpoint_seconds=0)
fit(supernet, settings, task=task, checkpoint=place / "checkpoint.pt", watch=Watch())
record = {"weights": supernet.state_dict(), "drawn": [to_json(arch) for arch in drawn], "seen": seen}
torch.save(record, place / f"{rank}-of-{world}.pt")
if world == 2:  # prioritized paths, whose board and meta network must be the same everywhere
    sys.path.insert(0, sys.argv[2])
    from test_prioritized import trained
    from vitesse.search.board import to_plain
    for rule in ("paper", "published"):
        paths, kept = trained(place / rule, rule=rule)
        record = {"board": str(to_plain(paths.board)), "meta": paths.rating.state_dict(), "weights": kept.state_dict()}
        torch.save(record, place / rule / f"{rank}.pt")
"""


def test_two_processes_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    command = [sys.executable, *launch, str(script), str(tmp_path / "two"), str(Path(__file__).parents[1] / "tasks")]
    child = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-3000:]
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "one")])
    runpy.run_path(str(script))
    alone = torch.load(tmp_path / "one" / "0-of-1.pt", weights_only=True)
    first, second = (torch.load(tmp_path / "two" / f"{rank}-of-2.pt", weights_only=True) for rank in (0, 1))
    assert len(alone["drawn"]) == 12 and len(set(alone["drawn"])) > 3
    assert first["drawn"] == second["drawn"] == alone["drawn"]
    # The whole search part, each image once, whoever looked at it; a logit's rounding may turn one image.
    assert first["seen"] == second["seen"] and first["seen"][0][1] == alone["seen"][0][1]
    assert abs(first["seen"][0][0] - alone["seen"][0][0]) <= 1
    for name, weight in alone["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name]), name
        torch.testing.assert_close(first["weights"][name], weight, rtol=1e-4, atol=1e-5)
    for rule in ("paper", "published"):
        one, other = (torch.load(tmp_path / "two" / rule / f"{rank}.pt", weights_only=True) for rank in (0, 1))
        assert one["board"] == other["board"] and "'taught': 1" in one["board"]
        assert torch.equal(one["meta"]["layer"]["weight"], other["meta"]["layer"]["weight"])
        assert all(torch.equal(weight, other["weights"][name]) for name, weight in one["weights"].items())


def test_one_process_alone() -> None:
    accelerator = processes()
    assert (accelerator.num_processes, accelerator.is_main_process) == (1, True)
    assert total([1.0, 2.5], accelerator) == [1.0, 2.5]
    module = torch.nn.Linear(2, 2).to(accelerator.device)
    module(torch.ones(1, 2, device=accelerator.device)).sum().backward()
    assert module.weight.grad is not None
    before = module.weight.grad.clone()
    average_gradients(module, accelerator)
    assert torch.equal(module.weight.grad, before)


def test_precision_is_of_one_training() -> None:
    accelerator = processes()
    x = torch.ones(2, 2, device=accelerator.device)
    with autocast("bf16", accelerator):
        assert (x @ x).dtype == torch.bfloat16
    with autocast("fp32", accelerator):
        assert (x @ x).dtype == torch.float32
    assert (x @ x).dtype == torch.float32
