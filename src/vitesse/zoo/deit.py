"""DeiT (Touvron et al., 2020, arXiv 2012.12877) as values: no torch."""

from __future__ import annotations

from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, Stage


def deit_tiny_patch16_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """DeiT-Ti, 5.7 million parameters."""
    return _deit(3, classes, image, distilled=False)


def deit_small_patch16_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """DeiT-S, 22 million parameters."""
    return _deit(6, classes, image, distilled=False)


def deit_base_patch16_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """DeiT-B, 86 million parameters."""
    return _deit(12, classes, image, distilled=False)


def deit_tiny_distilled_patch16_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """DeiT-Ti with a distillation token and a classifier of its own for it."""
    return _deit(3, classes, image, distilled=True)


def deit_small_distilled_patch16_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """DeiT-S with a distillation token and a classifier of its own for it."""
    return _deit(6, classes, image, distilled=True)


def deit_base_distilled_patch16_224(*, classes: int = 1000, image: int = 224) -> Backbone:
    """DeiT-B with a distillation token and a classifier of its own for it."""
    return _deit(12, classes, image, distilled=True)


def _deit(heads: int, classes: int, image: int, *, distilled: bool) -> Backbone:
    block = Block(Attention(heads=heads, head_dim=64), MLP(ratio=4.0))
    return Backbone(
        stem=PatchEmbed(image=(image, image), tokens=("class", "distillation") if distilled else ("class",)),
        stages=(Stage(dim=64 * heads, depth=12, block=block),),
        head=Head(classes=classes, pool="distilled" if distilled else "class"),
    )
