"""Swin (Liu et al., ICCV 2021, arXiv 2103.14030), SwinV2 (CVPR 2022, arXiv 2111.09883), S3 (AutoFormerV2; Chen et al.,
NeurIPS 2021, arXiv 2111.14725) and Mini-Swin (MiniViT; Zhang et al., CVPR 2022, arXiv 2204.07154) as values: no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vitesse.arch import (
    MLP,
    Backbone,
    Block,
    ContinuousPosition,
    Grid,
    Head,
    HeadMix,
    LayerNorm,
    LocalTransform,
    PatchEmbed,
    PatchMerging,
    ShiftedWindowAttention,
    Stage,
)
from vitesse.zoo.autoformer import exact_ratio

NORM = LayerNorm(eps=1e-5)
TINY, SMALL, DEEP = (2, 2, 6, 2), (2, 2, 18, 2), (2, 2, 30, 2)


def swin_tiny_patch4_window7_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """Swin-T, 28 million parameters."""
    return _swin(96, TINY, 7, classes, image)


def swin_small_patch4_window7_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """Swin-S, 50 million parameters."""
    return _swin(96, SMALL, 7, classes, image)


def swin_base_patch4_window7_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """Swin-B, 88 million parameters."""
    return _swin(128, SMALL, 7, classes, image)


def swin_base_patch4_window12_384(*, classes: int = 1000, image: int = 384) -> Backbone:
    """Swin-B for images of 384 pixels, with windows of 12."""
    return _swin(128, SMALL, 12, classes, image)


def swinv2_tiny_window8_256(*, classes: int = 1000, image: int = 256) -> Backbone:
    """SwinV2-T with windows of 8, 28 million parameters."""
    return _swin(96, TINY, 8, classes, image, v2=True)


def swinv2_small_window8_256(*, classes: int = 1000, image: int = 256) -> Backbone:
    """SwinV2-S with windows of 8, 50 million parameters."""
    return _swin(96, SMALL, 8, classes, image, v2=True)


def swinv2_base_window8_256(*, classes: int = 1000, image: int = 256) -> Backbone:
    """SwinV2-B with windows of 8, 88 million parameters."""
    return _swin(128, SMALL, 8, classes, image, v2=True)


def s3_tiny(*, classes: int = 1000, image: int = 224) -> Backbone:
    """S3-T (AutoFormerV2-T), found by searching the search space: 28 million parameters, a third stage without windows."""
    return _s3(TINY, (7, 7, 14, 7), classes, image)


def s3_small(*, classes: int = 1000, image: int = 224) -> Backbone:
    """S3-S (AutoFormerV2-S), 50 million parameters, windows of 14."""
    return _s3(SMALL, (14, 14, 14, 14), classes, image)


def s3_base(*, classes: int = 1000, image: int = 224) -> Backbone:
    """S3-B (AutoFormerV2-B), 71 million parameters."""
    return _s3(DEEP, (7, 7, 14, 7), classes, image)


def mini_swin_tiny_patch4_window7_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """Mini-Swin-T, 12 million parameters: the blocks of each stage share their weights."""
    return _mini_swin(96, TINY, 7, (2, 2, 6, 2), classes, image)


def mini_swin_small_patch4_window7_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """Mini-Swin-S, 26 million parameters: each two blocks share their weights."""
    return _mini_swin(96, SMALL, 7, (2, 2, 2, 2), classes, image)


def mini_swin_base_patch4_window7_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """Mini-Swin-B, 46 million parameters: each two blocks share their weights."""
    return _mini_swin(128, SMALL, 7, (2, 2, 2, 2), classes, image)


def mini_swin_base_patch4_window12_384(*, classes: int = 1000, image: int = 384) -> Backbone:
    """Mini-Swin-B for images of 384 pixels, with windows of 12."""
    return _mini_swin(128, SMALL, 12, (2, 2, 2, 2), classes, image)


def _swin(dim: int, depths: Sequence[int], window: int, classes: int, image: int, *, v2: bool = False) -> Backbone:
    dims = [dim * 2**s for s in range(len(depths))]
    stem = PatchEmbed(image=(image, image), patch=(4, 4), tokens=(), position="none", norm=NORM, norm_first=True)
    blocks = [
        (swin_v2_block if v2 else swin_block)(
            window_on(window, grid, heads=width // 32, head_dim=32), ratio=exact_ratio(4.0, width)
        )
        for width, grid in zip(dims, grids(stem.grid, len(dims)), strict=True)
    ]
    return swin(stem=stem, dims=dims, depths=depths, blocks=blocks, classes=classes, post_norm=v2)


def _s3(depths: Sequence[int], windows: Sequence[int], classes: int, image: int) -> Backbone:
    plain = _swin(96, depths, 7, classes, image)
    stages = [
        replace(stage, block=swin_block(window_on(window, grid, heads=stage.dim // 32, head_dim=32), ratio=4.0))
        for stage, window, grid in zip(plain.stages, windows, plain.grids, strict=True)
    ]
    return replace(plain, stages=tuple(stages))


def _mini_swin(
    dim: int, depths: Sequence[int], window: int, shares: Sequence[int], classes: int, image: int
) -> Backbone:
    plain = _swin(dim, depths, window, classes, image)
    stages = []
    for stage, grid, share in zip(plain.stages, plain.grids, shares, strict=True):
        attention = window_on(
            window, grid, heads=stage.dim // 32, head_dim=32, mix=HeadMix(bias=True), always_masked=True
        )
        stages.append(replace(stage, block=mini_swin_block(attention, ratio=4.0), share=share, own=("norm",)))
    return replace(plain, stages=tuple(stages))


def swin(
    *,
    stem: PatchEmbed,
    dims: Sequence[int],
    depths: Sequence[int],
    blocks: Sequence[Block | tuple[Block, ...]],
    classes: int,
    norm: LayerNorm = NORM,
    post_norm: bool = False,
    shares: Sequence[int] | None = None,
    own: tuple[Any, ...] = ("norm",),
) -> Backbone:
    """A network of the family: stages of `blocks` (one value for all of a stage, or a tuple), merging between them.

    shares: how many consecutive blocks of each stage use one set of weights; own: what each of these has for itself.
    """
    stages = []
    for s, (dim, depth, block) in enumerate(zip(dims, depths, blocks, strict=True)):
        down = PatchMerging(norm=norm, post_norm=post_norm) if s else None
        share = 1 if shares is None else shares[s]
        stages.append(Stage(dim=dim, depth=depth, block=block, down=down, share=share, own=own))
    return Backbone(stem=stem, stages=tuple(stages), head=Head(classes=classes, pool="mean", norm=norm))


def grids(first: Grid, stages: int) -> list[Grid]:
    """The map of each stage, from that of the first."""
    return [first.reduced(2**s) for s in range(stages)]


def window_on(window: int, grid: Grid, **fields: Any) -> ShiftedWindowAttention:
    """The attention with windows of that side on this map: no longer than its shorter side, and never shifted then."""
    shortest = min(grid.rows, grid.columns)
    if window < shortest or grid.rows == grid.columns:  # on a square map one window is not shifted anyway
        return ShiftedWindowAttention(window=min(window, shortest), **fields)
    return ShiftedWindowAttention(**fields | {"window": shortest, "shift": False, "always_masked": False})


def swin_block(attention: ShiftedWindowAttention, *, ratio: float, norm: LayerNorm = NORM) -> Block:
    """Attention and MLP, each with a norm before it."""
    return Block(replace(attention, norm=norm), MLP(ratio=ratio, norm=norm))


def mini_swin_block(attention: ShiftedWindowAttention, *, ratio: float, norm: LayerNorm = NORM) -> Block:
    """The same with the transformation of Mini-Swin between the two; its convolution has a bias where q, k, v have."""
    first, mlp = swin_block(attention, ratio=ratio, norm=norm).branches
    return Block(first, LocalTransform(inner_norm=norm, bias=bool(attention.bias)), mlp)


def swin_v2_block(attention: ShiftedWindowAttention, *, ratio: float) -> Block:
    """Attention by cosines, with a position that is a function of the offset, and MLP, each with a norm behind it."""
    second = replace(attention, cosine=True, bias="qv", position=ContinuousPosition(), post_norm=True, norm=NORM)
    return Block(second, MLP(ratio=ratio, norm=NORM, post_norm=True))
