"""A cyclic search in a run: what it leaves, and the search among what it believes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.shrink.conftest import BRIEF, Listener, brief, opened

from vitesse.arch import Budget, contains, cost, from_json, to_json
from vitesse.errors import UsageError, VitesseError
from vitesse.runs.files import read_json
from vitesse.search.evolving import EvolveSettings
from vitesse.search.likelihood import Likeliest
from vitesse.shrink.cyclic import BELIEFS, believed_in
from vitesse.shrink.run import search_supernet, train_supernet
from vitesse.shrink.searching import strategy_of
from vitesse.shrink.settings import SearchSettings, ShrinkSettings, SupernetSettings
from vitesse.tasks.cyclic.settings import CyclicSettings
from vitesse.zoo.nb201 import SMALL_KINDS, nb201_cell_space

SPACE = nb201_cell_space(SMALL_KINDS, width=8, image=8, channels=1)
LIMIT = 2_000  # three convolutions of six


def asked(place: Path) -> ShrinkSettings:
    (place / "space.json").write_text(to_json(SPACE))
    cyclic = CyclicSettings(cycles=3, embedding=(4, 6))
    train = replace(BRIEF, epochs=2, batch=128)
    return brief(
        budget=Budget(max_params=LIMIT),
        supernet=SupernetSettings(space=str(place / "space.json"), rule="cyclic", cyclic=cyclic, train=train),
        search=SearchSettings(strategy="cyclic", population=4, generations=2),
    )


def test_a_run_searches_among_what_its_supernet_believes(tmp_path: Path) -> None:
    settings = asked(tmp_path)
    with opened(tmp_path / "supernet", settings) as folder:
        told = train_supernet(settings, folder, voice=Listener().voice)
    assert told["cycles"] == 3 and 0 <= told["certainty"] < 1
    left = read_json(tmp_path / "supernet" / BELIEFS)
    assert left["candidates"] == {f"stages.0.blocks.0.0.edges.{e}": list(SMALL_KINDS) for e in range(6)}
    assert all(cost(from_json(cycle["arch"])).params <= LIMIT for cycle in left["beliefs"])
    with opened(tmp_path / "small", settings) as folder:
        search_supernet(settings, folder, source=tmp_path / "supernet", finishing=False, voice=Listener().voice)
    lines = (tmp_path / "small" / "candidates.jsonl").read_text().splitlines()
    believed = believed_in(tmp_path / "supernet" / BELIEFS)
    archs = [from_json(json.dumps(json.loads(line)["arch"])) for line in lines]
    assert {json.loads(line)["origin"] for line in lines} == {"likely"} and len(archs) == 8
    values = [believed.of(SPACE, arch) for arch in archs]
    assert values == sorted(values, reverse=True)
    winner = from_json((tmp_path / "small" / "arch.json").read_text())
    assert winner in archs and contains(SPACE, winner) and cost(winner).params <= LIMIT


def test_a_search_without_beliefs_and_damaged_ones_are_named(tmp_path: Path) -> None:
    settings = SearchSettings(strategy="cyclic")
    with pytest.raises(UsageError, match="does not exist"):
        strategy_of(settings, {}, source=tmp_path)
    (tmp_path / "supernet").mkdir()
    (tmp_path / BELIEFS).write_text('{"repeat": false, "beliefs": []}')
    with pytest.raises(VitesseError, match=r"beliefs\.json does not say"):
        strategy_of(settings, {}, source=tmp_path)
    (tmp_path / BELIEFS).write_text('{"repeat": false, "beliefs": [{"logits": {"stages.0.down": [0.5, 1]}}]}')
    strategy = strategy_of(settings, {}, source=tmp_path)
    assert isinstance(strategy, Likeliest) and strategy.likelihood.logits == {"stages.0.down": (0.5, 1.0)}


def test_a_cyclic_search_in_a_space_that_moves_is_refused() -> None:
    with pytest.raises(ValueError, match="Leave one out"):
        ShrinkSettings(evolve=EvolveSettings(space=True), search=SearchSettings(strategy="cyclic"))
