"""Published weights of S3 (AutoFormerV2) and Mini-Swin become networks of ours: names and layouts, once, at the door."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vitesse.arch import Backbone, ShiftedWindowAttention, parameters
from vitesse.nets import Network, build
from vitesse.weights.slice import lengths
from vitesse.zoo.preprocessing import set_preprocessing
from vitesse.zoo.published import IMAGENET
from vitesse.zoo.strict import require_keys
from vitesse.zoo.swin_settings import AutoFormerV2Settings, MiniSwinSettings

# Tables and masks that follow from the sizes.
DERIVED = ("relative_position_index", "attn_mask", "relative_coords_table")
FITS = "fit_dense_C."  # the maps from a student's width to that of its teacher, one for each stage
_ENDS = {
    "stem.proj": "patch_embed.proj",
    "stem.norm": "patch_embed.norm",
    "head.norm": "norm",
    "head.classifier": "head",
}
# Ours: theirs, of what the blocks of a group share, and of what each of them has for itself.
_SHARED = {"op.qkv": "attn.qkv", "op.proj": "attn.proj", "op.fc1": "mlp.fc1", "op.fc2": "mlp.fc2"}
_EACH = {
    "op.mix.before": "proj_l",
    "op.mix.after": "proj_w",
    "op.norm": "local_norm_list",
    "op.conv": "local_conv_list",
}

Rename = Callable[[str, Backbone], str]


def autoformerv2(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Network:
    """The network of a published S3 state dict, in evaluation mode, as `from_published` gives it."""
    settings = AutoFormerV2Settings.read(config)
    arch = settings.arch()
    network = converted(state, arch, published_name, "S3", drop_path=settings.drop_path_rate, scale=settings.qk_scale)
    set_preprocessing(network, IMAGENET)
    return network


def miniswin(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Network:
    """The network of a published Mini-Swin state dict, in evaluation mode; "miniswin_student" keeps what fits features."""
    settings = MiniSwinSettings.read(config)
    kept = {name: tensor for name, tensor in state.items() if not (settings.is_student and name.startswith(FITS))}
    network = converted(
        kept,
        settings.arch(),
        partial(published_name, listed=settings.is_sep_layernorm),
        "Mini-Swin",
        drop_path=settings.drop_path_rate,
        scale=settings.qk_scale,
    )
    set_preprocessing(network, IMAGENET)
    return network


def converted(
    state: Mapping[str, Tensor],
    arch: Backbone,
    name_of: Rename,
    what: str,
    *,
    drop_path: float | Sequence[float] = 0.0,
    scale: float | None = None,
) -> Network:
    """The network of `arch` with weights that stand under other names, in evaluation mode.

    scale: of the scores, where it is not 1 / sqrt(head_dim); it goes into the queries.
    """
    state = {name: tensor for name, tensor in state.items() if not name.endswith(DERIVED)}
    shapes = {name: lengths(shape) for name, shape in parameters(arch).items()}
    require_keys(state, {name_of(name, arch): their_shape(name, shape) for name, shape in shapes.items()}, what)
    network = build(arch, drop_path=drop_path).to(next(iter(state.values())).dtype)
    ours = {name: to_ours(name, state[name_of(name, arch)]).reshape(shapes[name]) for name in shapes}
    if scale:
        ours |= {name: _scaled(name, ours[name], arch, scale) for name in ours if ".qkv." in name}
    network.load_state_dict(ours)
    return network.eval()


def published_name(name: str, arch: Backbone, *, listed: bool = False) -> str:
    """The published name of a weight of ours; `listed`: each block of a group has norms of its own (is_sep_layernorm)."""
    module, _, part = name.rpartition(".")
    if name == "stem.position":
        return "absolute_pos_embed"
    if module in _ENDS:
        return f"{_ENDS[module]}.{part}"
    _, s, place, rest = module.split(".", 3)
    if place == "down":
        return f"layers.{int(s) - 1}.downsample.{rest}.{part}"
    b, k, rest = rest.split(".", 2)
    stage = arch.stages[int(s)]
    number, instance = divmod(int(b), stage.group)
    prefix = f"layers.{s}.blocks.{number}."
    if rest in _SHARED:
        return f"{prefix}{_SHARED[rest]}.{part}"
    if part == "offset_bias":
        return f"{prefix}attn.relative_position_bias_table"
    if rest in _EACH:
        return f"{prefix}{_EACH[rest]}.{instance}.{part}"
    norm = "norm1" if k == "0" else "norm2"
    return f"{prefix}{norm}_list.{instance}.{part}" if listed else f"{prefix}{norm}.{part}"


def their_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which a weight of ours of this shape is published."""
    if name.endswith(".offset_bias"):
        return shape[::-1]
    if name.endswith(".log_factor"):
        return (*shape, 1, 1)
    return (1, *shape) if name == "stem.position" else shape


def to_ours(name: str, tensor: Tensor) -> Tensor:
    """A published weight in our layout, up to dimensions of one entry."""
    return tensor.T if name.endswith(".offset_bias") else tensor


def _scaled(name: str, tensor: Tensor, arch: Backbone, scale: float) -> Tensor:
    """The rows of q times what makes scores of the scale."""
    _, s, _, b, k, _ = name.split(".", 5)
    attention = arch.stages[int(s)].blocks[int(b)].branches[int(k)]
    assert isinstance(attention, ShiftedWindowAttention)
    q, rest = tensor.tensor_split([attention.heads * attention.head_dim])
    return torch.cat([q * (scale * attention.head_dim**0.5), rest])
