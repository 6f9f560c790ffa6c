"""timm's vision transformers become networks of ours, with the same outputs.

`vit_*`, `deit*`, `tiny_vit_*`, `efficientvit_m*`, `swin_*`, `swinv2_*`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import timm
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.efficientvit_msra import EfficientVitMsra
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.tiny_vit import TinyVit
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vitesse.arch import Backbone, CascadedAttention, ConvStem, ShiftedWindowAttention
from vitesse.errors import VitesseError
from vitesse.nets import Network, build
from vitesse.zoo.preprocessing import set_preprocessing
from vitesse.zoo.published import MODELS
from vitesse.zoo.strict import require_keys
from vitesse.zoo.timm_arch import arch_of
from vitesse.zoo.timm_efficientvit import efficientvit_arch, efficientvit_of, to_timm_efficientvit
from vitesse.zoo.timm_swin import swin_arch, swin_of, to_timm_swin
from vitesse.zoo.timm_tinyvit import tinyvit_arch, tinyvit_of, to_timm_tinyvit

_STEM = {"stem.proj": "patch_embed.proj", "stem.norm": "norm_pre"}
_BLOCK = {
    "0.norm": "norm1",
    "0.op.qkv": "attn.qkv",
    "0.op.q_norm": "attn.q_norm",
    "0.op.k_norm": "attn.k_norm",
    "0.op.proj": "attn.proj",
    "1.norm": "norm2",
    "1.op.fc1": "mlp.fc1",
    "1.op.fc2": "mlp.fc2",
}
# The value and the network of each hierarchical kind.
_HIERARCHICAL: dict[type[nn.Module], tuple[Callable[..., Backbone], Callable[..., Network]]] = {
    EfficientVitMsra: (efficientvit_arch, efficientvit_of),
    SwinTransformer: (swin_arch, swin_of),
    SwinTransformerV2: (swin_arch, swin_of),
    TinyVit: (tinyvit_arch, tinyvit_of),
}
_TOKENS = {"class": "cls_token", "distillation": "dist_token", "register": "reg_token"}


def from_timm(model: nn.Module | str, *, pretrained: bool = True) -> Network:
    """The network of a timm VisionTransformer, TinyViT, EfficientViT (MSRA), Swin or SwinV2, with weights and preprocessing.

    `model` is a model or a name, whose pretrained weights are loaded unless `pretrained` is False. Stochastic depth is
    carried over, dropout is not. VitesseError for an unknown name (with the closest ones), for a model of another kind,
    and for a feature that has no value here, named.
    """
    if isinstance(model, str):
        model = _create(model, pretrained)
    name = _name(model)
    if type(model) in _HIERARCHICAL:
        _, taken = _HIERARCHICAL[type(model)]
        network = taken(model, name, _image(model))
        set_preprocessing(network, _cfg(model))
        return network
    if not isinstance(model, VisionTransformer) or type(model) not in (VisionTransformer, VisionTransformerDistilled):
        raise VitesseError(
            f"{name} is a {type(model).__name__}, but only timm's plain VisionTransformer (vit_*, deit_*, deit3_*), "
            "TinyVit, EfficientVitMsra, SwinTransformer and SwinTransformerV2 can be taken over. "
            "As a teacher it can be used as it is."
        )
    arch = arch_of(model, name)
    rates = [float(getattr(block.drop_path1, "drop_prob", 0.0) or 0.0) for block in model.blocks]
    weights = {key: tensor.detach() for key, tensor in model.state_dict().items()}
    network = build(arch, drop_path=rates)
    shapes = {key: tuple(tensor.shape) for key, tensor in to_timm_state(network).items()}
    require_keys(weights, shapes, f"timm {name}")
    network.to(next(iter(weights.values())).dtype).load_state_dict(from_timm_state(arch, weights))
    set_preprocessing(network, _cfg(model))
    return network.train(model.training)


def to_timm_state(network: Network) -> dict[str, Tensor]:
    """The weights of a network that a model of timm's that `from_timm` takes can hold, as timm has them."""
    arch, state = network.arch, network.state_dict()
    if not isinstance(arch, Backbone):
        raise VitesseError("timm has no networks of cells, so none of its models can hold these weights.")
    first = arch.stages[0].blocks[0].branches
    if any(isinstance(branch, CascadedAttention) for branch in first):
        return to_timm_efficientvit(network)
    if any(isinstance(branch, ShiftedWindowAttention) for branch in first):
        return to_timm_swin(network)
    if isinstance(arch.stem, ConvStem):
        return to_timm_tinyvit(network)
    theirs = {their: state[our] for our, their in _names(arch, state).items()}
    kinds = arch.stem.tokens
    for kind, name in _TOKENS.items():
        rows = [i for i, token in enumerate(kinds) if token == kind]
        if rows:
            theirs[name] = state["stem.tokens"][rows][None]
    return theirs | ({"pos_embed": state["stem.position"][None]} if "stem.position" in state else {})


def from_timm_state(arch: Backbone, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under timm's names, in its layout, as ours; those that timm has no name for are not in it."""
    names = _names(arch, None)
    ours = {our: weights[their] for our, their in names.items() if their in weights}
    tokens = [weights[name][0] for kind, name in _TOKENS.items() if kind in arch.stem.tokens]
    ours |= {"stem.tokens": torch.cat(tokens)} if tokens else {}
    return ours | ({"stem.position": weights["pos_embed"][0]} if "pos_embed" in weights else {})


def _names(arch: Backbone, state: dict[str, Tensor] | None) -> dict[str, str]:
    """Our names and timm's of every parameter that is laid out alike; only those in `state` where one is given."""
    modules = _STEM | {
        "head.norm": "norm" if arch.head.norm_first else "fc_norm",
        "head.classifier": "head",
        "head.classifier_distilled": "head_dist",
    }
    scales: dict[str, str] = {}
    for b in range(arch.stages[0].depth):
        modules |= {f"stages.0.blocks.{b}.{our}": f"blocks.{b}.{their}" for our, their in _BLOCK.items()}
        scales |= {f"stages.0.blocks.{b}.{k}.scale": f"blocks.{b}.ls{k + 1}.gamma" for k in range(2)}
    names = {f"{our}.{part}": f"{their}.{part}" for our, their in modules.items() for part in ("weight", "bias")}
    return {our: their for our, their in (names | scales).items() if state is None or our in state}


def _create(name: str, pretrained: bool) -> nn.Module:
    plain = name.partition(":")[0] == name and not timm.is_model(name.partition(".")[0])
    if plain:
        known = [*timm.list_models(), *(f"vitesse_{model.name}" for model in MODELS)]
        close = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
        raise VitesseError(
            f"timm {timm.__version__} has no model named {name!r}. "
            + (f"The closest names are {', '.join(close)}." if close else "timm.list_models() gives all names.")
        )
    with torch.device("meta"):
        empty = timm.create_model(name, pretrained=False)
    if type(empty) in (VisionTransformer, VisionTransformerDistilled):
        arch_of(empty, name)  # what cannot be taken over is refused before its weights are fetched
    elif type(empty) in _HIERARCHICAL:
        _HIERARCHICAL[type(empty)][0](empty, name, _image(empty))
    try:
        return timm.create_model(name, pretrained=pretrained)
    except (OSError, RuntimeError, ValueError) as error:
        raise VitesseError(f"The weights of {name} could not be loaded: {error}") from error


def _name(model: nn.Module) -> str:
    cfg = _cfg(model)
    return str(cfg.get("architecture") or type(model).__name__)


def _image(model: nn.Module) -> tuple[int, int]:
    """The size of the images that a model was made for, where its modules do not say it."""
    _, height, width = _cfg(model).get("input_size") or (3, 224, 224)
    return height, width


def _cfg(model: nn.Module) -> dict[str, Any]:
    cfg = getattr(model, "pretrained_cfg", None)
    return dict(cfg) if isinstance(cfg, dict) else {}
