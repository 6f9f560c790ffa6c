"""`vitesse multiplex`, and spaces whose blocks may share weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.shrink.conftest import Killed, Listener, brief, opened

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Choice,
    ContinuousPosition,
    Head,
    HeadMix,
    LocalMix,
    PatchEmbed,
    PatchMerging,
    ShiftedWindowAttention,
    Stage,
    contains,
    from_json,
    largest,
)
from vitesse.errors import UsageError
from vitesse.nets import build
from vitesse.saved import load_network, save_network
from vitesse.search.candidate import Candidate
from vitesse.shrink.design import begins, space_around
from vitesse.shrink.multiplexing import multiplexed
from vitesse.shrink.run import multiplex, shrink
from vitesse.shrink.searching import sharing
from vitesse.shrink.settings import MultiplexSettings, SupernetSettings, TeacherSettings
from vitesse.shrink.supernet import trained_space
from vitesse.supernet import Supernet

BLOCK = Block(Attention(heads=2, head_dim=8), MLP(ratio=2.0))
ORIGINAL = Backbone(
    stem=PatchEmbed(image=8, patch=2, channels=1),
    stages=(Stage(dim=16, depth=4, block=BLOCK),),
    head=Head(classes=10, pool="mean"),
)
CLASSES = tuple(str(digit) for digit in range(10))


def staged(**changes: Any) -> Backbone:
    return replace(ORIGINAL, stages=(replace(ORIGINAL.stages[0], **changes),))


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A file of weights that know the digits' classes (barely trained ones do for what is tested)."""
    torch.manual_seed(0)
    network = build(ORIGINAL)
    network.class_names = CLASSES
    save_network(network, tmp_path / "original.safetensors")
    return tmp_path / "original.safetensors"


@pytest.mark.parametrize(("mix", "share"), [("both", 2), ("heads", "all"), ("none", 4), ("local", 2)])
def test_groups_and_what_tells_blocks_apart(mix: Any, share: Any) -> None:
    arch = multiplexed(ORIGINAL, MultiplexSettings(share=share, mix=mix))
    stage = arch.stages[0]
    attention, *between, mlp = stage.blocks[0].branches
    assert stage.group == (4 if share == "all" else share)
    assert (attention.mix == HeadMix()) == (mix in ("heads", "both"))
    assert mlp == BLOCK.branches[1]
    # The kernel is no wider than the map of 4 x 4 patches.
    assert between == ([LocalMix(kernel=3)] if mix in ("local", "both") else [])


def test_groups_that_cannot_be_are_wrong_usage() -> None:
    with pytest.raises(UsageError, match="must divide the depth"):
        multiplexed(ORIGINAL, MultiplexSettings(share=3))
    unlike = staged(block=(BLOCK, BLOCK, BLOCK, Block(MLP(ratio=1.0))))
    with pytest.raises(UsageError, match="must be equal"):
        multiplexed(unlike, MultiplexSettings(share=2))
    for wrong in ({"share": 1}, {"kernel": 4}, {"images": 0}, {"ridge": 0.0}):
        with pytest.raises(ValueError, match="must be|at least"):
            MultiplexSettings(**wrong)


def test_a_run_ends_like_every_other(original: Path, tmp_path: Path) -> None:
    settings = brief(teacher=TeacherSettings(model=str(original)), multiplex=MultiplexSettings(mix="both", images=100))
    dying, going_on = Listener(die=("finish", 0)), Listener()
    with opened(tmp_path / "run", settings) as folder, pytest.raises(Killed):
        multiplex(settings, folder, voice=dying.voice)
    with opened(tmp_path / "run", settings) as folder:
        result = multiplex(settings, folder, voice=going_on.voice)
    assert "multiplex" in dying.stages and "multiplex" not in going_on.stages  # the start was kept
    network = load_network(tmp_path / "run")
    assert network.arch.stages[0].share == 2 and sum(p.numel() for p in network.parameters()) == result["params"]
    assert result["params"] < result["teacher_params"] * 0.7
    found = result["multiplex"]
    assert set(found["ways"]) == {"first", "mean", "fit"} and found["share"] == 2
    assert found["ways"][found["init"]]["accuracy"] == max(way["accuracy"] for way in found["ways"].values())
    first = found["ways"]["first"]["blocks"]
    assert [row["group"] for row in first] == [0, 0, 1, 1]
    assert (
        first[0]["relative_l2"] < 1e-5 < first[1]["relative_l2"]
    )  # only the first block of the first group is as it was
    assert json.loads((tmp_path / "run" / "multiplex.json").read_text()) == json.loads(json.dumps(found))
    assert sum(line.startswith("Begun by") for line in dying.said) == 3
    assert (tmp_path / "run" / "model.onnx").stat().st_size > 0


def test_a_fit_drifts_less_at_first(original: Path, tmp_path: Path) -> None:
    """After the first block its inputs are the original's, so that least squares must beat the mean."""
    settings = brief(teacher=TeacherSettings(model=str(original)), multiplex=MultiplexSettings(mix="none", images=256))
    with opened(tmp_path / "run", settings) as folder:
        from vitesse.shrink.job import Job
        from vitesse.shrink.multiplexing import _Start

        job = Job(settings, folder, voice=Listener().voice)
        start = _Start(job, load_network(original), multiplexed(ORIGINAL, settings.multiplex))
        after = {way: start.report(start.network(way))["blocks"][0]["relative_l2"] for way in ("mean", "fit")}
    assert after["fit"] < after["mean"]


@pytest.mark.parametrize("post_norm", [False, True])
def test_swins_can_share_in_every_stage(post_norm: bool, tmp_path: Path) -> None:
    """In every way: what is shared is odd and even blocks of a stage, and the way into a stage keeps its name."""
    kind: dict[str, Any] = {"cosine": True, "bias": "qv", "position": ContinuousPosition(hidden=4)} if post_norm else {}
    attention = ShiftedWindowAttention(heads=2, head_dim=4, window=2, post_norm=post_norm, **kind)
    block = Block(attention, MLP(ratio=1.0, post_norm=post_norm))
    stages = tuple(Stage(dim=8, depth=2, block=block, down=down) for down in (None, PatchMerging(post_norm=post_norm)))
    stem = PatchEmbed(image=8, patch=1, channels=1, tokens=(), position="none")
    network = build(replace(ORIGINAL, stem=stem, stages=stages))
    settings = brief(multiplex=MultiplexSettings(mix="both", kernel=3, images=32))
    with opened(tmp_path / "run", settings) as folder:
        from vitesse.shrink.job import Job
        from vitesse.shrink.multiplexing import _Start

        arch = multiplexed(network.arch, settings.multiplex)
        start = _Start(Job(settings, folder, voice=Listener().voice), network, arch)
        for way in ("first", "mean", "fit"):
            made = start.network(way)
            assert made.arch == arch and [stage.group for stage in made.arch.stages] == [2, 2]
            assert torch.equal(made.stages[1].down.reduction.weight, network.stages[1].down.reduction.weight)  # type: ignore[union-attr]
            blocks = start.report(made)["blocks"]
            assert [row["group"] for row in blocks] == [0, 0, 1, 1]  # over the stages, block by block


def test_only_a_plain_vit_can_share(tmp_path: Path) -> None:
    settings = brief()
    with opened(tmp_path / "run", settings) as folder, pytest.raises(UsageError, match="must be a plain ViT"):
        multiplex(settings, folder, voice=Listener().voice)


def test_a_space_lets_blocks_share_where_that_divides_a_depth() -> None:
    stage = space_around(ORIGINAL, multiplex="auto").stages[0]
    assert (stage.depth, stage.share) == (Choice(2, 3, 4), Choice(1, 2, 3, 4))
    space = replace(ORIGINAL, stages=(stage,))
    assert largest(space).stages[0].share == 1 and contains(space, ORIGINAL)
    assert begins(ORIGINAL, Supernet(space).host)
    assert space_around(ORIGINAL, multiplex=2).stages[0].depth == Choice(2, 4)
    assert space_around(ORIGINAL, multiplex=3).stages[0].depth == 3
    assert space_around(staged(share=2)).stages[0].depth == Choice(2, 4)
    assert space_around(staged(share=2), multiplex="auto").stages[0].share == Choice(2, 4)
    unlike = staged(block=(BLOCK, BLOCK, Block(MLP()), Block(MLP())))
    assert space_around(unlike, multiplex="auto").stages[0].share == Choice(1, 2)
    for wrong, number in ((ORIGINAL, 5), (unlike, 3)):
        with pytest.raises(UsageError, match="No space"):
            space_around(wrong, multiplex=number)


def test_a_host_that_is_another_network_does_not_begin_as_the_teacher() -> None:
    assert not begins(ORIGINAL, staged(depth=5)) and not begins(ORIGINAL, staged(dim=8))
    assert not begins(ORIGINAL, staged(block=Block(BLOCK.branches[0], MLP(ratio=2.0, act="relu"))))
    assert begins(ORIGINAL, staged(depth=3)) and begins(ORIGINAL, staged(share=2))


@pytest.mark.parametrize("wrong", [{"multiplex": 1}, {"multiplex": "auto", "space": "autoformer_tiny"}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="multiplex"):
        SupernetSettings(**wrong)


def test_a_search_says_whether_sharing_helped(original: Path, tmp_path: Path) -> None:
    before = brief()
    settings = brief(
        teacher=TeacherSettings(model=str(original)),
        supernet=replace(before.supernet, multiplex="auto"),
        search=replace(before.search, population=8, generations=2),
    )
    with opened(tmp_path / "run", settings) as folder, pytest.raises(Killed):
        shrink(settings, folder, voice=Listener(die=("finish", 0)).voice)
    assert trained_space(tmp_path / "run") == space_around(ORIGINAL, multiplex="auto")
    assert folder.outputs("supernet")["elastic"]
    winner = from_json((tmp_path / "run" / "arch.json").read_text())
    assert folder.outputs("search")["sharing"]["share"] == [winner.stages[0].share]


def test_the_best_of_each_kind() -> None:
    space = space_around(ORIGINAL, multiplex="auto")

    def candidate(share: int, score: float, params: float) -> Candidate:
        costs = {"params": params, "macs": 1.0}
        return Candidate(arch=staged(share=share), score=score, costs=costs, origin="random", generation=0)

    history = [candidate(1, 0.8, 50), candidate(2, 0.9, 40), candidate(4, 0.7, 30), candidate(1, 0.95, 100)]
    found = sharing(space, history, history[1], limits={"params": 60})["sharing"]
    assert found["share"] == [2]
    assert found["shared"] == {"score": 0.9, "params": 40, "candidates": 2}
    assert found["unshared"] == {"score": 0.8, "params": 50, "candidates": 1}
    assert sharing(space, history[:1], history[0], limits={})["sharing"]["shared"] is None
    assert sharing(space_around(ORIGINAL), history, history[0], limits={}) == {}
