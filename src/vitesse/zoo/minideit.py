"""Mini-DeiT (MiniViT, Zhang et al., CVPR 2022, arXiv 2204.07154): DeiT with weights shared by two blocks. No torch."""

from __future__ import annotations

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Head,
    HeadMix,
    ImageRelativePosition,
    PatchEmbed,
    Stage,
)


def mini_deit_tiny_patch16_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """Mini-DeiT-Ti, 3 million parameters."""
    return _mini_deit(3, classes, image)


def mini_deit_small_patch16_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """Mini-DeiT-S, 11 million parameters."""
    return _mini_deit(6, classes, image)


def mini_deit_base_patch16_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """Mini-DeiT-B, 44 million parameters."""
    return _mini_deit(12, classes, image)


def mini_deit_base_patch16_384(*, classes: int = 1000, image: int = 384) -> Backbone:
    """Mini-DeiT-B for larger images."""
    return _mini_deit(12, classes, image)


def _mini_deit(heads: int, classes: int, image: int) -> Backbone:
    attention = Attention(heads=heads, head_dim=64, position=ImageRelativePosition(extra=False), mix=HeadMix())
    return Backbone(
        stem=PatchEmbed(image=(image, image), tokens=()),
        stages=(Stage(dim=64 * heads, depth=12, block=Block(attention, MLP(ratio=4.0)), share=2),),
        head=Head(classes=classes, pool="mean"),
    )
