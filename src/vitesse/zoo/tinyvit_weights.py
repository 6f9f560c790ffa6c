"""Published TinyViT weights become a network: names, and the order of q, k, v rows, once, at the door."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vitesse.arch import Backbone, WindowAttention, buffers, parameters
from vitesse.nets import Network, build
from vitesse.weights.slice import lengths
from vitesse.zoo.preprocessing import set_preprocessing
from vitesse.zoo.published import fed
from vitesse.zoo.strict import require_keys
from vitesse.zoo.tinyvit_settings import TinyViTSettings

_MBCONV = {"expand": "conv1", "depthwise": "conv2", "project": "conv3"}
_BLOCK = {
    "0.op.norm": "attn.norm",
    "0.op.qkv": "attn.qkv",
    "0.op.proj": "attn.proj",
    "0.op.position.offset_bias": "attn.attention_biases",
    "1.op.depthwise": "local_conv",
    "2.norm": "mlp.norm",
    "2.op.fc1": "mlp.fc1",
    "2.op.fc2": "mlp.fc2",
}
# Tables of places that older files hold: they follow from the window.
_DERIVED = "attention_bias_idxs"
_SEEN = "num_batches_tracked"

Rename = Callable[[str], str]


def tinyvit(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Network:
    """The network of a published state dict, in evaluation mode, as `from_published` gives it."""
    arch = TinyViTSettings.read(config).arch()
    network = converted(state, arch, published_name, "TinyViT", drop_path=float(config.get("drop_path_rate") or 0.0))
    set_preprocessing(network, fed(arch))
    return network


def converted(
    state: Mapping[str, Tensor], arch: Backbone, name_of: Rename, what: str, *, drop_path: float | Sequence[float] = 0.0
) -> Network:
    """The network of `arch` with weights that stand under other names, q, k and v of each head together."""
    state = {name: tensor for name, tensor in state.items() if not name.endswith(_DERIVED)}
    shapes = {name: lengths(shape) for name, shape in (parameters(arch) | buffers(arch)).items()}
    # How many batches the statistics saw changes nothing in what is computed, and some files leave it out.
    state |= {name_of(name): torch.tensor(0) for name in shapes if name.endswith(_SEEN) and name_of(name) not in state}
    require_keys(state, {name_of(name): shape for name, shape in shapes.items()}, what)
    network = build(arch, drop_path=drop_path).to(state[name_of("head.norm.weight")].dtype)
    network.load_state_dict({name: to_ours(name, state[name_of(name)], arch) for name in shapes})
    return network.eval()


def published_name(name: str) -> str:
    """The published name of a weight of ours."""
    stem, stages, head = "stem.convs.", "stages.", "head."
    if name.startswith(stem):
        number, rest = name.removeprefix(stem).split(".", 1)
        return f"patch_embed.seq.{2 * int(number)}.{_conv(rest)}"  # the activation stands between
    if name.startswith(head):
        return {"norm": "norm_head.", "classifier": "head."}[name.split(".")[1]] + name.rpartition(".")[2]
    stage, place, rest = name.removeprefix(stages).split(".", 2)
    if place == "down":
        part, rest = rest.split(".", 1)
        return f"layers.{int(stage) - 1}.downsample.{_MBCONV[part]}.{_conv(rest)}"
    block, rest = rest.split(".", 1)
    return f"layers.{stage}.blocks.{block}.{_in_block(rest)}"


def _in_block(name: str) -> str:
    for ours, theirs in _BLOCK.items():
        if name == ours or name.startswith(f"{ours}."):
            return theirs + _conv(name.removeprefix(ours))
    part, rest = name.removeprefix("0.op.").split(".", 1)
    return f"{_MBCONV[part]}.{_conv(rest)}"


def _conv(name: str) -> str:
    """The names within a convolution with its normalization."""
    first, dot, rest = name.removeprefix(".").partition(".")
    lead = "." if name.startswith(".") else ""
    return lead + {"conv": "c", "norm": "bn"}.get(first, first) + dot + rest


def to_ours(name: str, tensor: Tensor, arch: Backbone) -> Tensor:
    """A weight in our layout: the rows of `qkv` are all of q, then k, then v; theirs are q, k and v of each head."""
    if ".qkv." not in name:
        return tensor
    attention = _attention(name, arch)
    return _turned(tensor, attention.heads, 3)


def to_theirs(name: str, tensor: Tensor, arch: Backbone) -> Tensor:
    """The way back."""
    if ".qkv." not in name:
        return tensor
    attention = _attention(name, arch)
    return _turned(tensor, 3, attention.heads)


def _turned(tensor: Tensor, outer: int, inner: int) -> Tensor:
    """Rows that are (outer, inner, head_dim) as (inner, outer, head_dim)."""
    turned: Tensor = tensor.unflatten(0, (outer, inner, -1)).transpose(0, 1).flatten(0, 2)
    return turned


def _attention(name: str, arch: Backbone) -> WindowAttention:
    _, stage, _, block, branch, _ = name.split(".", 5)
    found = arch.stages[int(stage)].blocks[int(block)].branches[int(branch)]
    assert isinstance(found, WindowAttention)
    return found
