"""Published Mini-DeiT weights become a network of ours: names and layouts, once, at the door."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vitesse.arch import Attention, Backbone, ImageRelativePosition, parameters
from vitesse.nets import Network, build
from vitesse.weights.slice import lengths
from vitesse.zoo.irpe_tables import from_theirs, table_shapes
from vitesse.zoo.minideit_settings import MiniDeiTSettings, arch_of
from vitesse.zoo.preprocessing import set_preprocessing
from vitesse.zoo.published import IMAGENET
from vitesse.zoo.strict import require_keys

# Ours: theirs, of what each block of a group has for itself, and of what the group has once.
_OWN = {"0.norm": "norm1", "1.norm": "norm2", "0.op.mix.before": "attn.conv_l", "0.op.mix.after": "attn.conv_w"}
_LETTERS = {"query": "q", "key": "k", "value": "v"}
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
    ours = {name: state[their].reshape(shapes[name]) for name, their in theirs(arch).items()}
    network.load_state_dict(ours | _tables(state, arch))
    set_preprocessing(network, IMAGENET)
    return network.eval()


def theirs(arch: Backbone) -> dict[str, str]:
    """The published name of each of our parameters, but for relative positions, which are laid out otherwise."""
    fixed = {
        "stem.tokens": "cls_token",
        "stem.position": "pos_embed",
        **{f"stem.proj.{part}": f"patch_embed.proj.{part}" for part in ("weight", "bias")},
        **{f"head.norm.{part}": f"norm.{part}" for part in ("weight", "bias")},
        **{f"head.classifier.{part}": f"head.{part}" for part in ("weight", "bias")},
    }
    names = (name for name in parameters(arch) if ".position." not in name)
    return {name: fixed.get(name) or _block_name(name, arch.stages[0].group) for name in names}


def shapes_of(arch: Backbone) -> dict[str, tuple[int, ...]]:
    """The published names and shapes of the weights of `arch`."""
    shapes = {name: lengths(shape) for name, shape in parameters(arch).items()}
    found = {their: _their_shape(name, shapes[name]) for name, their in theirs(arch).items()}
    attention = _attention(arch)
    for _, their, side in _places(arch):
        assert isinstance(attention.position, ImageRelativePosition)
        tables = table_shapes(attention.position, side, heads=attention.heads, head_dim=attention.head_dim)
        found |= {their + name: shape for name, shape in tables.items()}
    return found


def _block_name(name: str, group: int) -> str:
    """`stages.0.blocks.3.0.norm.weight` is `blocks.1.block.norm1.instances.1.weight` where two blocks share."""
    _, _, _, block, *rest = name.split(".")
    number, instance = divmod(int(block), group)
    module, part = ".".join(rest[:-1]), rest[-1]
    if module in _SHARED:
        return f"blocks.{number}.block.{_SHARED[module]}.{part}"
    return f"blocks.{number}.block.{_OWN[module]}.instances.{instance}.{part}"


def _their_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if name in ("stem.position", "stem.tokens"):
        return (1, *shape)
    return (*shape, 1, 1) if ".mix." in name else shape


def _places(arch: Backbone) -> Iterator[tuple[str, str, str]]:
    """Where relative positions stand, block by block and side by side: our prefix, theirs, and the side."""
    stage, value = arch.stages[0], _attention(arch).position
    for b in range(stage.depth):
        number, instance = divmod(b, stage.group)
        for side in () if value is None else value.sides:
            their = f"blocks.{number}.block.attn.rpe_{_LETTERS[side]}.instances.{instance}."
            yield f"stages.0.blocks.{b}.0.op.position.", their, side


def _attention(arch: Backbone) -> Attention:
    attention = arch.stages[0].blocks[0].branches[0]
    assert isinstance(attention, Attention)
    return attention


def _tables(state: Mapping[str, Tensor], arch: Backbone) -> dict[str, Tensor]:
    """The tables of relative positions under our names."""
    found: dict[str, Tensor] = {}
    value = _attention(arch).position
    for ours, their, side in _places(arch):
        assert isinstance(value, ImageRelativePosition)
        tables = {name.removeprefix(their): tensor for name, tensor in state.items() if name.startswith(their)}
        found |= {ours + name: table for name, table in from_theirs(tables, value, side).items()}
    return found
