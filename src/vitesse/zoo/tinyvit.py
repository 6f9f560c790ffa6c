"""TinyViT (Wu et al., ECCV 2022, arXiv 2207.10666) as values: no torch."""

from __future__ import annotations

from collections.abc import Sequence

from vitesse.arch import (
    MLP,
    Backbone,
    Block,
    ConvStem,
    Downsample,
    Head,
    LayerNorm,
    LocalConv,
    MBConv,
    Stage,
    WindowAttention,
)
from vitesse.arch.operation import Act
from vitesse.zoo.autoformer import exact_ratio

NORM = LayerNorm(eps=1e-5)
DEPTHS = (2, 2, 6, 2)
DIMS_5M, DIMS_11M, DIMS_21M = (64, 128, 160, 320), (64, 128, 256, 448), (96, 192, 384, 576)


def tiny_vit_5m_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """TinyViT-5M, 5.4 million parameters. With classes=21841 it takes the weights pretrained on ImageNet-22k."""
    return _published(DIMS_5M, 7, classes, image)


def tiny_vit_11m_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """TinyViT-11M, 11 million parameters."""
    return _published(DIMS_11M, 7, classes, image)


def tiny_vit_21m_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """TinyViT-21M, 21 million parameters."""
    return _published(DIMS_21M, 7, classes, image)


def tiny_vit_21m_384(*, classes: int = 1000, image: int = 384) -> Backbone:
    """TinyViT-21M for images of 384 pixels: windows of 12, 24 and 12."""
    return _published(DIMS_21M, 12, classes, image)


def tiny_vit_21m_512(*, classes: int = 1000, image: int = 512) -> Backbone:
    """TinyViT-21M for images of 512 pixels: windows of 16, 32 and 16."""
    return _published(DIMS_21M, 16, classes, image)


def _published(dims: Sequence[int], window: int, classes: int, image: int) -> Backbone:
    heads, windows = [dim // 32 for dim in dims], (window, window, 2 * window, window)
    return tiny_vit(dims=dims, depths=DEPTHS, heads=heads, windows=windows, classes=classes, image=(image, image))


def tiny_vit(
    *,
    dims: Sequence[int],
    depths: Sequence[int],
    heads: Sequence[int],
    windows: Sequence[int],
    classes: int,
    image: tuple[int, int],
    channels: int = 3,
    mlp_ratio: float = 4.0,
    conv_ratio: float = 4.0,
    kernel: int = 3,
    act: Act = "gelu",
) -> Backbone:
    """A network of the family: a stage of MBConv, then stages of window attention, local convolution and MLP.

    Each sequence has one value a stage; the first of `heads` and `windows` means nothing.
    """
    first = Block(MBConv(ratio=exact_ratio(conv_ratio, dims[0]), act=act))
    stages = [Stage(dim=dims[0], depth=depths[0], block=first)]
    for dim, depth, count, window in list(zip(dims, depths, heads, windows, strict=True))[1:]:
        attention = WindowAttention(heads=count, head_dim=dim // count, window=window, inner_norm=NORM)
        mlp = MLP(ratio=exact_ratio(mlp_ratio, dim), act=act, norm=NORM)
        block = Block(attention, LocalConv(kernel=kernel), mlp)
        stages.append(Stage(dim=dim, depth=depth, block=block, down=Downsample(act=act)))
    return Backbone(
        stem=ConvStem(image=image, channels=channels, act=act),
        stages=tuple(stages),
        head=Head(classes=classes, pool="mean", norm=NORM, norm_first=False),
    )
