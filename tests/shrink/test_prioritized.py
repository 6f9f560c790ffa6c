"""A run by prioritized paths: its board, what is held out, a kill, and the search among the board's paths."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.shrink.conftest import BRIEF, Killed, Listener, brief, opened
from torch import Tensor, nn

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Budget,
    Choice,
    Head,
    PatchEmbed,
    Stage,
    contains,
    cost,
    from_json,
    to_json,
)
from vitesse.data.load import DataSettings, load_parts
from vitesse.data.part import Batch
from vitesse.errors import UsageError, VitesseError
from vitesse.runs.files import read_json
from vitesse.search.prioritizing import PrioritizedSettings
from vitesse.shrink import prioritized
from vitesse.shrink.costing import Costing
from vitesse.shrink.job import Job
from vitesse.shrink.prioritized import BOARD, members_of
from vitesse.shrink.run import search_supernet, train_supernet
from vitesse.shrink.searching import run_search
from vitesse.shrink.settings import SearchSettings, ShrinkSettings, SupernetSettings
from vitesse.shrink.supernet import NETWORK, load_supernet, trained_space
from vitesse.tasks.prioritized import Prioritized

LIMIT = 9_000
SPACE = Backbone(
    stem=PatchEmbed(image=8, patch=4, channels=1),
    stages=(
        Stage(
            dim=Choice(16, 24),
            depth=Choice(1, 2),
            block=Block(Attention(heads=Choice(1, 2), head_dim=8), MLP(ratio=Choice(1.0, 2.0))),
        ),
    ),
    head=Head(pool="mean"),
)


def asked(place: Path, *, budget: int = LIMIT, **changes: Any) -> ShrinkSettings:
    """A supernet of the space, trained by prioritized paths for a few steps, with settings of its own."""
    (place / "space.json").write_text(to_json(SPACE))
    own = PrioritizedSettings(**{"size": 4, "begin": 0.2, "every": 3, "refresh": 4} | changes)
    train = replace(BRIEF, epochs=2, batch=64, drop_path=0.1)
    return brief(
        budget=Budget(max_params=budget),
        supernet=SupernetSettings(space=str(place / "space.json"), rule="prioritized", prioritized=own, train=train),
        search=SearchSettings(strategy="prioritized", population=4, generations=3),
    )


def trained(place: Path, settings: ShrinkSettings, listener: Listener | None = None) -> Path:
    with opened(place / "supernet", settings) as folder:
        train_supernet(settings, folder, voice=(listener or Listener()).voice)
    return place / "supernet"


class Whole:
    """A supernet that was trained without a break, and the images that were seen and held out."""

    def __init__(self, place: Path) -> None:
        self.place, self.settings = place, asked(place)
        self.seen: set[int] = set()
        self.held: set[tuple[int, ...]] = set()
        seen, held = self.seen, self.held

        class Watched(Prioritized):
            def __call__(self, supernet: nn.Module, batch: Batch, step: int) -> Iterator[Tensor]:
                assert self.held is not None
                seen.update(batch.indices.tolist())
                held.add(self.held.places)
                yield from super().__call__(supernet, batch, step)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(prioritized, "Prioritized", Watched)
            self.run = trained(place, self.settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(tmp_path_factory.mktemp("prioritized"))


def test_a_training_leaves_its_board(whole: Whole) -> None:
    board = read_json(whole.run / BOARD)
    members = members_of(whole.run / BOARD)
    assert len(members) == 4 and all(contains(trained_space(whole.run), arch) for arch in members)
    assert all(cost(arch).params <= LIMIT for arch in members)
    assert [entry["cost"] for entry in board["entries"]] == [cost(arch).macs for arch in members]
    assert sum(entry["taught"] for entry in board["entries"]) > 0
    accuracies = [entry["accuracy"] for entry in board["entries"]]
    assert accuracies == sorted(accuracies, reverse=True)


def test_killed_it_ends_in_the_same_bits_and_the_same_board(whole: Whole, tmp_path: Path) -> None:
    """At the twentieth step, where the board is under way."""
    settings = whole.settings
    with pytest.raises(Killed):
        trained(tmp_path, settings, Listener(die=("supernet", 2)))
    assert not (tmp_path / "supernet" / BOARD).exists()
    place = trained(tmp_path, settings)
    assert (place / BOARD).read_text() == (whole.run / BOARD).read_text()
    first, second = (load_file(one / "supernet/model.safetensors") for one in (place, whole.run))
    assert all(torch.equal(first[name], second[name]) for name in second)


def test_the_winner_is_the_board_s(whole: Whole, tmp_path: Path) -> None:
    space = trained_space(whole.run)
    supernet = load_supernet(whole.run / NETWORK, space)
    with opened(tmp_path, whole.settings) as folder:
        job = Job(whole.settings, folder, voice=Listener().voice)
        told = run_search(job, supernet, source=whole.run, costing=Costing(job, space), progress=lambda *word: None)
    lines = [json.loads(line) for line in (tmp_path / "candidates.jsonl").read_text().splitlines()]
    archs = [from_json(json.dumps(line["arch"])) for line in lines]
    assert {line["origin"] for line in lines} == {"board"} and set(archs) == set(members_of(whole.run / BOARD))
    assert from_json((tmp_path / "arch.json").read_text()) in archs
    assert (told["strategy"], told["candidates"]) == ("prioritized", 4)


def test_a_board_that_was_filled_within_other_limits_is_refused(whole: Whole, tmp_path: Path) -> None:
    least = min(cost(arch).params for arch in members_of(whole.run / BOARD))
    settings = replace(whole.settings, budget=Budget(max_params=least - 1))
    with opened(tmp_path, settings) as folder, pytest.raises(VitesseError, match="filled within other limits"):
        search_supernet(settings, folder, source=whole.run, finishing=False, voice=Listener().voice)


def test_without_a_board_there_is_nothing_to_choose_from(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Train the supernet by the rule prioritized"):
        members_of(tmp_path / BOARD)
    (tmp_path / BOARD).write_text('{"entries": [{"arch": {}}]}')
    with pytest.raises(VitesseError, match="holds no board"):
        members_of(tmp_path / BOARD)


def test_the_strategy_sets_the_rule() -> None:
    assert ShrinkSettings().supernet_rule == "sandwich"
    assert ShrinkSettings(search=SearchSettings(strategy="prioritized")).supernet_rule == "prioritized"
    assert ShrinkSettings(supernet=SupernetSettings(rule="prioritized")).supernet_rule == "prioritized"


def test_what_is_held_out_is_not_learned(whole: Whole) -> None:
    learn = load_parts(DataSettings()).learn
    (held,) = whole.held
    assert len(set(held)) == len(learn) // 8
    assert not whole.seen & set(held) and len(whole.seen) > 0.8 * len(learn)
    places = {place for entry in read_json(whole.run / BOARD)["entries"] for place in entry["images"]}
    assert places <= set(held)


def test_a_published_board_needs_images_enough(tmp_path: Path) -> None:
    settings = asked(tmp_path, rule="published", references=100)
    with pytest.raises(UsageError, match="keeps 100 images of a batch, but a process sees 64"):
        trained(tmp_path, settings)
