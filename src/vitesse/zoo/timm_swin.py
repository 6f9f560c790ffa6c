"""timm's Swin and SwinV2 (`swin_*`, `swin_s3_*`, `swinv2_*`) become networks of ours and go back: other names, same weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import Tensor, nn

from vitesse.arch import (
    MLP,
    Backbone,
    Block,
    ContinuousPosition,
    Head,
    LayerNorm,
    OffsetTable,
    PatchEmbed,
    PatchMerging,
    ShiftedWindowAttention,
    Stage,
)
from vitesse.errors import VitesseError
from vitesse.nets import Network
from vitesse.zoo.swin_weights import converted, published_name
from vitesse.zoo.timm_arch import activation_of

Swin = SwinTransformer | SwinTransformerV2


def swin_of(model: Swin, name: str, image: tuple[int, int]) -> Network:
    """The network of a timm Swin or SwinV2, in the same mode; VitesseError names what has no value here."""
    arch = swin_arch(model, name, image)
    rates = [float(getattr(block.drop_path1, "drop_prob", 0.0) or 0.0) for block in _blocks(model)]
    weights = {key: tensor.detach() for key, tensor in model.state_dict().items()}
    weights = joined_biases(weights) if isinstance(model, SwinTransformerV2) else weights
    return converted(weights, arch, timm_name, f"timm {name}", drop_path=rates).train(model.training)


def swin_arch(model: Swin, name: str, image: tuple[int, int]) -> Backbone:
    """The value of a timm Swin or SwinV2; for images of this size where it was made for any."""
    pool = getattr(model.head.global_pool, "pool_type", "")
    if pool != "avg":
        raise VitesseError(
            f"{name} has the pooling {pool!r}, for which Vitesse has no value. Choose global_pool='avg'."
        )
    embed: Any = model.patch_embed
    try:
        stem = PatchEmbed(
            image=tuple(embed.img_size or image),
            patch=tuple(embed.patch_size),
            channels=embed.proj.in_channels,
            bias=embed.proj.bias is not None,
            tokens=(),
            position="none",
            norm=_norm(embed.norm, name),
            norm_first=True,
        )
        stages = tuple(_stage(stage, name) for stage in list(model.layers))
        return Backbone(
            stem=stem, stages=stages, head=Head(classes=model.num_classes, pool="mean", norm=_norm(model.norm, name))
        )
    except ValueError as error:
        raise VitesseError(f"{name} cannot be taken over: {error}") from error


def _stage(stage: Any, name: str) -> Stage:
    down = None
    if not isinstance(stage.downsample, nn.Identity):
        norm = stage.downsample.norm
        late = (
            norm.normalized_shape[0] == stage.downsample.out_dim
            and norm.normalized_shape[0] != 4 * stage.downsample.dim
        )
        down = PatchMerging(norm=_norm(norm, name), post_norm=late)
    blocks = tuple(_block(block, b, name) for b, block in enumerate(stage.blocks))
    return Stage(dim=stage.blocks[0].dim, depth=len(blocks), block=blocks, down=down)


def _block(block: Any, position: int, name: str) -> Block:
    attn, v2 = block.attn, hasattr(block.attn, "cpb_mlp")
    window = attn.window_size
    if window[0] != window[1] or block.always_partition:
        raise VitesseError(
            f"{name} has windows of {window} or partitions every map (always_partition), but Vitesse has square windows, "
            "clamped to the map. Choose another img_size or window_size."
        )
    value = ShiftedWindowAttention(
        heads=attn.num_heads,
        head_dim=attn.qkv.out_features // 3 // attn.num_heads,
        window=window[0],
        shift="odd",
        bias=("qv" if attn.q_bias is not None else False) if v2 else attn.qkv.bias is not None,
        cosine=v2,
        position=_continuous(attn) if v2 else OffsetTable(),
        post_norm=v2,
        norm=_norm(block.norm1, name),
    )
    mlp = block.mlp
    if not isinstance(mlp.norm, nn.Identity):
        raise VitesseError(f"{name} has a norm inside its MLP, for which Vitesse has no value.")
    return Block(
        value,
        MLP(
            ratio=mlp.fc1.out_features / mlp.fc1.in_features,
            act=activation_of(mlp.act, name),
            post_norm=v2,
            norm=_norm(block.norm2, name),
        ),
    )


def _continuous(attn: Any) -> ContinuousPosition:
    trained = attn.pretrained_window_size
    if trained[0] != trained[1]:
        raise VitesseError(f"The windows of the pretraining must be square, but were {trained}.")
    return ContinuousPosition(hidden=attn.cpb_mlp[0].out_features, window=trained[0] or None)


def _norm(module: nn.Module, name: str) -> LayerNorm:
    if not isinstance(module, nn.LayerNorm):
        raise VitesseError(f"{name} has a norm of the kind {type(module).__name__}, for which Vitesse has no value.")
    return LayerNorm(eps=float(module.eps))


def timm_name(name: str, arch: Backbone) -> str:
    """timm's name of a weight of ours."""
    module, _, part = name.rpartition(".")
    if module.endswith((".position.fc1", ".position.fc2", ".cosine")):
        block = module.split(".")
        inner = "logit_scale" if part == "log_factor" else f"cpb_mlp.{'0' if block[-1] == 'fc1' else '2'}.{part}"
        return f"layers.{block[1]}.blocks.{block[3]}.attn.{inner}"
    theirs = published_name(name, arch)
    if ".downsample." in theirs:
        number, rest = theirs.removeprefix("layers.").split(".", 1)
        return f"layers.{int(number) + 1}.{rest}"
    return theirs.replace("head.", "head.fc.") if theirs.startswith("head.") else theirs


def joined_biases(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """SwinV2's weights with the biases of queries and values as one."""
    found = dict(weights)
    for name in weights:
        if name.endswith(".q_bias"):
            prefix = name.removesuffix("q_bias")
            found[f"{prefix}qkv.bias"] = torch.cat([found.pop(name), found.pop(f"{prefix}v_bias")])
    return found


def to_timm_swin(network: Network) -> dict[str, Tensor]:
    """The weights under timm's names and in its layout; VitesseError where timm's Swin cannot hold them."""
    arch, found = network.arch, {}
    if any(stage.group > 1 or any(not _plain(block) for block in stage.blocks) for stage in arch.stages):
        raise VitesseError(
            "timm's Swin has blocks of shifted-window attention and an MLP that share nothing, but this network has others."
        )
    for name, tensor in network.state_dict().items():
        theirs = timm_name(name, arch)
        if name.endswith(".offset_bias"):
            tensor = tensor.T.contiguous()
        elif name.endswith(".log_factor"):
            tensor = tensor[:, None, None]
        if theirs.endswith(".qkv.bias") and _attention(name, arch).bias == "qv":
            prefix = theirs.removesuffix("qkv.bias")
            found[f"{prefix}q_bias"], found[f"{prefix}v_bias"] = tensor.chunk(2)
        else:
            found[theirs] = tensor
    return found


def _plain(block: Block) -> bool:
    kinds = [type(branch) for branch in block.branches]
    first = block.branches[0]
    return kinds == [ShiftedWindowAttention, MLP] and isinstance(first, ShiftedWindowAttention) and first.mix is None


def _attention(name: str, arch: Backbone) -> ShiftedWindowAttention:
    _, s, _, b, k, _ = name.split(".", 5)
    found = arch.stages[int(s)].blocks[int(b)].branches[int(k)]
    assert isinstance(found, ShiftedWindowAttention)
    return found


def _blocks(model: Swin) -> list[Any]:
    stages: list[Any] = list(model.layers)
    return [block for stage in stages for block in stage.blocks]
