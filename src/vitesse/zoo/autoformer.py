"""AutoFormer (Chen et al., ICCV 2021, arXiv 2107.00651): its three spaces, its three published networks, its counting.

The spaces are those of the published supernet settings. The published tiny network uses the ratio 3.0, which its own
space does not hold. Values only: no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Choice,
    Head,
    LayerNorm,
    PatchEmbed,
    RelativePosition,
    Stage,
)
from vitesse.errors import VitesseError
from vitesse.zoo.autoformer_settings import AutoFormerSettings

NORM = LayerNorm(eps=1e-5)
Bias = bool | Literal["packed"]

# What the published code was given to build the supernets that were released.
RELEASED: Mapping[str, Any] = {
    "img_size": 224,
    "patch_size": 16,
    "num_classes": 1000,
    "qkv_bias": True,
    "gp": True,
    "change_qkv": True,
    "relative_position": True,
    "max_relative_position": 14,
    "mlp_ratio": 4.0,
}
TINY: Mapping[str, Any] = {
    **RELEASED,
    **{"embed_dim": 256, "depth": 14, "num_heads": 4},
    "choices": {"mlp_ratio": [3.5, 4.0], "num_heads": [3, 4], "embed_dim": [192, 216, 240], "depth": [12, 13, 14]},
}
SMALL: Mapping[str, Any] = {
    **RELEASED,
    **{"embed_dim": 448, "depth": 14, "num_heads": 7},
    "choices": {
        "mlp_ratio": [3.0, 3.5, 4.0],
        "num_heads": [5, 6, 7],
        "embed_dim": [320, 384, 448],
        "depth": [12, 13, 14],
    },
}
BASE: Mapping[str, Any] = {
    **RELEASED,
    **{"embed_dim": 640, "depth": 16, "num_heads": 10},
    "choices": {
        "mlp_ratio": [3.0, 3.5, 4.0],
        "num_heads": [9, 10],
        "embed_dim": [528, 576, 624],
        "depth": [14, 15, 16],
    },
}


def autoformer_tiny_space(*, classes: int = 1000, image: int = 224) -> Backbone:
    """The space AutoFormer-T, from 5.4 to 10.5 million parameters."""
    return _space(TINY, classes, image)


def autoformer_small_space(*, classes: int = 1000, image: int = 224) -> Backbone:
    """The space AutoFormer-S, from 13.1 to 34.8 million parameters."""
    return _space(SMALL, classes, image)


def autoformer_base_space(*, classes: int = 1000, image: int = 224) -> Backbone:
    """The space AutoFormer-B, from 41.7 to 76.9 million parameters."""
    return _space(BASE, classes, image)


def autoformer_tiny(*, classes: int = 1000, image: int = 224) -> Backbone:
    """The network that was found in AutoFormer-T. For the released weights: `published_arch`."""
    ratios = (3.5, 3.5, 3.0, 3.5, 3.0, 3.0, 4.0, 4.0, 3.5, 4.0, 3.5, 4.0, 3.5)
    return _network(192, (3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 3, 3), ratios, classes, image)


def autoformer_small(*, classes: int = 1000, image: int = 224) -> Backbone:
    """The network that was found in AutoFormer-S."""
    ratios = (3.0, 3.5, 3.0, 3.5, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 3.5, 4.0)
    return _network(384, (6, 6, 5, 7, 5, 5, 5, 6, 6, 7, 7, 6, 7), ratios, classes, image)


def autoformer_base(*, classes: int = 1000, image: int = 224) -> Backbone:
    """The network that was found in AutoFormer-B."""
    ratios = (3.5, 3.5, 4.0, 3.5, 4.0, 3.5, 3.5, 3.0, 4.0, 4.0, 3.0, 4.0, 3.0, 3.5)
    return _network(576, (9, 9, 9, 9, 9, 10, 9, 9, 10, 9, 10, 9, 9, 10), ratios, classes, image)


def host(config: Mapping[str, Any]) -> Backbone:
    """The network as large as the published code stores it, which may be more than any choice uses."""
    settings = AutoFormerSettings.read(config)
    ratio = exact_ratio(float(settings.mlp_ratio), settings.embed_dim)
    block = _block(settings, settings.heads, ratio, _packed(settings))
    return _backbone(settings, settings.embed_dim, settings.depth, block)


def space(config: Mapping[str, Any]) -> Backbone:
    """The space of the published `choices`, without them the host itself; VitesseError where the host is too small."""
    settings = AutoFormerSettings.read(config)
    return _choices(settings, _packed(settings)) if settings.choices else host(config)


def subnet(config: Mapping[str, Any], sampled: Mapping[str, Any]) -> Backbone:
    """The network that the published code runs for `sampled`; VitesseError where the storage does not hold it."""
    settings = AutoFormerSettings.read(config)
    width, heads, ratios = settings.sampled(sampled)
    return _subnet(settings, width, heads, [exact_ratio(ratio, width) for ratio in ratios], _packed(settings))


def counts(config: Mapping[str, Any], sampled: Mapping[str, Any]) -> dict[str, int | float]:
    """Parameters and multiply-adds ("complexity") of a sampled network as the published code counts, slips included.

    Blocks are charged for one token too many and the classifier for every token; half of the positions counts as
    multiply-adds; the relative terms are charged by their reach. Positions are parameters even where there are none.
    """
    settings = AutoFormerSettings.read(config)
    width, heads, ratios = settings.sampled(sampled)
    patches, reach = settings.grid[0] * settings.grid[1], settings.max_relative_position
    pixels = settings.in_chans * settings.patch_size[0] * settings.patch_size[1]
    params = pixels * width + width + (patches + 2) * width + 2 * width + settings.num_classes * (width + 1)
    total = width + patches * pixels * width + (patches + 1) * width / 2 + (patches + 1) * width * settings.num_classes
    s = patches + 2
    for count, ratio in zip(heads, ratios, strict=True):
        inner, hidden = count * settings.head_dim, int(width * ratio)
        params += 4 * inner * width + width + 4 * width + 2 * hidden * width + hidden + width
        params += 3 * inner if settings.qkv_bias else 0
        total += 2 * s * width + 4 * s * inner * width + 2 * s**2 * inner + 2 * s * width * hidden
        if settings.relative_position:
            params += 4 * (2 * reach + 2) * settings.head_dim
            total += 2 * reach * s**2 + s**2 / 2 + s * inner / 2
    return {"params": params, "complexity": total}


def _space(config: Mapping[str, Any], classes: int, image: int) -> Backbone:
    return _choices(AutoFormerSettings.read({**config, "num_classes": classes, "img_size": image}), True)


def _network(width: int, heads: Sequence[int], ratios: Sequence[float], classes: int, image: int) -> Backbone:
    settings = AutoFormerSettings.read({**RELEASED, "num_classes": classes, "img_size": image})
    return _subnet(settings, width, heads, ratios, True)


def _choices(settings: AutoFormerSettings, bias: Bias) -> Backbone:
    block = _block(settings, _choice(settings.options("num_heads")), _choice(settings.options("mlp_ratio")), bias)
    return _backbone(settings, _choice(settings.options("embed_dim")), _choice(settings.options("depth")), block)


def _subnet(
    settings: AutoFormerSettings, width: int, heads: Sequence[int], ratios: Sequence[float], bias: Bias
) -> Backbone:
    blocks = tuple(_block(settings, count, ratio, bias) for count, ratio in zip(heads, ratios, strict=True))
    return _backbone(settings, width, len(blocks), blocks)


def _backbone(settings: AutoFormerSettings, dim: int, depth: int, block: Block | tuple[Block, ...]) -> Backbone:
    try:
        stem = PatchEmbed(
            image=settings.img_size,
            patch=settings.patch_size,
            channels=settings.in_chans,
            position="all" if settings.abs_pos else "none",
        )
    except ValueError as error:
        raise VitesseError(f"AutoFormer's stem cannot be made: {error}") from error
    head = Head(classes=settings.num_classes, pool="mean" if settings.gp else "class", norm=NORM)
    return Backbone(stem=stem, stages=(Stage(dim=dim, depth=depth, block=block),), head=head)


def _block(settings: AutoFormerSettings, heads: int, ratio: float, bias: Bias) -> Block:
    position = RelativePosition(reach=settings.max_relative_position) if settings.relative_position else None
    attention = Attention(heads=heads, head_dim=settings.head_dim, bias=bias, position=position, norm=NORM)
    return Block(attention, MLP(ratio=ratio, norm=NORM))


def _packed(settings: AutoFormerSettings) -> Bias:
    # The published slice takes the leading entries of the bias, whatever they mean; its weights were trained so.
    return settings.qkv_bias and ("packed" if settings.change_qkv else True)


def _choice(options: Sequence[Any]) -> Any:
    return options[0] if len(options) == 1 else Choice(*options)


def exact_ratio(ratio: float, width: int) -> float:
    """The ratio that gives our MLP the hidden width int(width * ratio) of the published one."""
    hidden = int(width * ratio)
    return ratio if MLP(ratio=ratio).hidden(width) == hidden else hidden / width
