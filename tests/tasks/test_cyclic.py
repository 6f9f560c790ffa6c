from __future__ import annotations

import dataclasses
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, PartialState

from vitesse.arch import MLP, Attention, Backbone, Block, Choice, Head, PatchEmbed, Skip, Stage
from vitesse.data.part import Batch
from vitesse.errors import UsageError, VitesseError
from vitesse.search.candidate import Feasible
from vitesse.tasks.cyclic.blocks import PairOfBlocks
from vitesse.tasks.cyclic.loop import Beliefs, CyclicTask, certainty, learn
from vitesse.tasks.cyclic.settings import CyclicSettings, Plan
from vitesse.tasks.teaching import Teaching
from vitesse.train.loop import Watch
from vitesse.train.processes import processes
from vitesse.train.settings import TrainSettings
from vitesse.zoo.autoformer import autoformer_tiny_space
from vitesse.zoo.nb201 import SMALL_KINDS, nb201_cell_space, the_cell

CELL = nb201_cell_space(SMALL_KINDS, width=4, image=4, channels=1, classes=2)
# A tiny transformer whose blocks choose: attention, an MLP, or nothing.
TOKENS = Backbone(
    stem=PatchEmbed(image=(4, 4), patch=(2, 2), channels=1, tokens=()),
    stages=(
        Stage(
            dim=Choice(8, 12),
            depth=Choice(1, 2),
            block=Block(Choice(Skip(), MLP(ratio=Choice(1.0, 2.0)), Attention(heads=1, head_dim=4))),  # type: ignore[arg-type]
        ),
    ),
    head=Head(classes=2, pool="mean"),
)
SETTINGS = CyclicSettings(cycles=3, pretrain=0.2, embedding=(4, 6))
TRAIN = TrainSettings(epochs=3, batch=8, lr=0.01, evaluate_every=2, checkpoint_seconds=0, seed=5)
PER_EPOCH = 5


def batches(half: int, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
    """Images whose class shows in their first pixels."""
    for step in range(start, PER_EPOCH):
        rng = np.random.default_rng((half, epoch, step))
        labels = torch.from_numpy(rng.integers(0, 2, 8))
        images = torch.from_numpy(rng.normal(size=(8, 1, 4, 4))).float() + 2 * labels[:, None, None, None]
        own = slice(8 * rank // world, 8 * (rank + 1) // world)
        targets = torch.nn.functional.one_hot(labels, 2).float()
        yield Batch(images[own], targets[own], labels[own], torch.arange(8)[own])


def task(**changes: Any) -> CyclicTask:
    return CyclicTask(**{
        "batches": batches, "steps_per_epoch": PER_EPOCH, "evaluate": lambda supernet, arch: 0.5,
        "teaching": Teaching(), **changes,
    })  # fmt: skip


def searched(
    folder: Path,
    space: Backbone = CELL,
    *,
    cyclic: CyclicSettings = SETTINGS,
    train: TrainSettings = TRAIN,
    feasible: Feasible = lambda arch: True,
    **changes: Any,
) -> tuple[PairOfBlocks, Beliefs]:
    torch.manual_seed(0)
    pair = PairOfBlocks(space, cyclic, feasible=feasible)
    _, beliefs = learn(pair, train, task=task(**changes), checkpoint=folder / "pair.pt", watch=Watch())
    return pair, beliefs


def test_a_space_of_sizes_is_refused() -> None:
    with pytest.raises(UsageError, match="choices of this space are all sizes"):
        PairOfBlocks(autoformer_tiny_space(), SETTINGS)


def test_a_plan_is_pretraining_and_cycles_that_begin_with_a_warmup() -> None:
    plan = Plan(CyclicSettings(cycles=7, pretrain=0.1, warmup=0.25), 100)
    moments = [plan.moment(step) for step in range(100)]
    assert [one.phase for one in moments[:10]] == ["pretrain"] * 10
    begun = [step for step, one in enumerate(moments) if one.begins]
    assert begun == [plan.begin(cycle) for cycle in range(7)]
    assert [one.cycle for one in moments] == sorted(one.cycle for one in moments)
    for cycle in range(7):
        phases = [one.phase for one in moments if one.cycle == cycle]
        warm = phases.count("warmup")
        assert phases == ["warmup"] * warm + ["joint"] * (len(phases) - warm) and warm == len(phases) // 4
    assert Plan(CyclicSettings(cycles=50), 10).cycles == 10


def test_the_penalty_is_that_of_operations_without_weights_and_falls() -> None:
    """At the first cycle c = C0; the published sum runs over three stages, so that its 5 is 15 here."""
    pair = PairOfBlocks(CELL, SETTINGS)
    with torch.no_grad():
        for alpha in pair.alpha.values():
            alpha.copy_(torch.tensor([-0.5, 0.25, 7.0]))  # the convolution's is not penalized
    plan = Plan(dataclasses.replace(SETTINGS, penalty=15.0, penalty_until=0.5, cycles=8), 100)
    penalized = pair.penalized().detach().item()
    assert plan.penalty(0) * penalized == pytest.approx(15 * 6 * 0.75)
    assert [plan.penalty(cycle) for cycle in (1, 2, 4, 7)] == pytest.approx([11.25, 7.5, 0, 0])


def test_the_search_network_mixes_by_what_is_believed() -> None:
    """With all belief in one operation of each edge it is the evaluation network of that cell, weight for weight."""
    pair = PairOfBlocks(CELL, SETTINGS).eval()
    pair.search.load_state_dict(pair.evaluation.network.state_dict())
    with torch.no_grad():
        for e, alpha in enumerate(pair.alpha.values()):
            alpha.copy_(50.0 * torch.eye(3)[e % 3])
    arch = next(pair.believed().likeliest(CELL, feasible=lambda arch: True))
    assert the_cell(arch).edges == SMALL_KINDS * 2
    images = torch.randn(3, 1, 4, 4)
    for mixed, alone in zip(pair.searching(images).maps, pair.evaluating(images, arch).maps, strict=True):
        torch.testing.assert_close(mixed, alone)
    torch.testing.assert_close(pair.searching(images).logits, pair.evaluation(images, arch))


@pytest.mark.parametrize("space", [CELL, TOKENS], ids=["cell", "tokens"])
def test_each_phase_moves_what_it_is_to_move(space: Backbone, tmp_path: Path) -> None:
    torch.manual_seed(0)
    pair = PairOfBlocks(space, dataclasses.replace(SETTINGS, explore=0.0))
    known: list[dict[str, torch.Tensor]] = []

    def recorded(half: int, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        for batch in batches(half, epoch, start, rank, world):
            if half == 0:
                known.append({name: one.detach().clone() for name, one in pair.named_parameters()})
            yield batch

    learn(pair, TRAIN, task=task(batches=recorded), checkpoint=tmp_path / "pair.pt", watch=Watch())
    plan = Plan(pair.settings, 15)
    for step in range(14):
        moved = {
            name.partition(".")[0] for name in known[0] if not torch.equal(known[step][name], known[step + 1][name])
        }
        wanted = {
            "pretrain": {"search"}, "warmup": {"evaluation"}, "joint": {"search", "evaluation", "alpha", "interactor"},
        }  # fmt: skip
        assert moved == wanted[plan.moment(step).phase], step


def test_weights_of_the_evaluation_network_outlast_a_change_of_architecture(tmp_path: Path) -> None:
    """What no believed network used stays as it began."""
    torch.manual_seed(0)
    before = {name: one.clone() for name, one in PairOfBlocks(CELL, SETTINGS).evaluation.network.named_parameters()}
    pair, _ = searched(tmp_path, cyclic=dataclasses.replace(SETTINGS, explore=0.0, cycles=1))
    arch = next(pair.believed().likeliest(CELL, feasible=lambda arch: True))
    for name, one in pair.evaluation.network.named_parameters():
        edge = name.split(".edges.")[-1].split(".")[0] if ".edges." in name else ""
        used = not edge or the_cell(arch).edges[int(edge)] == "nor_conv_3x3"
        assert used or torch.equal(one, before[name]), name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rate": "constant", "clip_over": "all", "reduction": "mean", "distance": "kl"},
        {
            "reset_optimizers": False,
            "explore": 0.5,
            "detach": True,
            "ensemble": "sum",
            "fixed_heads": True,
            "repeat": True,
            "distance": "cosine",
        },
    ],
    ids=["default", "published", "others"],
)
def test_a_search_that_was_killed_ends_in_the_same_bits(changes: dict[str, Any], tmp_path: Path) -> None:
    cyclic = dataclasses.replace(SETTINGS, **changes)
    train = dataclasses.replace(TRAIN, ema=0.9 if not changes else 0.0)
    whole, beliefs = searched(tmp_path, TOKENS if changes.get("repeat") else CELL, cyclic=cyclic, train=train)
    (tmp_path / "killed").mkdir()
    for last in (3, 7):  # at the end of pretraining and in the midst of a cycle
        steps = iter(range(last))

        def until_killed(*place: int) -> Iterator[Batch]:
            for batch in batches(*place):
                if place[0] == 0 and next(steps, None) is None:  # noqa: B023
                    raise KeyboardInterrupt
                yield batch

        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path / "killed", whole.evaluation.space, cyclic=cyclic, train=train, batches=until_killed)
    again, same = searched(tmp_path / "killed", whole.evaluation.space, cyclic=cyclic, train=train)
    assert beliefs == same and len(beliefs) == 3
    for name, one in whole.state_dict().items():
        assert torch.equal(one, again.state_dict()[name]), name


def test_what_is_believed_is_within_the_budget(tmp_path: Path) -> None:
    def feasible(arch: Backbone) -> bool:
        return "nor_conv_3x3" not in the_cell(arch).edges

    seen: list[Backbone] = []
    searched(tmp_path, feasible=feasible, evaluate=lambda supernet, arch: float(seen.append(arch) or 0))
    assert seen and all(map(feasible, seen))


def test_another_searchs_checkpoint_and_settings_that_do_nothing_are_refused(tmp_path: Path) -> None:
    searched(tmp_path)
    with pytest.raises(VitesseError, match="another search"):
        searched(tmp_path, TOKENS)
    with pytest.raises(UsageError, match="accumulate=2"):
        searched(tmp_path, train=dataclasses.replace(TRAIN, accumulate=2))


def test_certainty_is_nothing_where_all_is_even_and_one_where_all_is_decided() -> None:
    assert certainty({"a": (1.0, 1.0)}) == pytest.approx(0)
    assert certainty({"a": (100.0, 1.0), "b": (0.0, 0.0, 100.0)}) == pytest.approx(1)


def one_of_two(rank: int, port: int, place: Path) -> None:
    """A process that searches with another one, and writes down what it believes."""
    known = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in known.items()}
    for state in (AcceleratorState, PartialState):  # what was forked is that of a process alone
        state._reset_state()
    pair, beliefs = searched(place, TOKENS)
    weights = {name: one.detach() for name, one in pair.named_parameters()}
    torch.save({"beliefs": beliefs, "weights": weights, "world": processes().num_processes}, place / f"{rank}.pt")


def two_at_once(place: Path) -> None:
    """Two processes that search together, forked: what is imported already need not be imported twice more."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=one_of_two, args=(rank, port, place)) for rank in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0]


def test_two_processes_believe_the_same(tmp_path: Path) -> None:
    """In a process of its own: one in which gradients were computed is not to be forked."""
    done = subprocess.run([sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert one["world"] == two["world"] == 2 and one["beliefs"] == two["beliefs"]
    assert all(torch.equal(one["weights"][name], two["weights"][name]) for name in one["weights"])


if __name__ == "__main__":
    two_at_once(Path(sys.argv[1]))
