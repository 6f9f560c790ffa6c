"""Published AutoFormer weights become a `Supernet`: names, layouts and the order of q, k, v rows, once, at the door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vitesse.supernet import Supernet
from vitesse.zoo.autoformer import host, space
from vitesse.zoo.autoformer_settings import AutoFormerSettings
from vitesse.zoo.preprocessing import set_preprocessing
from vitesse.zoo.published import IMAGENET
from vitesse.zoo.strict import require_keys

# Ours: (theirs of one block).
_BLOCK = {
    "0.norm": "attn_layer_norm",
    "0.op.proj": "attn.proj",
    "1.norm": "ffn_layer_norm",
    "1.op.fc1": "fc1",
    "1.op.fc2": "fc2",
}


def autoformer(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Supernet:
    """The supernet of a published state dict, in evaluation mode.

    `config` holds the published constructor's arguments and, where there are any, the `choices`. VitesseError for keys
    or shapes that are not those of `config`, and for settings that are not supported.
    """
    settings = AutoFormerSettings.read(config)
    require_keys(state, _shapes(settings), "AutoFormer")
    supernet = Supernet(space(config), host=host(config), drop_path=settings.drop_path_rate)
    if all(tensor.dtype == torch.float64 for tensor in state.values()):
        supernet.double()
    supernet.network.load_state_dict(_converted(state, settings))
    set_preprocessing(supernet.network, IMAGENET)
    return supernet.eval()


def _shapes(settings: AutoFormerSettings) -> dict[str, tuple[int, ...]]:
    """The keys of the published state dict and their shapes."""
    width, patches = settings.embed_dim, settings.grid[0] * settings.grid[1]
    hidden = int(settings.mlp_ratio * width)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "patch_embed_super.proj.weight": (width, settings.in_chans, *settings.patch_size),
        "patch_embed_super.proj.bias": (width,),
    }
    if settings.abs_pos:
        shapes["pos_embed"] = (1, patches + 1, width)
    for b in range(settings.depth):
        prefix = f"blocks.{b}."
        shapes |= _linear(prefix + "attn.qkv", 3 * width, width, bias=settings.qkv_bias)
        shapes |= _linear(prefix + "attn.proj", width, width) | _norm(prefix + "attn_layer_norm", width)
        shapes |= _linear(prefix + "fc1", hidden, width) | _linear(prefix + "fc2", width, hidden)
        shapes |= _norm(prefix + "ffn_layer_norm", width)
        if settings.relative_position:
            table = (2 * settings.max_relative_position + 2, width // settings.num_heads)
            shapes |= {
                f"{prefix}attn.rel_pos_embed_{side}.embeddings_table_{axis}": table for side in "kv" for axis in "vh"
            }
    shapes |= _norm("norm", width)
    return shapes | (_linear("head", settings.num_classes, width) if settings.num_classes else {})


def _linear(name: str, rows: int, columns: int, *, bias: bool = True) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns)} | ({f"{name}.bias": (rows,)} if bias else {})


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _converted(state: Mapping[str, Tensor], settings: AutoFormerSettings) -> dict[str, Tensor]:
    """Published names and layouts to ours."""
    ours = {"stem.tokens": state["cls_token"][0]}
    if settings.abs_pos:
        ours["stem.position"] = state["pos_embed"][0]
    pairs = {"stem.proj": "patch_embed_super.proj", "head.norm": "norm"}
    pairs |= {"head.classifier": "head"} if settings.num_classes else {}
    for b in range(settings.depth):
        block = f"stages.0.blocks.{b}"
        pairs |= {f"{block}.{name}": f"blocks.{b}.{theirs}" for name, theirs in _BLOCK.items()}
        attention = _attention(state, f"blocks.{b}.attn", settings)
        ours |= {f"{block}.0.op.{name}": tensor for name, tensor in attention.items()}
    for name, theirs in pairs.items():
        ours |= {f"{name}.{part}": state[f"{theirs}.{part}"] for part in ("weight", "bias")}
    # Storage beyond the last whole head is used by no network.
    width = settings.heads * settings.head_dim
    return {name: tensor[:, :width] if name.endswith("op.proj.weight") else tensor for name, tensor in ours.items()}


def _attention(state: Mapping[str, Tensor], name: str, settings: AutoFormerSettings) -> dict[str, Tensor]:
    width = settings.heads * settings.head_dim
    weight = state[f"{name}.qkv.weight"][: 3 * width]
    if settings.change_qkv:
        # Row 3 * i + t is row i of q, k or v (t = 0, 1, 2); ours are all of q, then k, then v.
        weight = weight.unflatten(0, (width, 3)).transpose(0, 1).flatten(0, 1)
    ours = {"qkv.weight": weight}
    if settings.qkv_bias:
        # The bias is not interleaved: it stays as it lies, see Attention.bias "packed".
        ours["qkv.bias"] = state[f"{name}.qkv.bias"][: 3 * width]
    if settings.relative_position:
        for ours_side, side in (("key", "k"), ("value", "v")):
            rows, columns = (
                state[f"{name}.rel_pos_embed_{side}.embeddings_table_{axis}"][:, : settings.head_dim] for axis in "vh"
            )
            # Entry 0 of a table is that of pairs with the class token.
            ours[f"position.{ours_side}_rows"], ours[f"position.{ours_side}_columns"] = rows[1:], columns[1:]
            ours[f"position.{ours_side}_extra"] = torch.stack([rows[0], columns[0]])
    return ours
