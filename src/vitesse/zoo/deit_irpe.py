"""DeiT with image relative position encoding (Wu et al., ICCV 2021, arXiv 2107.14222) as values: no torch.

The number in a name is how many buckets a map of 14 x 14 patches uses, which is fewer than the table has where the method
is not "product".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from vitesse.arch import Attention, Backbone, Block, ImageRelativePosition
from vitesse.zoo.deit import deit_base_patch16_224, deit_small_patch16_224, deit_tiny_patch16_224

On = Literal["q", "k", "v", "qk", "qv", "kv", "qkv"]
Method = Literal["product", "euclidean", "quantization", "cross"]


def deit_tiny_patch16_224_ctx_product_50_shared_k(*, classes: int = 1000, image: int = 224) -> Backbone:
    """DeiT-Ti with positions of the keys."""
    return with_positions(deit_tiny_patch16_224(classes=classes, image=image), position())


def deit_small_patch16_224_ctx_product_50_shared_k(*, classes: int = 1000, image: int = 224) -> Backbone:
    """DeiT-S with positions of the keys."""
    return with_positions(deit_small_patch16_224(classes=classes, image=image), position())


def deit_small_patch16_224_ctx_product_50_shared_qk(*, classes: int = 1000, image: int = 224) -> Backbone:
    """DeiT-S with positions of queries and keys."""
    return with_positions(deit_small_patch16_224(classes=classes, image=image), position(on="qk"))


def deit_small_patch16_224_ctx_product_50_shared_qkv(*, classes: int = 1000, image: int = 224) -> Backbone:
    """DeiT-S with positions of queries, keys and values."""
    return with_positions(deit_small_patch16_224(classes=classes, image=image), position(on="qkv"))


def deit_base_patch16_224_ctx_product_50_shared_k(*, classes: int = 1000, image: int = 224) -> Backbone:
    """DeiT-B with positions of the keys."""
    return with_positions(deit_base_patch16_224(classes=classes, image=image), position())


def deit_base_patch16_224_ctx_product_50_shared_qkv(*, classes: int = 1000, image: int = 224) -> Backbone:
    """DeiT-B with positions of queries, keys and values."""
    return with_positions(deit_base_patch16_224(classes=classes, image=image), position(on="qkv"))


def deit_small_patch16_224_ctx_euc_20_shared_k(*, classes: int = 1000, image: int = 224) -> Backbone:
    """DeiT-S with positions of the keys by their rounded distance."""
    return with_positions(deit_small_patch16_224(classes=classes, image=image), position("euclidean", ratio=20))


def deit_small_patch16_224_ctx_quant_51_shared_k(*, classes: int = 1000, image: int = 224) -> Backbone:
    """DeiT-S with positions of the keys by their squared distance."""
    return with_positions(deit_small_patch16_224(classes=classes, image=image), position("quantization", ratio=33))


def deit_small_patch16_224_ctx_cross_56_shared_k(*, classes: int = 1000, image: int = 224) -> Backbone:
    """DeiT-S with positions of the keys by their row and by their column."""
    return with_positions(deit_small_patch16_224(classes=classes, image=image), position("cross", ratio=20))


def position(method: Method = "product", *, on: On = "k", ratio: float = 1.9) -> ImageRelativePosition:
    """As published: contextual, shared by the heads, steps alpha : beta : gamma as 1 : 2 : 8."""
    return ImageRelativePosition(method=method, on=on, alpha=ratio, beta=2 * ratio, gamma=8 * ratio)


def with_positions(arch: Backbone, value: ImageRelativePosition | None) -> Backbone:
    """`arch` with these relative positions in every attention, beside the absolute ones that it has."""

    def placed(block: Block) -> Block:
        branches = block.branches
        return Block(*(replace(item, position=value) if isinstance(item, Attention) else item for item in branches))

    stages = tuple(replace(stage, block=tuple(map(placed, stage.blocks))) for stage in arch.stages)
    return replace(arch, stages=stages)
