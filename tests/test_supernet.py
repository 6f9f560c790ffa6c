"""The supernet's own habits: modes, memory, refusals, randomness."""

from __future__ import annotations

import copy
import dataclasses
import random

import pytest
import torch
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from vitesse.arch import MLP, Attention, Backbone, Block, Choice, Head, PatchEmbed, Stage, largest, sample, smallest
from vitesse.data.preprocess import Preprocess
from vitesse.errors import VitesseError
from vitesse.nets import build
from vitesse.supernet import Supernet, inherit

SPACE = Backbone(
    stem=PatchEmbed(image=(16, 16), patch=(8, 8)),
    stages=(
        Stage(
            dim=Choice(8, 16),
            depth=Choice(2, 4),
            block=Block(Attention(heads=Choice(1, 2), head_dim=4), MLP(ratio=Choice(1.0, 2.0))),
        ),
    ),
    head=Head(classes=3),
)
IMAGES = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def made(drop_path: float = 0.0) -> Supernet:
    torch.manual_seed(0)
    supernet = Supernet(SPACE, drop_path=drop_path)
    for parameter in supernet.parameters():
        nn.init.normal_(parameter, std=0.3)
    return supernet


def call(supernet: Supernet, arch: Backbone, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    logits: Tensor = supernet(IMAGES, arch)
    return logits


def test_modes_reach_every_subnet() -> None:
    """Stochastic depth is off in evaluation, also in subnets that were made in training, and on again after."""
    supernet = made(drop_path=0.9)
    early, late = sample(SPACE, random.Random(1)), sample(SPACE, random.Random(2))
    assert early != late
    assert not torch.equal(call(supernet, early, 0), call(supernet, early, 1))
    supernet.eval()
    for arch in (early, late):  # one made in training, one in evaluation
        assert torch.equal(call(supernet, arch, 0), call(supernet, arch, 1))
        torch.testing.assert_close(call(supernet, arch), inherit(supernet.network, arch)(IMAGES))
    supernet.train()
    for arch in (early, late):
        assert not torch.equal(call(supernet, arch, 0), call(supernet, arch, 1))


def test_blocks_keep_the_rate_of_their_place() -> None:
    supernet = made(drop_path=0.3)
    plain, _ = supernet._skeleton(smallest(SPACE))
    rates = [branch.drop_path.drop_prob for block in plain.stages[0].blocks for branch in block]  # type: ignore[attr-defined]
    assert rates == pytest.approx([0.0, 0.0, 0.1, 0.1])  # of four places: 0, 0.1, 0.2, 0.3


def test_making_a_subnet_draws_no_random_number() -> None:
    """Or else a run that is resumed, with nothing made yet, would go another way than one that was not killed."""
    supernet = made(drop_path=0.5)
    arch = sample(SPACE, random.Random(1))
    torch.manual_seed(4)
    fresh = supernet(IMAGES, arch)
    torch.manual_seed(4)
    assert torch.equal(supernet(IMAGES, arch), fresh)


def test_it_holds_no_subnet() -> None:
    supernet = made().eval()
    archs = [sample(SPACE, random.Random(seed)) for seed in range(8)]
    alone = [call(made().eval(), arch) for arch in archs]
    for order in (range(8), reversed(range(8))):
        for place in order:
            assert torch.equal(call(supernet, archs[place]), alone[place])
    assert set(supernet.state_dict()) == {f"network.{name}" for name in build(largest(SPACE)).state_dict()}


def test_more_subnets_than_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitesse.supernet.KEPT", 16)
    supernet = made().eval()
    archs = list({sample(SPACE, random.Random(seed)) for seed in range(60)})
    assert len(archs) > 16
    before = call(supernet, archs[0])
    for arch in archs:
        supernet(IMAGES[:1], arch)
    assert len(supernet._skeletons) == 16 and archs[0] not in supernet._skeletons
    assert torch.equal(call(supernet, archs[0]), before)


@pytest.mark.parametrize("field", ["dim", "depth"])
def test_what_it_does_not_hold_is_refused(field: str) -> None:
    stage = dataclasses.replace(largest(SPACE).stages[0], **{field: 5 if field == "depth" else 24})  # type: ignore[arg-type]
    with pytest.raises(VitesseError, match="can only shrink, but 16 was to become 24|lacks stages.0.blocks.4"):
        made()(IMAGES, dataclasses.replace(largest(SPACE), stages=(stage,)))


def test_a_copy_is_apart() -> None:
    supernet = made().eval()
    arch = sample(SPACE, random.Random(1))
    before = call(supernet, arch)
    twin = copy.deepcopy(supernet)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    assert not torch.equal(call(twin, arch), before) and torch.equal(call(supernet, arch), before)


def test_decay_spares_what_the_plain_network_spares() -> None:
    supernet = made()
    groups = create_optimizer_v2(supernet, opt="adamw", lr=0.1, weight_decay=0.05).param_groups
    spared = {id(p) for group in groups if not group["weight_decay"] for p in group["params"]}
    plain = create_optimizer_v2(supernet.network, opt="adamw", lr=0.1, weight_decay=0.05).param_groups
    assert spared == {id(p) for group in plain if not group["weight_decay"] for p in group["params"]}
    assert id(supernet.network.stem.tokens) in spared


def test_an_inherited_network_is_ready_for_use() -> None:
    supernet = made().double()
    supernet.network.preprocess = Preprocess(size=(16, 16))
    supernet.network.class_names = ("a", "b", "c")
    small = inherit(supernet.network, smallest(SPACE))
    assert small.preprocess == Preprocess(size=(16, 16)) and small.class_names == ("a", "b", "c")
    assert {parameter.dtype for parameter in small.parameters()} == {torch.float64}
    assert small.training and not inherit(supernet.eval().network, smallest(SPACE)).training
    with torch.no_grad():  # its weights are its own
        before = supernet.network.stem.proj.weight.clone()
        small.stem.proj.weight.add_(1.0)
    assert torch.equal(supernet.network.stem.proj.weight, before)


def test_a_host_that_does_not_hold_its_space_is_refused() -> None:
    with pytest.raises(VitesseError, match="only what the bigger network has"):
        Supernet(SPACE, host=smallest(SPACE))
