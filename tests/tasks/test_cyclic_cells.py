"""The cyclic search where cells are found: the same loop, another pair."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitesse.arch import CellSpace, CellStem, Head, from_json
from vitesse.data.part import Batch
from vitesse.tasks.cyclic.cells import PairOfCells
from vitesse.tasks.cyclic.loop import Beliefs, CyclicTask, learn
from vitesse.tasks.cyclic.settings import CyclicSettings, Plan
from vitesse.tasks.teaching import Teaching
from vitesse.train.loop import Watch
from vitesse.train.settings import TrainSettings
from vitesse.zoo.cdarts import cell_space

SPACE = CellSpace(
    stem=CellStem(dim=4, image=(4, 4), channels=1),
    head=Head(classes=2, pool="mean", norm=None, norm_first=False),
    channels=2,
    depths=(1, 1),
    found_depths=(2, 1),
    nodes=1,
    kept=1,
)
SETTINGS = CyclicSettings(cycles=3, pretrain=0.2, embedding=(4, 6), alpha_lr=0.1)
TRAIN = TrainSettings(epochs=2, batch=4, lr=0.01, evaluate_every=2, checkpoint_seconds=1e9, seed=5)
PER_EPOCH = 5


def batches(half: int, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
    """Images whose class shows in their first pixels."""
    for step in range(start, PER_EPOCH):
        rng = np.random.default_rng((half, epoch, step))
        labels = torch.from_numpy(rng.integers(0, 2, 4))
        images = torch.from_numpy(rng.normal(size=(4, 1, 4, 4))).float() + 2 * labels[:, None, None, None]
        yield Batch(images, torch.nn.functional.one_hot(labels, 2).float(), labels, torch.arange(4))


def searched(
    folder: Path, *, cyclic: CyclicSettings = SETTINGS, train: TrainSettings = TRAIN, batches: Any = batches
) -> tuple[PairOfCells, Beliefs]:
    torch.manual_seed(0)
    pair = PairOfCells(SPACE, cyclic)
    task = CyclicTask(batches=batches, steps_per_epoch=PER_EPOCH, evaluate=lambda pool, arch: 0.5, teaching=Teaching())
    _, beliefs = learn(pair, train, task=task, checkpoint=folder / "pair.pt", watch=Watch())
    return pair, beliefs


def test_each_phase_moves_what_it_is_to_move(tmp_path: Path) -> None:
    known: list[dict[str, torch.Tensor]] = []
    made: list[PairOfCells] = []

    class Noted(PairOfCells):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    def recorded(half: int, *place: int) -> Iterator[Batch]:
        for batch in batches(half, *place):
            if half == 0:
                known.append({name: one.detach().clone() for name, one in made[0].named_parameters()})
            yield batch

    torch.manual_seed(0)
    pair = Noted(SPACE, dataclasses.replace(SETTINGS, explore=0.0))
    task = CyclicTask(batches=recorded, steps_per_epoch=PER_EPOCH, evaluate=lambda pool, arch: 0.5, teaching=Teaching())
    learn(pair, TRAIN, task=task, checkpoint=tmp_path / "pair.pt", watch=Watch())
    plan = Plan(pair.settings, 10)
    for step in range(9):
        moved = {
            name.partition(".")[0] for name in known[0] if not torch.equal(known[step][name], known[step + 1][name])
        }
        wanted = {
            "pretrain": {"search"}, "warmup": {"evaluation"}, "joint": {"search", "evaluation", "alpha", "interactor"},
        }  # fmt: skip
        assert moved == wanted[plan.moment(step).phase], step


def test_the_pools_weights_outlast_a_change_of_cells(tmp_path: Path) -> None:
    """What no believed network used stays as it began, that of an edge beside an identity is kept like any other."""
    torch.manual_seed(0)
    before = {name: one.clone() for name, one in PairOfCells(SPACE, SETTINGS).evaluation.named_parameters()}
    pair, beliefs = searched(tmp_path, cyclic=dataclasses.replace(SETTINGS, explore=0.0, cycles=1))
    torch.manual_seed(0)
    first = PairOfCells(SPACE, SETTINGS).found()  # alpha does not move before the only cycle begins
    used = {
        f"{place.name}.nodes.{n}.{edge.source}.operations.{SPACE.operations.index(edge.operation)}."
        for place, cell in zip(first.places, first.cells, strict=True)
        for n, edges in enumerate(cell.nodes)
        for edge in edges
    }
    for name, one in pair.evaluation.named_parameters():
        if ".operations." in name and not any(name.startswith(lead) for lead in used):
            assert torch.equal(one, before[name]), name
    assert len(beliefs) == 1 and from_json(beliefs[0]["arch"]) == pair.found()


@pytest.mark.parametrize(
    "changes",
    [{}, {"explore": 0.0, "reset_optimizers": True, "rate": "constant", "clip_over": "all", "fixed_heads": True}],
    ids=["default", "published"],
)
def test_a_search_that_was_killed_ends_in_the_same_bits(changes: dict[str, Any], tmp_path: Path) -> None:
    cyclic = dataclasses.replace(SETTINGS, **changes)
    train = dataclasses.replace(TRAIN, ema=0.0 if changes else 0.9)
    whole, beliefs = searched(tmp_path, cyclic=cyclic, train=train)
    train = dataclasses.replace(train, checkpoint_seconds=0)
    (tmp_path / "killed").mkdir()
    steps = iter(range(6))  # in the midst of a cycle

    def until_killed(*place: int) -> Iterator[Batch]:
        for batch in batches(*place):
            if place[0] == 0 and next(steps, None) is None:
                raise KeyboardInterrupt
            yield batch

    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path / "killed", cyclic=cyclic, train=train, batches=until_killed)
    again, same = searched(tmp_path / "killed", cyclic=cyclic, train=dataclasses.replace(train, checkpoint_seconds=1e9))
    assert beliefs == same and len(beliefs) == 3
    for name, one in whole.state_dict().items():
        assert torch.equal(one, again.state_dict()[name]), name


def test_both_networks_are_heard_by_the_published_heads() -> None:
    """Taps behind all stages but the last, pooled by 6, or by 5 where the map has 7 places a side."""
    thin: dict[str, Any] = {"depths": (1, 1, 1), "found_depths": (1, 1, 1), "nodes": 1, "kept": 1}
    small, large = (
        PairOfCells(dataclasses.replace(space, **thin), SETTINGS)
        for space in (
            cell_space("cifar", classes=10, image=(32, 32)),
            cell_space("imagenet", classes=10, image=(224, 224)),
        )
    )
    assert [head.window for head in small.interactor.heads] == [6, 6]
    assert [head.window for head in large.interactor.heads] == [6, 5]
    pair = PairOfCells(SPACE, dataclasses.replace(SETTINGS, ensemble="sum"))
    images = torch.randn(3, 1, 4, 4)
    for seen in (pair.searching(images), pair.evaluating(images, pair.found())):
        assert [tuple(one.shape) for one in seen.maps] == [(3, 4, 2, 2)] * 2
        assert pair.answers(seen).shape == (3, 2)
    assert list(pair.candidates()) == list(pair.logits()) and len(pair.candidates()["normal.2.0"]) == 8
