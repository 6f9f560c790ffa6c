"""Published weights of Cream and of CDARTS' chains become a network or a supernet: names and one shape, at the door."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from vitesse.arch import Backbone, Options, tensors
from vitesse.arch.choice import options
from vitesse.nets import Network, build
from vitesse.supernet import Supernet
from vitesse.weights.slice import lengths
from vitesse.zoo.cream import Layer, Slot, places
from vitesse.zoo.cream_settings import CreamSettings
from vitesse.zoo.preprocessing import set_preprocessing
from vitesse.zoo.published import fed
from vitesse.zoo.strict import require_keys

# The published names of what a layer is made of, by its kind.
_PARTS = {
    "ir": {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")},
    "ds": {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")},
    "cn": {"project": ("conv", "bn1")},
}
_GATE = {"reduce": "se.conv_reduce", "restore": "se.conv_expand"}
_ENDS = {
    "stem.convs.0.conv": "conv_stem",
    "stem.convs.0.norm": "bn1",
    "head.hidden": "conv_head",
    "head.classifier": "classifier",
}
MOST = 9  # candidates of a layer
META = "meta_layer."  # the network that matches teachers with students in the search, no part of any network


def cream(state: Mapping[str, Any], config: Mapping[str, Any]) -> Network:
    """The network of a published state dict, or of a whole checkpoint, in evaluation mode, as `from_published` gives it.

    Of a checkpoint the averaged weights are taken where there are some, as the published figures are theirs.
    """
    settings = CreamSettings.read(config)
    slots = settings.slots()
    arch = settings.arch(slots)
    network = _loaded(build(arch), weights_of(state), names(slots, arch, settings.stem_size), "Cream")
    set_preprocessing(network, fed(arch))
    return network


def cream_supernet(state: Mapping[str, Any], config: Mapping[str, Any]) -> Supernet:
    """The supernet of a published state dict, to be called as `net(images, arch)`; a layer may also be left out.

    The weights that match teachers with students (`meta_layer`) are no part of it, nor those of candidates that no path
    names (`CreamSettings.open_slots`).
    """
    settings = CreamSettings.read(config)
    slots = settings.open_slots()
    supernet = Supernet(settings.arch(slots, skip=True))
    theirs = names(slots, supernet.host, settings.stem_size, indexed=True)
    apart = (META, *(f"blocks.{s}.{n}.{i}." for s, n, i in _beyond(slots)))
    state = {name: tensor for name, tensor in weights_of(state).items() if not name.startswith(apart)}
    _loaded(supernet.network, state, theirs, "Cream supernet")
    return supernet.eval()


def _beyond(slots: Sequence[Sequence[Slot]]) -> Iterator[tuple[int, int, int]]:
    """(stage, layer, candidate) of the last convolutions that no path names."""
    for s, stage in enumerate(slots):
        for n, slot in enumerate(stage):
            if slot[0].kind == "cn":
                yield from ((s, n, i) for i in range(1, MOST))


def weights_of(found: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """The weights in a state dict, or in a checkpoint of the published training: the averaged ones where there are some."""
    for name in ("state_dict_ema", "state_dict"):
        if isinstance(found.get(name), Mapping):
            found = found[name]
            break
    return {name.removeprefix("module."): tensor for name, tensor in found.items()}


def names(slots: Sequence[Sequence[Slot]], arch: Backbone, stem: int, *, indexed: bool = False) -> dict[str, str]:
    """For each tensor of ours its published name; `indexed` as in a supernet, where each layer has candidates."""
    prefixes = _prefixes(slots, arch, stem, indexed=indexed)
    return {name: _name(name, prefixes) for name in tensors(arch)}


def _prefixes(
    slots: Sequence[Sequence[Slot]], arch: Backbone, stem: int, *, indexed: bool
) -> dict[str, tuple[str, Layer]]:
    """For each operation of ours the published prefix of its layer, and the layer."""
    found: dict[str, tuple[str, Layer]] = {}
    stage, block = 0, 0
    for s, n, slot, begins in places(slots, stem):
        if begins:
            stage, block = stage + 1, 0
            prefix = f"stages.{stage}.down"
            here: Any = arch.stages[stage].down
        else:
            prefix, here = f"stages.{stage}.blocks.{block}.0", arch.stages[stage].blocks[block].branches[0]
            block += 1
        skipped = len(options(here)) - len(slot)  # where a layer may be left out, that comes first
        for choice, layer in enumerate(slot):
            inner = f".{choice + skipped}" if isinstance(here, Options) else ""
            op = "" if begins else ".op"
            found[f"{prefix}{inner}{op}"] = (f"blocks.{s}.{n}{f'.{choice}' if indexed else ''}", layer)
    return found


def _name(name: str, prefixes: Mapping[str, tuple[str, Layer]]) -> str:
    module, _, leaf = name.rpartition(".")
    if module in _ENDS:
        return f"{_ENDS[module]}.{leaf}"
    operation, part, inner = module.rsplit(".", 2)
    prefix, layer = prefixes[operation]
    if part == "squeeze":
        return f"{prefix}.{_GATE[inner]}.{leaf}"
    conv, norm = _PARTS[layer.kind][part]
    return f"{prefix}.{conv if inner == 'conv' else norm}.{leaf}"


def _loaded(network: Network, state: Mapping[str, Tensor], names: Mapping[str, str], what: str) -> Network:
    """The network with these weights, of their type; the hidden layer is a 1x1 convolution there."""
    shapes = {names[name]: lengths(shape) for name, shape in tensors(network.arch).items()}
    head = names.get("head.hidden.weight")
    if head is not None:
        shapes[head] += (1, 1)
    require_keys(state, shapes, what)
    network.to(next(tensor.dtype for tensor in state.values() if tensor.is_floating_point()))
    network.load_state_dict(
        {name: state[theirs].flatten(1) if theirs == head else state[theirs] for name, theirs in names.items()}
    )
    return network.eval()
