"""A search for cells in a run: what it leaves, and the network that is made of what it found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.shrink.conftest import BRIEF, Listener, brief, opened

from vitesse.arch import Budget, CellNetwork, CellSpace, CellStem, Head, cost, from_json, to_json
from vitesse.data.preprocess import Preprocess
from vitesse.errors import UsageError, VitesseError
from vitesse.report import write_report
from vitesse.runs.files import read_json
from vitesse.saved import load_network
from vitesse.shrink import run
from vitesse.shrink.cells import found_in, require_layout, space_of_cells
from vitesse.shrink.cyclic import BELIEFS
from vitesse.shrink.job import Job
from vitesse.shrink.settings import SearchSettings, ShrinkSettings, SupernetSettings
from vitesse.tasks.cyclic.settings import CyclicSettings
from vitesse.tasks.settings import DistillSettings

SPACE = CellSpace(
    stem=CellStem(dim=4), head=Head(classes=2, pool="mean", norm=None, norm_first=False),
    channels=2, depths=(1, 1), nodes=2, kept=1,
)  # fmt: skip
LIMIT = 5_000


def asked(place: Path) -> ShrinkSettings:
    (place / "space.json").write_text(to_json(SPACE))
    train = replace(BRIEF, epochs=1, batch=256, drop_path=0.0)
    return brief(
        budget=Budget(max_params=LIMIT),
        supernet=SupernetSettings(
            space=str(place / "space.json"), cyclic=CyclicSettings(cycles=2, embedding=(4, 6)), train=train
        ),
        search=SearchSettings(strategy="cyclic"),
        finish=train,
        distill=DistillSettings(auxiliary=0.4),
    )


def test_a_run_ends_in_a_network_of_the_cells_that_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What comes after the finish, which takes longest, is as for any network of cells.
    monkeypatch.setattr(run, "conclude", lambda job, *, arch, teacher, search: search)
    settings = asked(tmp_path)
    with opened(tmp_path / "run", settings) as folder:
        told = run.shrink(settings, folder, voice=Listener().voice)
    found = found_in(tmp_path / "run" / BELIEFS)
    arch = from_json((tmp_path / "run/arch.json").read_text())
    assert isinstance(arch, CellNetwork) and arch.affine
    assert tuple(stage.genotype for stage in arch.stages) == found
    assert cost(arch).params == told["params"] <= LIMIT and told["channels"] == arch.stages[0].channels
    assert load_network(tmp_path / "run/model.safetensors").arch == arch
    kept = load_network(tmp_path / "run/supernet/model.safetensors").arch
    assert isinstance(kept, CellNetwork) and tuple(stage.genotype for stage in kept.stages) == found
    assert 'class="cell"' in write_report(tmp_path / "run").read_text()
    assert read_json(tmp_path / "run" / BELIEFS)["candidates"]["reduce.3.2"] == list(SPACE.operations)
    with opened(tmp_path / "again", settings) as folder, pytest.raises(UsageError, match="give --finish"):
        run.search_supernet(settings, folder, source=tmp_path / "run", finishing=False, voice=Listener().voice)


def test_what_cannot_end_well_is_refused_at_once(tmp_path: Path) -> None:
    settings = asked(tmp_path)
    refused = {
        "strategy is 'evolution'": replace(settings, search=SearchSettings()),
        "params 1,... of 1,000": replace(settings, budget=Budget(max_params=1_000)),
        "none was given": replace(settings, budget=Budget()),
    }
    for number, (message, wrong) in enumerate(refused.items()):
        with opened(tmp_path / str(number), wrong) as folder, pytest.raises(UsageError, match=message):
            require_layout(Job(wrong, folder, voice=Listener().voice), SPACE)
    for number, (message, wrong) in enumerate(
        {
            "rule is 'sandwich'": replace(settings, search=SearchSettings()),
            "drop_path is 0.1": replace(settings, supernet=replace(settings.supernet, train=BRIEF)),
        }.items()
    ):
        with opened(tmp_path / f"supernet{number}", wrong) as folder, pytest.raises(UsageError, match=message):
            run.train_supernet(wrong, folder, voice=Listener().voice)
    (tmp_path / "beliefs.json").write_text('{"beliefs": []}')
    with pytest.raises(VitesseError, match="what cells were found"):
        found_in(tmp_path / "beliefs.json")


def test_the_space_is_made_for_images_and_budget() -> None:
    def made(side: int, params: int | None) -> CellSpace:
        seen = Preprocess(size=(side, side), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
        return space_of_cells(seen, classes=10, budget=Budget(max_params=params))

    assert (made(32, None).channels, made(32, None).found_depths, made(32, None).stem.stride) == (16, (7, 7, 6), 1)
    assert (made(224, 6_000_000).found_depths, made(224, 6_000_000).stem.stride) == ((5, 5, 4), 8)
    assert made(32, 3_900_000) == made(32, None)
    small = made(32, 60_000)
    assert (small.channels, small.stem.dim, small.depths, small.found_depths) == (4, 12, (3, 3, 2), (3, 3, 2))
