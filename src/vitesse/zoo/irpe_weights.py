"""Published weights of image relative position encoding: DeiT with it, and one encoding alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Grid,
    Head,
    ImageRelativePosition,
    LayerNorm,
    PatchEmbed,
    Stage,
)
from vitesse.errors import VitesseError
from vitesse.nets import Network, build
from vitesse.ops.image_position import ImagePositionTables
from vitesse.zoo.irpe_tables import from_theirs, position_value, table_shapes, to_theirs
from vitesse.zoo.preprocessing import set_preprocessing
from vitesse.zoo.published import IMAGENET
from vitesse.zoo.strict import require_keys
from vitesse.zoo.timm_models import from_timm_state, to_timm_state

# The published constructor's arguments with their defaults; those of training change no output of a trained network.
_DEFAULTS: Mapping[str, Any] = {
    **{"img_size": 224, "patch_size": 16, "in_chans": 3, "num_classes": 1000, "embed_dim": 768, "depth": 12},
    **{"num_heads": 12, "mlp_ratio": 4.0, "qkv_bias": False, "drop_path_rate": 0.0},
    **{"norm_layer": "LayerNorm(eps=1e-5)", "rpe_config": None},
}
_TRAINING = frozenset({"drop_rate", "attn_drop_rate"})
_LETTERS = {"query": "q", "key": "k", "value": "v"}


def deit_irpe(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Network:
    """The network of a published DeiT with image relative positions, in evaluation mode.

    `config` holds the constructor's arguments, `rpe_config` and `norm_layer`. A state dict with a distillation token gives
    the distilled variant, whose two classifiers are averaged. VitesseError for keys or shapes that are not those of
    `config`, and for settings that are not supported.
    """
    settings = _read(config)
    arch = deit_irpe_arch(settings, distilled="dist_token" in state)
    network = build(arch, drop_path=float(settings["drop_path_rate"]))
    plain = {name: tensor for name, tensor in state.items() if ".rpe_" not in name}
    shapes = {name: tuple(tensor.shape) for name, tensor in to_timm_state(network).items()}
    attention = arch.stages[0].blocks[0].branches[0]
    assert isinstance(attention, Attention)
    value = attention.position
    tables: dict[str, Tensor] = {}
    if isinstance(value, ImageRelativePosition):
        sizes = {"heads": attention.heads, "head_dim": attention.head_dim}
        prefixes = {
            f"blocks.{b}.attn.rpe_{_LETTERS[side]}.": (f"stages.0.blocks.{b}.0.op.position.", side)
            for b in range(arch.stages[0].depth)
            for side in value.sides
        }
        for theirs, (_, side) in prefixes.items():
            shapes |= {theirs + name: shape for name, shape in table_shapes(value, side, **sizes).items()}
    require_keys(state, shapes, "DeiT with iRPE")
    if isinstance(value, ImageRelativePosition):
        for theirs, (ours, side) in prefixes.items():
            found = {name.removeprefix(theirs): tensor for name, tensor in state.items() if name.startswith(theirs)}
            tables |= {ours + name: table for name, table in from_theirs(found, value, side).items()}
    if all(tensor.dtype == torch.float64 for tensor in state.values()):
        network.double()
    network.load_state_dict(from_timm_state(arch, plain) | tables)
    set_preprocessing(network, IMAGENET)
    return network.eval()


def deit_irpe_arch(settings: Mapping[str, Any], *, distilled: bool) -> Backbone:
    """The value of the published constructor's arguments; VitesseError where there is none."""
    width, heads = settings["embed_dim"], settings["num_heads"]
    if width % heads:
        raise VitesseError(f"num_heads must divide embed_dim, but got {heads} and {width}.")
    position = None
    if settings["rpe_config"] is not None:
        rpe = {("on" if name == "rpe_on" else name): item for name, item in settings["rpe_config"].items()}
        position = position_value(rpe)
    norm = _norm(settings["norm_layer"])
    attention = Attention(
        heads=heads, head_dim=width // heads, bias=bool(settings["qkv_bias"]), position=position, norm=norm
    )
    tokens = ("class", "distillation") if distilled else ("class",)
    try:
        return Backbone(
            stem=PatchEmbed(
                image=settings["img_size"], patch=settings["patch_size"], channels=settings["in_chans"], tokens=tokens
            ),
            stages=(
                Stage(
                    dim=width,
                    depth=settings["depth"],
                    block=Block(attention, MLP(ratio=settings["mlp_ratio"], norm=norm)),
                ),
            ),
            head=Head(classes=settings["num_classes"], pool="distilled" if distilled else "class", norm=norm),
        )
    except ValueError as error:
        raise VitesseError(f"DeiT with iRPE cannot be made of these settings: {error}") from error


class Encoding(nn.Module):
    """One published encoding alone: what it makes of queries or keys (B, heads, N, head_dim), or of probabilities.

    On "q or k": (B, heads, N, N), what is added to the scores; a bias does not depend on the input and is (1, heads or 1,
    N, N). On "v": (B, heads, N, N) to (B, heads, N, head_dim).
    """

    def __init__(self, value: ImageRelativePosition, grid: Grid, *, heads: int, head_dim: int) -> None:
        super().__init__()
        self.grid = grid
        self.tables = ImagePositionTables(value, heads, head_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Queries, keys or probabilities to terms."""
        on_values = self.tables.value.on == "v"
        return self.tables.value_terms(x, self.grid) if on_values else self.tables.key_terms(x, self.grid)

    def published(self, *, gradients: bool = False) -> dict[str, Tensor]:
        """The tables, or their gradients, under the published names and in the published layout."""
        value, ours = self.tables.value, dict(self.tables.named_parameters())
        found = {name: p.grad if gradients and p.grad is not None else p.detach() for name, p in ours.items()}
        return to_theirs(found, value, value.sides[0])


def irpe(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Encoding:
    """The encoding of published tables, in evaluation mode.

    `config`: method, mode, shared_head, on ("q or k", or "v"), height, width, skip, ratio, heads, head_dim; what else it
    holds is not looked at. VitesseError for keys or shapes that are not those of `config`.
    """
    names = ("height", "width", "heads", "head_dim", "skip", "on")
    missing = [name for name in names if name not in config]
    if missing:
        raise VitesseError(f"One encoding needs {', '.join(names)}, but got no {', '.join(missing)}.")
    settings = {name: config[name] for name in ("method", "mode", "shared_head", "skip", "ratio") if name in config}
    value = position_value({**settings, "on": "v" if config["on"] == "v" else "k"})
    sizes = {"heads": config["heads"], "head_dim": config["head_dim"]}
    side = value.sides[0]
    require_keys(state, table_shapes(value, side, **sizes), "iRPE")
    encoding = Encoding(value, Grid(config["height"], config["width"], config["skip"]), **sizes)
    encoding.tables.load_state_dict(from_theirs(state, value, side))
    return encoding.to(next(iter(state.values())).dtype).eval()


def _read(config: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in config.items() if value is not None and name not in _TRAINING}
    unknown = sorted(set(given) - set(_DEFAULTS))
    if unknown:
        raise VitesseError(
            f"DeiT with iRPE is supported with the settings {', '.join(sorted(_DEFAULTS))}, but got {', '.join(unknown)}."
        )
    return {**_DEFAULTS, **given}


def _norm(text: str) -> LayerNorm:
    """The value of a norm in words: LayerNorm(eps=1e-6), or LayerNorm for torch's own eps."""
    found = re.fullmatch(r"(?:nn\.)?LayerNorm(?:\(eps=([-+.0-9e]+)\))?", str(text))
    if found is None:
        raise VitesseError(f'norm_layer must read "LayerNorm(eps=1e-6)", but got {text!r}.')
    return LayerNorm(eps=float(found[1] or 1e-5))
