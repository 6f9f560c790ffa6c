"""Published EfficientViT weights become a network: names, the rows of q, k, v, and what was folded, once, at the door."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vitesse.arch import Backbone, BatchNorm, tensors
from vitesse.nets import Network, build
from vitesse.weights.slice import lengths
from vitesse.zoo.efficientvit_settings import EfficientViTSettings
from vitesse.zoo.preprocessing import set_preprocessing
from vitesse.zoo.published import fed
from vitesse.zoo.resolution import resized_table
from vitesse.zoo.strict import require_keys

_MERGING = {"expand": "conv1", "depthwise": "conv2", "project": "conv3"}
_SQUEEZE = {"reduce": "fc1", "restore": "fc2"}
_MLP = {"expand": "pw1", "project": "pw2"}
_INNER = {"conv": "c", "norm": "bn"}
_HEAD = {
    "norm": "head.bn",
    "classifier": "head.l",
    "norm_distilled": "head_dist.bn",
    "classifier_distilled": "head_dist.l",
}
_BRANCHES = ("dw0", "ffn0", "mixer", "dw1", "ffn1")
DOWN_PARTS = 3  # modules of what leads into a stage, which stand before its blocks
TABLE = "attention_biases"
# Tables of places, which follow from the window.
_DERIVED = "attention_bias_idxs"
_SEEN = "num_batches_tracked"
# The weight and the variance of a batch normalization that changes nothing: w / sqrt(1 + eps) = 1.
_NOTHING = {"weight": math.sqrt(1 + BatchNorm().eps), "running_var": 1.0}

Rename = Callable[[str], str]


def efficientvit(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Network:
    """The network of a published state dict, folded or not, in evaluation mode, as `from_published` gives it.

    A folded convolution keeps its weights; its batch normalization has the folded bias and else does nothing in evaluation,
    so that the network is one like any other. Tables of biases of other windows are interpolated (bicubic).
    """
    settings = EfficientViTSettings.read(config)
    arch = settings.arch()
    if settings.detector:  # whose backbone is given the weights of a classifier
        state = {name: tensor for name, tensor in state.items() if not name.startswith("head")}
    network = converted(state, arch, published_name, "EfficientViT")
    set_preprocessing(network, fed(arch))
    return network


def converted(state: Mapping[str, Tensor], arch: Backbone, name_of: Rename, what: str) -> Network:
    """The network of `arch` with weights that stand under other names, q, k and v of a head in one convolution."""
    state = {name: tensor for name, tensor in state.items() if not name.endswith(_DERIVED)}
    shapes = {name: lengths(shape) for name, shape in tensors(arch).items()}
    theirs = their_shapes(shapes, name_of)
    if not any(name.endswith("running_mean") for name in state):
        state = unfolded(state, theirs)
    # How many batches the statistics saw changes nothing in what is computed, and some files leave it out.
    state |= {name: torch.tensor(0) for name in theirs if name.endswith(_SEEN) and name not in state}
    state = {name: _fitting(name, tensor, theirs.get(name)) for name, tensor in state.items()}
    require_keys(state, theirs, what)
    network = build(arch).to(next(tensor.dtype for tensor in state.values() if tensor.is_floating_point()))
    network.load_state_dict({name: to_ours(name, state[name_of(name)], shape) for name, shape in shapes.items()})
    return network.eval()


def published_name(name: str) -> str:
    """The published name of a weight of ours; queries with keys, and values, have one name there."""
    first, rest = name.split(".", 1)
    if first == "stem":
        number, inner = rest.removeprefix("convs.").split(".", 1)
        return f"patch_embed.{2 * int(number)}.{_conv(inner)}"  # the activation stands between
    if first == "head":
        part, leaf = rest.split(".")
        return f"{_HEAD[part]}.{leaf}"
    stage, place, rest = rest.split(".", 2)
    lead = f"blocks{int(stage) + 1}"
    if place == "down":
        return f"{lead}.{_in_down(rest)}"
    block, branch, rest = rest.split(".", 2)
    index = int(block) + (DOWN_PARTS if int(stage) else 0)
    return f"{lead}.{index}.{_BRANCHES[int(branch)]}.m.{_in_branch(rest.removeprefix('op.'))}"


def _in_down(name: str) -> str:
    part, rest = name.split(".", 1)
    if part in _MERGING:
        return f"1.{_MERGING[part]}.{_conv(rest)}"
    if part == "squeeze":
        layer, leaf = rest.split(".")
        return f"1.se.{_SQUEEZE[layer]}.{leaf}"
    side, kind = part.split("_")
    number = {"before": 0, "after": 2}[side]
    if kind == "local":
        return f"{number}.0.m.{_conv(rest)}"
    return f"{number}.1.m.{_mlp(rest)}"


def _in_branch(name: str) -> str:
    part, rest = name.split(".", 1)
    if part == "depthwise":
        return _conv(rest)
    if part == "position":
        return f"attn.{TABLE}"
    if part == "heads":
        head, layer, inner = rest.split(".", 2)
        return f"attn.{'dws' if layer == 'local' else 'qkvs'}.{head}.{_conv(inner)}"
    return f"attn.proj.1.{_conv(rest)}" if part == "proj" else _mlp(name)  # an activation stands before


def _mlp(name: str) -> str:
    part, rest = name.split(".", 1)
    return f"{_MLP[part]}.{_conv(rest)}"


def _conv(name: str) -> str:
    """The names within a convolution with its normalization."""
    part, leaf = name.split(".")
    return f"{_INNER[part]}.{leaf}"


def their_shapes(shapes: Mapping[str, tuple[int, ...]], name_of: Rename) -> dict[str, tuple[int, ...]]:
    """The shapes under other names; of two tensors with one name the rows stand in one."""
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        before = found.get(name_of(name))
        found[name_of(name)] = shape if not before else (before[0] + shape[0], *shape[1:])
    return found


def to_ours(name: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A weight of ours of this shape out of theirs: q and k are the first rows of their one convolution, v the last."""
    if ".heads." not in name or not shape:
        return tensor
    return tensor[-shape[0] :] if ".value." in name else tensor[: shape[0]]


def to_theirs(state: Mapping[str, Tensor], name_of: Rename) -> dict[str, Tensor]:
    """The way back: all weights under their names."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        before = found.get(name_of(name))
        found[name_of(name)] = tensor if before is None or not tensor.ndim else torch.cat([before, tensor])
    return found


def unfolded(state: Mapping[str, Tensor], theirs: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights into which batch normalization was folded, beside normalizations that change nothing but add the bias."""
    found = dict(state)
    for name, shape in theirs.items():
        module, _, leaf = name.rpartition(".")
        outer, _, part = module.rpartition(".")
        if part in ("c", "l") and f"{outer}.{leaf}" in found:
            found[name] = found.pop(f"{outer}.{leaf}")
        elif part == "bn" and leaf != _SEEN:
            bias = found.pop(f"{outer}.bias", None) if leaf == "bias" and f"{outer}.c.weight" in theirs else None
            found[name] = torch.full(shape, _NOTHING.get(leaf, 0.0)) if bias is None else bias
    return found


def _fitting(name: str, tensor: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    """A 1x1 convolution that is stored as a matrix, and a table of another window, in their expected shape."""
    if shape is None or tuple(tensor.shape) == shape:
        return tensor
    if len(shape) == 4 and tensor.ndim == 2:
        return tensor[:, :, None, None]
    square = tensor.ndim == 2 and math.isqrt(tensor.shape[1]) ** 2 == tensor.shape[1]
    return resized_table(tensor, shape) if name.endswith(TABLE) and square else tensor
