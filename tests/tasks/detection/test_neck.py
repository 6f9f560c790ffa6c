"""The neck against a plain reading of what was published with EfficientViT, and where its levels lie."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, Stage
from vitesse.errors import UsageError
from vitesse.nets import Network, build
from vitesse.tasks.detection.detector import MASK_RCNN_STRIDES, RETINANET_STRIDES
from vitesse.tasks.detection.neck import Neck, Trunk


def plainly(neck: Neck, maps: list[Tensor], *, finer: int, pooled: int) -> list[Tensor]:
    """The published neck, written out for three maps: P1, P2, P3 top-down, then upwards from the finest lateral."""
    one, two, three = (F.conv2d(x, c.weight, c.bias) for x, c in zip(maps, neck.laterals, strict=True))  # type: ignore[arg-type]
    two = two + F.interpolate(three, size=two.shape[2:], mode="nearest")
    one = one + F.interpolate(two, size=one.shape[2:], mode="nearest")
    levels, x = [one, two, three], one
    for number in range(finer):  # counted in the order in which they are computed: the first is the coarsest
        up = neck.finer[number]
        x = F.conv_transpose2d(x, up.weight, up.bias, stride=2)  # type: ignore[arg-type]
        levels = [x, *levels]
    # The output convolutions are counted from the finest level.
    outs = [F.conv2d(y, c.weight, c.bias, padding=1) for y, c in zip(levels, neck.outputs, strict=True)]  # type: ignore[arg-type]
    for _ in range(pooled):
        outs.append(outs[-1][:, :, ::2, ::2])
    return outs


@pytest.mark.parametrize(
    ("levels", "finer", "pooled"), [(RETINANET_STRIDES, 1, 1), (MASK_RCNN_STRIDES, 2, 0)], ids=["retinanet", "mask_rcnn"]
)  # fmt: skip
def test_the_published_neck(levels: tuple[int, ...], finer: int, pooled: int) -> None:
    torch.manual_seed(0)
    neck = Neck((4, 6, 8), (16, 32, 64), levels=levels, width=10)
    maps = [torch.randn(2, width, *size) for width, size in ((4, (9, 12)), (6, (5, 6)), (8, (3, 3)))]  # rounded up
    found = neck(maps)
    assert len(found) == 5 and len(neck.finer) == finer
    for one, other in zip(found, plainly(neck, maps, finer=finer, pooled=pooled), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("levels", [RETINANET_STRIDES, MASK_RCNN_STRIDES])
@pytest.mark.parametrize("kind", ["four_stages", "three_stages", "plain"])
def test_levels_lie_at_their_strides(levels: tuple[int, ...], kind: str, request: pytest.FixtureRequest) -> None:
    network = plain_vit() if kind == "plain" else request.getfixturevalue(kind)
    trunk = Trunk(network, finest=levels[0], drop_path=0.0, frozen_statistics=True)
    neck = Neck(trunk.widths, trunk.strides, levels=levels, width=7)
    found = neck(trunk(torch.rand(1, 3, 128, 256)))
    assert [tuple(one.shape) for one in found] == [(1, 7, 128 // stride, 256 // stride) for stride in levels]


def plain_vit() -> Network:
    block = Block(Attention(heads=1, head_dim=8), MLP(ratio=2.0))
    stem = PatchEmbed(image=(32, 32), patch=(16, 16))
    return build(Backbone(stem=stem, stages=(Stage(dim=8, depth=2, block=block),), head=Head(classes=3)))


def test_a_trunk_is_the_network_without_its_head(four_stages: Network) -> None:
    trunk = Trunk(four_stages, finest=8, drop_path=0.0, frozen_statistics=True).eval()
    images = torch.rand(1, 3, 96, 64)
    wanted = four_stages.forward_intermediates(images, intermediates_only=True)[1:]
    assert all(map(torch.equal, trunk(images), wanted))
    assert not any(name.startswith("network.head") for name, _ in trunk.named_parameters())
    with torch.no_grad():
        next(trunk.parameters()).add_(1)  # a copy: the network itself stays as it is
    assert torch.equal(four_stages.forward_intermediates(images, intermediates_only=True)[1], wanted[0])


@pytest.mark.parametrize("frozen", [True, False])
def test_running_statistics_stay_where_they_are_to(four_stages: Network, frozen: bool) -> None:
    trunk = Trunk(four_stages, finest=8, drop_path=0.0, frozen_statistics=frozen).train()
    before = {name: one.clone() for name, one in trunk.named_buffers() if "running" in name}
    trunk(torch.rand(2, 3, 64, 64))
    after = dict(trunk.named_buffers())
    assert before and all(torch.equal(after[name], one) == frozen for name, one in before.items())
    assert all(parameter.requires_grad for parameter in trunk.parameters())


@pytest.mark.parametrize("strides", [(), (14,), (8, 32), (256,)])
def test_strides_that_fit_no_level(strides: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="The levels of the neck lie at strides 8, 16, 32, 64, 128"):
        Neck((4,) * len(strides), strides, levels=RETINANET_STRIDES, width=8)
