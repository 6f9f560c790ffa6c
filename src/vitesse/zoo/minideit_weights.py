"""Published Mini-DeiT weights become a network of ours: names and layouts, once, at the door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vitesse.arch import Backbone, parameters
from vitesse.nets import Network, build
from vitesse.weights.slice import lengths
from vitesse.zoo.minideit import MiniDeiTSettings, arch_of
from vitesse.zoo.preprocessing import set_preprocessing
from vitesse.zoo.published import IMAGENET
from vitesse.zoo.strict import require_keys

# Ours: theirs, of what each block of a group has for itself, and of what the group has once.
_OWN = {"0.norm": "norm1", "1.norm": "norm2", "0.op.mix.before": "attn.conv_l", "0.op.mix.after": "attn.conv_w"}
_SHARED = {"0.op.qkv": "attn.qkv", "0.op.proj": "attn.proj", "1.op.fc1": "mlp.fc1", "1.op.fc2": "mlp.fc2"}


def minideit(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Network:
    """The network of a published state dict, in evaluation mode.

    `config` holds the published constructor's arguments and beside them `rpe_config` and `norm_layer`. VitesseError for
    keys or shapes that are not those of `config`, and for settings that are not supported.
    """
    settings = MiniDeiTSettings.read(config)
    arch = arch_of(settings)
    require_keys(state, shapes_of(arch), "Mini-DeiT")
    network = build(arch, drop_path=settings.drop_path_rate)
    if all(tensor.dtype == torch.float64 for tensor in state.values()):
        network.double()
    shapes = {name: lengths(shape) for name, shape in parameters(arch).items()}
    network.load_state_dict({ours: _ours(ours, state[name], shapes[ours]) for ours, name in theirs(arch).items()})
    set_preprocessing(network, IMAGENET)
    return network.eval()


def theirs(arch: Backbone) -> dict[str, str]:
    """The published name of each of our parameters."""
    fixed = {
        "stem.tokens": "cls_token",
        "stem.position": "pos_embed",
        **{f"stem.proj.{part}": f"patch_embed.proj.{part}" for part in ("weight", "bias")},
        **{f"head.norm.{part}": f"norm.{part}" for part in ("weight", "bias")},
        **{f"head.classifier.{part}": f"head.{part}" for part in ("weight", "bias")},
    }
    return {name: fixed.get(name) or _block_name(name, arch.stages[0].group) for name in parameters(arch)}


def shapes_of(arch: Backbone) -> dict[str, tuple[int, ...]]:
    """The published names and shapes of the weights of `arch`."""
    names = theirs(arch)
    return {names[name]: _their_shape(name, lengths(shape)) for name, shape in parameters(arch).items()}


def _block_name(name: str, group: int) -> str:
    """`stages.0.blocks.3.0.norm.weight` is `blocks.1.block.norm1.instances.1.weight` where two blocks share."""
    _, _, _, block, *rest = name.split(".")
    number, instance = divmod(int(block), group)
    module, part = ".".join(rest[:-1]), rest[-1]
    prefix = f"blocks.{number}.block"
    if module in _SHARED:
        return f"{prefix}.{_SHARED[module]}.{part}"
    if module in _OWN:
        return f"{prefix}.{_OWN[module]}.instances.{instance}.{part}"
    side = part[0]  # key_table, query_table, value_table
    return f"{prefix}.attn.rpe_{side}.instances.{instance}.lookup_table_weight"


def _their_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if name in ("stem.position",):
        return (1, *shape)
    if name == "stem.tokens":
        return (1, 1, shape[-1])
    if ".mix." in name:
        return (*shape, 1, 1)
    if ".position." in name:
        return (1, shape[-1], shape[0] * shape[1])
    return shape


def _ours(name: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    if ".position." in name:
        return tensor[0].T.reshape(shape)
    return tensor.reshape(shape)
