"""A choice between operations is a selection: the laws of the slice hold for it, alone and beside slices."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from tests.laws.conftest import randomized
from torch import Tensor

from vitesse.arch import (
    MLP,
    Backbone,
    Block,
    Choice,
    ConvMLP,
    ConvStem,
    Downsample,
    Head,
    MBConv,
    PatchEmbed,
    SandwichDownsample,
    Skip,
    Stage,
    buffers,
    contains,
    cost,
    cross,
    from_json,
    largest,
    mutate,
    parameters,
    picks,
    sample,
    size,
    smallest,
    tensors,
    to_json,
)
from vitesse.errors import VitesseError
from vitesse.nets import build
from vitesse.nets.statistics import recalibrate
from vitesse.saved import load_network, save_network
from vitesse.search.genome import decode, encode, genes
from vitesse.shrink.subnets import Subnets
from vitesse.supernet import Supernet, inherit
from vitesse.weights.reorder import importance, most_important_first, reorder
from vitesse.weights.selection import selected
from vitesse.weights.slice import slice_state


@pytest.fixture(scope="module")
def space() -> Backbone:
    """Operations of different kinds and of one kind, sizes open within them and around them, shared weights, a way in."""
    slot = Choice(Skip(), ConvMLP(ratio=Choice(1.0, 2.0)), MBConv(ratio=2.0, kernel=3), MBConv(ratio=3.0, kernel=5))
    block = Block(slot, MLP(ratio=Choice(1.0, 2.0)))
    return Backbone(
        stem=ConvStem(image=(28, 36), layers=2),
        stages=(
            Stage(dim=Choice(8, 12), depth=2, block=block, share=Choice(1, 2)),
            Stage(dim=Choice(12, 16), depth=Choice(1, 2), block=block, down=Choice(Downsample(), SandwichDownsample())),
        ),
        head=Head(classes=5, pool="mean", norm_first=False),
    )


@pytest.fixture
def supernet(space: Backbone) -> Supernet:
    return randomized(Supernet(space))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(3, 3, 28, 36, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(12))
def test_the_extracted_network_equals_the_selection(
    space: Backbone, supernet: Supernet, images: Tensor, seed: int
) -> None:
    arch = sample(space, random.Random(seed))
    extracted = inherit(supernet.network, arch)
    assert extracted.arch == arch
    torch.testing.assert_close(extracted(images), supernet(images, arch), rtol=0, atol=1e-10)
    extracted(images).square().sum().backward()
    supernet(images, arch).square().sum().backward()
    whole = {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad
        for name, weight in supernet.network.named_parameters()
    }
    selection = selected(supernet.host, arch)
    part = slice_state(whole, parameters(supernet.host), parameters(arch), selection=selection)
    for name, weight in extracted.named_parameters():
        torch.testing.assert_close(part[name], weight.grad, rtol=1e-9, atol=1e-9)
    inside = sum(float(gradient.abs().sum()) for gradient in part.values())
    assert sum(float(gradient.abs().sum()) for gradient in whole.values()) == pytest.approx(inside, rel=1e-9)


def test_each_candidate_has_weights_of_its_own(space: Backbone, supernet: Supernet, images: Tensor) -> None:
    """Moving what one network selected does not move another that selects nothing of it."""
    names = set(dict(supernet.network.named_parameters()))
    assert {f"stages.0.blocks.0.0.{i}.op.expand.conv.weight" for i in (1, 2, 3)} <= names
    assert set(tensors(supernet.host)) == set(supernet.network.state_dict())
    optimizer = torch.optim.AdamW(supernet.parameters(), lr=0.1, weight_decay=0.1)
    for seed in range(10):  # every weight has momentum then
        supernet(images, sample(space, random.Random(seed))).square().sum().backward()
    optimizer.step()
    before = {name: weight.detach().clone() for name, weight in supernet.network.named_parameters()}
    optimizer.zero_grad(set_to_none=True)
    arch = sample(space, random.Random(5))
    supernet(images, arch).square().sum().backward()
    optimizer.step()
    selection = selected(supernet.host, arch)
    used = {place.name for place in supernet._places(arch).values()}
    assert selection and not set(before) <= used
    for name, weight in supernet.network.named_parameters():
        assert (weight.grad is None) == (name not in used), name
        assert torch.equal(weight, before[name]) == (name not in used), name


def test_the_host_computes_nothing_by_itself(supernet: Supernet, images: Tensor) -> None:
    for call in (supernet, supernet.network):
        with pytest.raises(VitesseError, match=r"supernet\(x, arch\)"):
            call(images)


def test_sizes_stay_closed_in_networks_and_tables(space: Backbone) -> None:
    for function in (build, parameters, buffers):
        with pytest.raises(ValueError, match="choose an architecture first"):
            function(space)
    with pytest.raises(ValueError, match="choose an architecture first"):
        cost(Supernet(space).host)


def test_what_no_candidate_holds_is_refused(space: Backbone, supernet: Supernet) -> None:
    first = smallest(space).stages[0]
    for operation in (MBConv(ratio=6.0, kernel=5), MLP()):
        block = Block(operation, first.blocks[0].branches[1])
        arch = Backbone(
            stem=space.stem,
            stages=(Stage(dim=8, depth=2, block=block), smallest(space).stages[1]),
            head=space.head,
        )
        with pytest.raises(VitesseError, match="one of its candidates"):
            supernet(torch.zeros(1, 3, 28, 36).double(), arch)


def test_the_nearest_candidate_is_selected() -> None:
    """Not the first that could hold it as a slice: a kernel of 3 has weights of its own."""
    slot = Choice(MBConv(kernel=5, ratio=Choice(1.0, 2.0)), MBConv(kernel=3, ratio=Choice(1.0, 2.0)))
    space = Backbone(
        stem=ConvStem(image=8, layers=1),
        stages=(Stage(dim=8, depth=1, block=Block(slot)),),
        head=Head(classes=2, pool="mean", norm_first=False),
    )
    supernet = Supernet(space)
    for kernel, place in ((5, 0), (3, 1)):
        for ratio in (1.0, 2.0):
            arch = Backbone(
                stem=space.stem,
                stages=(Stage(dim=8, depth=1, block=Block(MBConv(kernel=kernel, ratio=ratio))),),
                head=space.head,
            )
            prefix = "stages.0.blocks.0.0"
            assert selected(supernet.host, arch) == {prefix: f"{prefix}.{place}"}


def test_candidates_that_are_alike_at_their_largest_are_one() -> None:
    slot = Choice(MBConv(ratio=2.0), MBConv(ratio=Choice(1.0, 2.0)))
    stage = Stage(dim=8, depth=1, block=Block(slot))
    space = Backbone(stem=ConvStem(image=8, layers=1), stages=(stage,), head=Head(classes=2, pool="mean"))
    assert Supernet(space).host.stages[0].blocks[0] == Block(MBConv(ratio=2.0))


def test_a_candidate_that_is_skipped_leaves_the_stream(space: Backbone, supernet: Supernet) -> None:
    arch = smallest(space)
    branch = inherit(supernet.network, arch).stages[0].blocks[0][0]  # type: ignore[union-attr, index]
    tokens = torch.randn(2, 63, 8).double()
    assert arch.stages[0].blocks[0].branches[0] == Skip() and not list(branch.parameters())
    assert torch.equal(branch(tokens, arch.grids[0]), tokens)


def test_statistics_are_the_candidates_own(space: Backbone, supernet: Supernet, images: Tensor) -> None:
    arch = sample(space, random.Random(2))
    batches = [images, images.flip(0) * 2]
    own = supernet.statistics(arch, batches)
    extracted = inherit(supernet.network, arch)
    recalibrate(extracted, batches)
    assert own.keys() == {name for name, _ in extracted.named_buffers()}
    torch.testing.assert_close(supernet(images, arch, statistics=own), extracted(images), rtol=0, atol=1e-10)


def test_training_writes_statistics_of_what_was_selected(space: Backbone, supernet: Supernet, images: Tensor) -> None:
    arch = largest(space)
    before = {name: buffer.clone() for name, buffer in supernet.network.named_buffers()}
    supernet.train()(images, arch)
    used = {place.name for place in supernet._places(arch).values()}
    for name, buffer in supernet.network.named_buffers():
        assert torch.equal(buffer, before[name]) == (name not in used), name


def test_the_host_is_written_and_read(space: Backbone, supernet: Supernet, images: Tensor, tmp_path: Path) -> None:
    save_network(supernet.network, tmp_path / "host.safetensors")
    again = Supernet(space, host=load_network(tmp_path / "host.safetensors").arch)
    again.network = load_network(tmp_path / "host.safetensors")
    arch = sample(space, random.Random(1))
    assert again.host == supernet.host and from_json(to_json(space)) == space
    expected = supernet.float()(images.float(), arch)
    torch.testing.assert_close(again.eval()(images.float(), arch), expected)


def test_all_by_importance_changes_nothing(space: Backbone, supernet: Supernet, images: Tensor) -> None:
    """The axes of a candidate are its own, and the streams all candidates': one order for a whole host."""
    network, shapes, arch = supernet.network, parameters(supernet.host), largest(space)
    before, state = supernet(images, arch), network.state_dict()
    order = most_important_first(importance(state, shapes))
    network.load_state_dict(reorder(state, shapes | buffers(supernet.host), order))
    torch.testing.assert_close(supernet(images, arch), before, rtol=0, atol=1e-9)


def test_the_space_is_searched_like_any_other(space: Backbone) -> None:
    rng, table = random.Random(0), genes(space)
    one, other = sample(space, rng), sample(space, rng)
    for _ in range(20):
        child = cross(space, one, mutate(space, other, rng, stage_rate=0.3, block_rate=0.3), rng)
        assert contains(space, child) and picks(space, child)
        assert decode(space, encode(space, child, table), table) == child
        assert from_json(to_json(child)) == child
        one, other = other, child
    assert cost(smallest(space)).params < cost(largest(space)).params
    width, ways = 2, (1 + 2 + 1 + 1) * 2
    assert size(space) == width * (ways + ways**2) * width * 2 * (ways + ways**2)


def test_scoring_together_equals_alone() -> None:
    """Without running statistics, so that what networks begin alike with is computed once."""
    slot = Choice(Skip(), MLP(ratio=1.0), MLP(ratio=Choice(2.0, 3.0)))
    space = Backbone(
        stem=PatchEmbed(image=8, patch=2, tokens=()),
        stages=(Stage(dim=Choice(8, 12), depth=3, block=Block(slot)),),
        head=Head(classes=3, pool="mean", norm_first=False),
    )
    supernet = randomized(Supernet(space))
    archs = [sample(space, random.Random(seed)) for seed in range(6)]
    images = torch.randn(2, 3, 8, 8).double()
    for arch, logits in zip(archs, Subnets(supernet).logits(archs, images), strict=True):
        torch.testing.assert_close(logits, inherit(supernet.network, arch)(images))
