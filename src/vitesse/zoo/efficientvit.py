"""EfficientViT of MSRA (Liu et al., CVPR 2023, arXiv 2305.07027) as values: no torch.

Not the network of the same name with linear attention (Cai et al., ICCV 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

from vitesse.arch import (
    Backbone,
    BatchNorm,
    Block,
    CascadedAttention,
    ConvMLP,
    ConvStem,
    Head,
    LocalConv,
    SandwichDownsample,
    Stage,
)

STRIDE = 16  # of the stem


def efficientvit_m0(*, classes: int = 1000, image: int = 224) -> Backbone:
    """EfficientViT-M0, 2.3 million parameters."""
    return _published((64, 128, 192), (1, 2, 3), (4, 4, 4), (5, 5, 5, 5), classes, image)


def efficientvit_m1(*, classes: int = 1000, image: int = 224) -> Backbone:
    """EfficientViT-M1, 3 million parameters."""
    return _published((128, 144, 192), (1, 2, 3), (2, 3, 3), (7, 5, 3, 3), classes, image)


def efficientvit_m2(*, classes: int = 1000, image: int = 224) -> Backbone:
    """EfficientViT-M2, 4.2 million parameters."""
    return _published((128, 192, 224), (1, 2, 3), (4, 3, 2), (7, 5, 3, 3), classes, image)


def efficientvit_m3(*, classes: int = 1000, image: int = 224) -> Backbone:
    """EfficientViT-M3, 6.9 million parameters."""
    return _published((128, 240, 320), (1, 2, 3), (4, 3, 4), (5, 5, 5, 5), classes, image)


def efficientvit_m4(*, classes: int = 1000, image: int = 224) -> Backbone:
    """EfficientViT-M4, 8.8 million parameters."""
    return _published((128, 256, 384), (1, 2, 3), (4, 4, 4), (7, 5, 3, 3), classes, image)


def efficientvit_m5(*, classes: int = 1000, image: int = 224) -> Backbone:
    """EfficientViT-M5, 12.5 million parameters."""
    return _published((192, 288, 384), (1, 3, 4), (3, 3, 4), (7, 5, 3, 3), classes, image)


def _published(
    dims: Sequence[int], depths: Sequence[int], heads: Sequence[int], kernels: Sequence[int], classes: int, image: int
) -> Backbone:
    windows = clamped([7] * len(dims), (image, image))
    return efficientvit(
        dims=dims, depths=depths, heads=heads, kernels=kernels, windows=windows, classes=classes, image=(image, image)
    )


def clamped(windows: Sequence[int], image: tuple[int, int]) -> list[int]:
    """The window of each stage, no larger than the map that its blocks see of such an image."""
    side, found = -(-min(image) // STRIDE), []
    for window in windows:
        found.append(min(window, side))
        side = -(-side // 2)
    return found


def efficientvit(
    *,
    dims: Sequence[int],
    depths: Sequence[int],
    heads: Sequence[int],
    kernels: Sequence[int],
    windows: Sequence[int],
    classes: int,
    image: tuple[int, int],
    key_dims: Sequence[int] | None = None,
    channels: int = 3,
    distilled: bool = False,
) -> Backbone:
    """A network of the family: a stem of four convolutions, then stages of sandwiches around cascaded group attention.

    Each sequence has one value a stage, but for `kernels`, of the depthwise convolutions of the queries, which has one a
    head. key_dims: 16 in every stage where none are given. distilled: a second classifier, as published for training
    by a teacher. classes=0 gives no head at all, as published.
    """
    stages: list[Stage] = []
    keys = key_dims or [16] * len(dims)
    for dim, depth, count, key_dim, window in zip(dims, depths, heads, keys, windows, strict=True):
        own = tuple(kernels[:count])
        attention = CascadedAttention(heads=count, kernels=own, key_dim=key_dim, window=window)
        local, mlp = LocalConv(residual=True), ConvMLP()
        block = Block(local, mlp, attention, local, mlp)
        down = SandwichDownsample() if stages else None
        stages.append(Stage(dim=dim, depth=depth, block=block, down=down, channel_groups=count))
    return Backbone(
        stem=ConvStem(image=image, channels=channels, layers=4, act="relu"),
        stages=tuple(stages),
        head=Head(
            classes=classes,
            pool="mean_distilled" if distilled else "mean",
            norm=BatchNorm() if classes else None,
            norm_first=False,
        ),
    )
