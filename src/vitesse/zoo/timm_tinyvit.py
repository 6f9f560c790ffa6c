"""timm's TinyViT becomes a network of ours and goes back: the same weights under other names."""

from __future__ import annotations

from typing import Any

from timm.models.tiny_vit import TinyVit
from torch import Tensor, nn

from vitesse.arch import Backbone, WindowAttention
from vitesse.errors import VitesseError
from vitesse.nets import Network
from vitesse.zoo.timm_arch import activation_of
from vitesse.zoo.tinyvit import tiny_vit
from vitesse.zoo.tinyvit_weights import converted, published_name, to_theirs


def tinyvit_of(model: TinyVit, name: str, image: tuple[int, int]) -> Network:
    """The network of a timm TinyViT, in the same mode; VitesseError names what has no value here."""
    arch = tinyvit_arch(model, name, image)
    rates = [float(getattr(block, _drop(block)).drop_prob or 0.0) if _drop(block) else 0.0 for block in _blocks(model)]
    weights = {key: tensor.detach() for key, tensor in model.state_dict().items()}
    network = converted(weights, arch, timm_name, f"timm {name}", drop_path=rates)
    return network.train(model.training)


def tinyvit_arch(model: TinyVit, name: str, image: tuple[int, int]) -> Backbone:
    """The value of a timm TinyViT for images of this size."""
    stages: list[Any] = list(model.stages)
    blocks = [stage.blocks[0] for stage in stages[1:]]
    pool = getattr(model.head.global_pool, "pool_type", "")
    if pool != "avg":
        raise VitesseError(
            f"{name} has the pooling {pool!r}, for which Vitesse has no value. Choose global_pool='avg'."
        )
    conv = stages[0].blocks[0]
    dims = [conv.conv1.conv.in_channels, *(block.dim for block in blocks)]
    try:
        return tiny_vit(
            dims=dims,
            depths=[len(stage.blocks) for stage in stages],
            heads=[1, *(block.attn.num_heads for block in blocks)],
            windows=[1, *(block.window_size for block in blocks)],
            classes=model.num_classes,
            image=image,
            channels=model.in_chans,
            mlp_ratio=model.mlp_ratio,
            conv_ratio=conv.conv1.conv.out_channels / dims[0],
            kernel=blocks[0].local_conv.conv.kernel_size[0] if blocks else 3,
            act=activation_of(conv.act1, name),
        )
    except ValueError as error:
        raise VitesseError(f"{name} cannot be taken over: {error}") from error


def timm_name(name: str) -> str:
    """timm's name of a weight of ours."""
    theirs = published_name(name)
    if theirs.startswith("patch_embed.seq."):
        number, rest = theirs.removeprefix("patch_embed.seq.").split(".", 1)
        theirs = f"patch_embed.conv{int(number) // 2 + 1}.{rest}"
    if ".downsample." in theirs:
        number, rest = theirs.removeprefix("layers.").split(".", 1)
        theirs = f"layers.{int(number) + 1}.{rest}"
    if theirs.startswith("head."):
        return theirs.replace("head.", "head.fc.")
    return theirs.replace("norm_head.", "head.norm.").replace("layers.", "stages.").replace(".c.", ".conv.")


def to_timm_tinyvit(network: Network) -> dict[str, Tensor]:
    """The weights under timm's names and in its layout; VitesseError where timm's TinyViT cannot hold them."""
    arch = network.arch
    for stage in arch.stages[1:]:
        for block in stage.blocks:
            attention = block.branches[0]
            if not isinstance(attention, WindowAttention) or attention.heads * attention.head_dim != stage.dim:
                raise VitesseError("timm's TinyViT has heads that share the width, but this network has others.")
    return {timm_name(name): to_theirs(name, tensor, arch) for name, tensor in network.state_dict().items()}


def _blocks(model: TinyVit) -> list[Any]:
    stages: list[Any] = list(model.stages)
    return [block for stage in stages for block in stage.blocks]


def _drop(block: nn.Module) -> str:
    """The name of a block's stochastic depth; empty where it has none."""
    found = [name for name in ("drop_path", "drop_path1") if hasattr(getattr(block, name, None), "drop_prob")]
    return found[0] if found else ""
