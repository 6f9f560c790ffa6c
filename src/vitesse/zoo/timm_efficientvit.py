"""timm's EfficientViT of MSRA becomes a network of ours and goes back: the same weights under other names."""

from __future__ import annotations

from typing import Any

from timm.models.efficientvit_msra import EfficientVitMsra
from torch import Tensor, nn

from vitesse.arch import Backbone, CascadedAttention
from vitesse.errors import VitesseError
from vitesse.nets import Network
from vitesse.zoo.efficientvit import efficientvit
from vitesse.zoo.efficientvit_weights import DOWN_PARTS, converted, published_name, to_theirs

_DOWN = ("res1", "patchmerge", "res2")


def efficientvit_of(model: EfficientVitMsra, name: str, image: tuple[int, int]) -> Network:
    """The network of a timm EfficientViT, in the same mode; VitesseError names what has no value here."""
    arch = efficientvit_arch(model, name, image)
    weights = {key: tensor.detach() for key, tensor in model.state_dict().items()}
    return converted(weights, arch, timm_name, f"timm {name}").train(model.training)


def efficientvit_arch(model: EfficientVitMsra, name: str, image: tuple[int, int]) -> Backbone:
    """The value of a timm EfficientViT for images of this size."""
    stages: list[Any] = list(model.stages)
    pool = getattr(model.global_pool, "pool_type", "")
    if pool != "avg":
        raise VitesseError(
            f"{name} has the pooling {pool!r}, for which Vitesse has no value. Choose global_pool='avg'."
        )
    steps = [1 if isinstance(stage.downsample, nn.Identity) else stage.stride for stage in stages]
    if steps != [1] + [2] * (len(stages) - 1):
        raise VitesseError(
            f"{name} has the strides {steps} into its stages, but Vitesse has 2 into each but the first."
        )
    attentions = [stage.blocks[0].mixer.m.attn for stage in stages]
    kernels = max(([head.conv.kernel_size[0] for head in one.dws] for one in attentions), key=len)
    try:
        return efficientvit(
            dims=[stage.blocks[0].dw0.m.conv.in_channels for stage in stages],
            depths=[len(stage.blocks) for stage in stages],
            heads=[one.num_heads for one in attentions],
            kernels=kernels,
            windows=[one.resolution for one in attentions],
            classes=model.num_classes,
            image=image,
            key_dims=[one.key_dim for one in attentions],
            channels=model.in_chans,
        )
    except ValueError as error:
        raise VitesseError(f"{name} cannot be taken over: {error}") from error


def timm_name(name: str) -> str:
    """timm's name of a weight of ours."""
    theirs = published_name(name).replace(".c.", ".conv.")
    first, rest = theirs.split(".", 1)
    if first == "patch_embed":
        number, rest = rest.split(".", 1)
        return f"patch_embed.conv{int(number) // 2 + 1}.{rest}"
    if first == "head":
        return theirs.replace("head.l.", "head.linear.")
    stage = int(first.removeprefix("blocks")) - 1
    number, rest = rest.split(".", 1)
    if stage and int(number) < DOWN_PARTS:
        return f"stages.{stage}.downsample.{_DOWN[int(number)]}.{rest}"
    block = int(number) - (DOWN_PARTS if stage else 0)
    return f"stages.{stage}.blocks.{block}.{rest}"


def to_timm_efficientvit(network: Network) -> dict[str, Tensor]:
    """The weights under timm's names and in its layout; VitesseError where timm's EfficientViT cannot hold them."""
    if _of_family(network.arch) != network.arch:
        raise VitesseError(
            "timm's EfficientViT has sandwiches with kernels of 3, ratios of 2 and ReLU, groups, a stem of 4 convolutions and "
            "one classifier, but this network has others."
        )
    return to_theirs(network.state_dict(), timm_name)


def _of_family(arch: Backbone) -> Backbone | None:
    """The network of the family that has the sizes of `arch`; None where no block has a cascade in its middle."""
    middles = [stage.blocks[0].branches[len(stage.blocks[0].branches) // 2] for stage in arch.stages]
    attentions = [one for one in middles if isinstance(one, CascadedAttention)]
    if len(attentions) < len(middles):
        return None
    return efficientvit(
        dims=[stage.dim for stage in arch.stages],
        depths=[stage.depth for stage in arch.stages],
        heads=[one.heads for one in attentions],
        kernels=max((one.kernels for one in attentions), key=len),
        windows=[one.window for one in attentions],
        classes=arch.head.classes,
        image=arch.stem.image,
        key_dims=[one.key_dim for one in attentions],
        channels=arch.stem.channels,
    )
