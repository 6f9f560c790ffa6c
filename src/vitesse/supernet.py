"""The supernet: the largest network's parameters, on which the plain network of any smaller architecture runs."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vitesse.arch import (
    Backbone,
    Block,
    CascadedAttention,
    Down,
    NB201Cell,
    Stage,
    buffers,
    largest,
    smallest,
    tensors,
)
from vitesse.arch.cascaded_attention import cascade_heads
from vitesse.arch.choice import Options, options
from vitesse.arch.sharing import open_shares
from vitesse.nets.build import drop_path_rates, skeleton
from vitesse.nets.interface import initialize
from vitesse.nets.layers import layers_by_depth
from vitesse.nets.network import Lender, NetworkOfBlocks, make_block, make_down
from vitesse.nets.statistics import fresh, gathering
from vitesse.nets.tapped import Tapped, Tapping
from vitesse.nets.taps import looking
from vitesse.weights.selection import selected
from vitesse.weights.slice import Place, places, slice_state, take_all

STATISTICS = ("running_mean", "running_var")  # what is stored and not learned, and has channels
KEPT = 1024  # skeletons: as many as a training draws its subnets from


class Supernet(nn.Module):
    """`supernet(x, arch) -> logits`: the network of `arch` on slices of this one's weights.

    It holds no current subnet: each call says which. `network` is the plain network of `host`: of the largest of `space`,
    with weights for every block that may be the first of a group and for every candidate of a choice between operations,
    unless another is given that holds the space. Gradients flow through the slices; a block that `arch` lacks and a
    candidate that it does not select get none at all (None, not zero), so that no optimizer moves them.

    Running statistics of batch normalization are sliced as weights are, and training writes through the slices: they
    become a mixture of all subnets. `statistics` gathers a subnet's own, to be handed back in when it is evaluated.
    """

    def __init__(self, space: Backbone, *, host: Backbone | None = None, drop_path: float = 0.0) -> None:
        super().__init__()
        self.space = space
        self.host = holding(space) if host is None else host
        self._shapes = tensors(self.host)
        self._counts = bool(buffers(self.host))
        for end in (largest(space), smallest(space)):
            self._places(end)  # refuses a host that does not hold its space
        depth = sum(stage.depth for stage in self.host.stages)
        # A block keeps the rate of its place in the host, however deep the subnet is (AutoFormer).
        self._rates = drop_path_rates(drop_path, depth)
        self.network = skeleton(self.host, drop_path=self._rates)
        initialize(self.network)
        self._skeletons: OrderedDict[Backbone, tuple[NetworkOfBlocks, Mapping[str, Place]]] = OrderedDict()
        self._holders: tuple[NetworkOfBlocks, dict[str, tuple[dict[str, Tensor | None], str]]] | None = None
        self._blocks: dict[tuple[object, ...], nn.Module] = {}
        self._downs: dict[tuple[int, Down, int, int], nn.Module] = {}

    def forward(
        self, x: Tensor, arch: Backbone | None = None, *, statistics: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Images (B, C, H, W) to the logits (B, classes) of `arch`; of the host where none is named.

        `statistics` takes the place of the running statistics of batch normalization.
        """
        if (arch is None or arch == self.host) and not statistics:
            logits: Tensor = self.network(x)
            return logits
        plain, where = self._skeleton(arch or self.host)
        weights = take_all(self._state(where.values()), where) | dict(statistics or {})
        sliced: Tensor = functional_call(plain, weights, (x,), strict=True)
        if self.training and not statistics:
            self._write_back(weights, where)
        return sliced

    def tapped(self, x: Tensor, arch: Backbone) -> Tapped:
        """The logits of `arch` and its maps (B, dim, rows, columns) at the end of every stage."""
        plain, where = self._skeleton(arch)
        weights = take_all(self._state(where.values()), where)
        inner = {f"network.{name}": weight for name, weight in weights.items()}
        found: Tapped = functional_call(Tapping(plain), inner, (x,), strict=True)
        if self.training:
            self._write_back(weights, where)
        return found

    @torch.no_grad()
    def _write_back(self, weights: Mapping[str, Tensor], where: Mapping[str, Place]) -> None:
        """Put running statistics that were cut as copies, because their axis is a product, back where they came from."""
        for name, place in where.items() if self._counts else ():
            if place.cut is not None and len(place.cut.factors) > 1 and name.endswith(STATISTICS):
                part = place.cut.part(self._state([place])[place.name])
                part.copy_(weights[name].view(part.shape))

    @torch.no_grad()
    def statistics(self, arch: Backbone, batches: Iterable[Tensor]) -> dict[str, Tensor]:
        """The running statistics of `arch`, gathered on `batches` of images; nothing that is stored here changes.

        Empty without batch normalization. To be asked for in evaluation mode.
        """
        plain, where = self._skeleton(arch)
        lying = {name: where[name] for name, _ in plain.named_buffers()}
        own = fresh(take_all(self._state(lying.values()), lying))
        if own:
            with gathering(plain):
                for images in batches:
                    self(images, arch, statistics=own)
        return own

    @torch.no_grad()
    def look(self, x: Tensor, arch: Backbone, *, seen: Iterable[Tensor] = ()) -> Tensor:
        """The logits (B, classes) of `arch` in evaluation, whatever mode this is in; nothing that is stored changes.

        seen: the batches of images on which it gathers the running statistics that it is evaluated with.
        """
        plain, where = self._skeleton(arch)
        with looking(plain):
            weights = take_all(self._state(where.values()), where) | self.statistics(arch, seen)
            logits: Tensor = functional_call(plain, weights, (x,), strict=True)
        return logits

    def _state(self, wanted: Iterable[Place]) -> dict[str, Tensor]:
        """The host's tensors that are wanted, by name.

        Where each is held is looked up once for a network: looking through all modules takes a while, and longer the more
        candidates there are.
        """
        if self._holders is None or self._holders[0] is not self.network:
            held: dict[str, tuple[dict[str, Tensor | None], str]] = {}
            for prefix, module in self.network.named_modules():
                for tensors_of in (module._parameters, module._buffers):
                    held |= {f"{prefix}.{name}".removeprefix("."): (tensors_of, name) for name in tensors_of}
            self._holders = (self.network, held)  # a tuple, so that it is no submodule
        found = {}
        for name, _ in wanted:
            holder, leaf = self._holders[1][name]
            tensor = holder[leaf]
            assert tensor is not None
            found[name] = tensor
        return found

    def _places(self, arch: Backbone) -> dict[str, Place]:
        """Where the weights of `arch` lie in the host's; VitesseError for what is neither selected nor a slice."""
        return places(self._shapes, tensors(arch), selection=selected(self.host, arch))

    def _skeleton(self, arch: Backbone) -> tuple[NetworkOfBlocks, Mapping[str, Place]]:
        """The network of `arch` without weights, kept for the next time, and where its weights lie in the host's."""
        if arch not in self._skeletons:
            where = self._places(arch)
            with torch.device("meta"):
                plain = skeleton(arch, drop_path=self._rates_of(arch), block=self._block, down=self._down)
            self._skeletons[arch] = (plain.train(self.training), where)
            if len(self._skeletons) > KEPT:
                self._skeletons.popitem(last=False)
        self._skeletons.move_to_end(arch)
        return self._skeletons[arch]

    def _rates_of(self, arch: Backbone) -> list[float]:
        """The drop-path rate of each block of `arch`: that of its place in the host."""
        starts = [sum(stage.depth for stage in self.host.stages[:s]) for s in range(len(arch.stages))]
        return [
            self._rates[start + b] for start, stage in zip(starts, arch.stages, strict=True) for b in range(stage.depth)
        ]

    def no_weight_decay(self) -> set[str]:
        """As of the plain network: it is trained alike."""
        return {f"network.{name}" for name in self.network.no_weight_decay()}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """As of the plain network."""
        return layers_by_depth(self.host, within=r"network\.")

    def train(self, mode: bool = True) -> Supernet:
        """Training or evaluation mode, for every skeleton too: they share their blocks."""
        super().train(mode)
        for plain, _ in self._skeletons.values():
            plain.train(mode)
        return self

    def _block(
        self, stage: int, position: int, block: Block, dim: int, drop_path: float, lender: Lender | None
    ) -> nn.Module:
        """A space has few different blocks at a place: skeletons share them."""
        key = (stage, position, block, dim, None if lender is None else (lender.position, lender.own))
        if key not in self._blocks:
            self._blocks[key] = make_block(stage, position, block, dim, drop_path, lender)
        return self._blocks[key]

    def _down(self, stage: int, value: Down, previous: int, dim: int) -> nn.Module:
        key = (stage, value, previous, dim)
        if key not in self._downs:
            self._downs[key] = make_down(stage, value, previous, dim)
        return self._downs[key]


def holding(space: Backbone) -> Backbone:
    """The network that holds every network of `space`: the largest, with a set of weights for each block that is the
    first of a group in any of them (where groups are of 2 or 3, for every block), and with room for every cascade.

    Its choices between operations stay open, with the largest of each: it holds the weights of all.
    """
    big = largest(space)
    stages = []
    for stage, one in zip(big.stages, space.stages, strict=True):
        ways = ((size, depth) for depth in options(one.depth) for size in open_shares(one.share, depth))
        # Blocks that are all one group have no first but the stage's.
        share = math.gcd(stage.depth, *(size for size, depth in ways if size < depth)) or 1
        stages.append(_with_room(replace(stage, share=share), one))
    return replace(big, stages=tuple(stages))


def _with_room(stage: Stage, space: Stage) -> Stage:
    """The largest stage, as wide as its cascades need: the fewest heads see the most channels each, the most have weights."""
    blocks = tuple(
        Block(*(_held(branch, open_one) for branch, open_one in zip(block.branches, one.branches, strict=True)))
        for block, one in zip(stage.blocks, space.blocks, strict=True)
    )
    heads = [cascade_heads((branch,)) for block in space.blocks for branch in block.branches]
    ways = [counts for counts in heads if counts]
    step = math.lcm(*(max(counts) for counts in ways))
    needed = max([stage.dim, *(max(counts) * -(-stage.dim // min(counts)) for counts in ways)])
    return replace(stage, dim=step * -(-needed // step), block=blocks, down=_held(stage.down, space.down))


def _held(value: Any, space: Any) -> Any:
    """What the host has for a slot: the largest of each candidate, one that equals another once, with room for cascades."""
    if isinstance(space, Options):
        different = tuple(dict.fromkeys(_held(largest(option), option) for option in space.options))
        return Options(different) if len(different) > 1 else different[0]
    if isinstance(space, NB201Cell):
        return space.held
    if isinstance(value, CascadedAttention) and isinstance(space, CascadedAttention):
        return replace(value, heads=max(options(space.heads)), kernels=space.widest_kernels)
    return value


def inherit(network: NetworkOfBlocks, arch: Backbone) -> NetworkOfBlocks:
    """The network of `arch` as one of its own, its weights taken from `network`'s, on the same device, for the same images."""
    small = skeleton(arch).to(next(network.parameters()))
    small.preprocess, small.class_names = network.preprocess, network.class_names
    selection = selected(network.arch, arch)
    weights = slice_state(network.state_dict(), tensors(network.arch), tensors(arch), selection=selection)
    small.load_state_dict({name: weight.detach().clone() for name, weight in weights.items()})
    return small.train(network.training)
