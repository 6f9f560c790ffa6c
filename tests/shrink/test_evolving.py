"""A space that evolves in a run that takes seconds: few steps, and networks that have hardly learned anything."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.shrink.conftest import BRIEF, Killed, Listener, brief, opened
from tests.shrink.test_run import assert_same_bits

from vitesse.arch import MLP, Attention, Backbone, Block, Budget, Choice, Head, PatchEmbed, Stage, from_json, to_json
from vitesse.errors import UsageError, VitesseError
from vitesse.report import write_report
from vitesse.saved import FILE as WEIGHTS
from vitesse.search.evolving import EvolveSettings
from vitesse.shrink.evolving import HISTORY
from vitesse.shrink.run import search_space
from vitesse.shrink.settings import ShrinkSettings, SupernetSettings
from vitesse.shrink.supernet import load_supernet, trained_space

SPACE = Backbone(
    stem=PatchEmbed(image=(8, 8), patch=(4, 4), channels=1),
    stages=(
        Stage(
            dim=Choice(12, 16, 20),
            depth=Choice(2, 3),
            block=Block(Attention(heads=Choice(1, 2), head_dim=8), MLP(ratio=Choice(1.0, 2.0, 3.0, 4.0))),
        ),
    ),
    head=Head(classes=10, pool="mean"),
)
LEARNING = replace(
    BRIEF, epochs=4, batch=64, lr=1e-2, warmup=0.0, ema=0.0, drop_path=0.0, evaluate_every=100, checkpoint_seconds=1
)
EVOLVE = EvolveSettings(
    space=True, moves=1, train=0.5, samples=32, most_samples=32, least_cost=0.2, confidence=0.5, threshold=1e-4
)


def asked(tmp: Path, **changes: Any) -> ShrinkSettings:
    file = tmp / "space.json"
    file.write_text(to_json(SPACE))
    return brief(
        budget=Budget(max_params=25_000),
        supernet=SupernetSettings(space=str(file), train=LEARNING, rule="single"),
        evolve=EVOLVE,
        **changes,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ShrinkSettings]:
    tmp = tmp_path_factory.mktemp("evolving")
    settings = asked(tmp)
    with opened(tmp / "run", settings) as folder:
        search_space(settings, folder, voice=Listener().voice)
    return tmp / "run", settings


def test_the_space_moves_and_its_supernet_is_left_for_the_search(whole: tuple[Path, ShrinkSettings]) -> None:
    path, _ = whole
    first, second = json.loads((path / HISTORY).read_text())["spaces"]
    assert from_json(first["space"]) == SPACE
    assert first["following"] == second["space"] != first["space"]
    assert trained_space(path) == from_json(second["space"])
    assert (first["supernet_epochs"], second["supernet_epochs"]) == (4, 6)
    learned = load_supernet(path / "supernet" / WEIGHTS, trained_space(path))
    weights = load_supernet(path / "spaces/1" / WEIGHTS, trained_space(path)).network.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in learned.network.state_dict().items())


def test_killed_again_and_again_it_ends_in_the_same_bits(whole: tuple[Path, ShrinkSettings], tmp_path: Path) -> None:
    path, settings = whole
    for moment in (("space-1-supernet", 1), ("supernet", 0)):
        with pytest.raises(Killed), opened(tmp_path, settings) as folder:
            search_space(settings, folder, voice=Listener(die=moment).voice)
    with opened(tmp_path, settings) as folder:
        search_space(settings, folder, voice=Listener().voice)
    assert (tmp_path / HISTORY).read_bytes() == (path / HISTORY).read_bytes()
    assert_same_bits(tmp_path / "supernet" / WEIGHTS, path / "supernet" / WEIGHTS)


def test_the_report_gives_guidelines(whole: tuple[Path, ShrinkSettings]) -> None:
    page = write_report(whole[0]).read_text(encoding="utf-8")
    assert "Guidelines" in page and "Width of stage 1" in page and "space-intervals-figure" in page


def test_a_supernet_that_has_learned_nothing_moves_no_space(tmp_path: Path) -> None:
    settings = asked(tmp_path)
    lost = replace(settings.supernet, train=replace(LEARNING, epochs=1, lr=1e-7, start_lr=1e-7, min_lr=1e-7))
    settings = replace(settings, supernet=lost)
    with opened(tmp_path / "run", settings) as folder, pytest.raises(VitesseError, match="have learned something"):
        search_space(settings, folder, voice=Listener().voice)


def test_a_space_without_a_budget_is_refused_at_once(tmp_path: Path) -> None:
    settings = replace(asked(tmp_path), budget=Budget())
    listener = Listener()
    with opened(tmp_path / "run", settings) as folder, pytest.raises(UsageError, match="without one more is always"):
        search_space(settings, folder, voice=listener.voice)
    assert not listener.stages
