"""The supernet: the largest network's parameters, on which the plain network of any smaller architecture runs."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vitesse.arch import Backbone, Block, largest, parameters, smallest
from vitesse.arch.choice import options
from vitesse.arch.sharing import open_shares
from vitesse.nets.build import build, drop_path_rates, skeleton
from vitesse.nets.network import Lender, Network, make_block
from vitesse.weights.slice import Cut, cuts, slice_state, take_all

KEPT = 1024  # skeletons: as many as a training draws its subnets from


class Supernet(nn.Module):
    """`supernet(x, arch) -> logits`: the network of `arch` on slices of this one's weights.

    It holds no current subnet: each call says which. `network` is the plain network of `host`: of the largest of `space`,
    with weights for every block that may be the first of a group, unless another is given that holds the space.
    Gradients flow through the slices; a block that `arch` lacks gets none at all (None, not zero), so that no optimizer
    moves it.
    """

    def __init__(self, space: Backbone, *, host: Backbone | None = None, drop_path: float = 0.0) -> None:
        super().__init__()
        self.space = space
        self.host = holding(space) if host is None else host
        self._shapes = parameters(self.host)
        for end in (largest(space), smallest(space)):
            cuts(self._shapes, parameters(end))  # refuses a host that does not hold its space
        depth = sum(stage.depth for stage in self.host.stages)
        # A block keeps the rate of its place in the host, however deep the subnet is (AutoFormer).
        self._rates = drop_path_rates(drop_path, depth)
        self.network = build(self.host, drop_path=self._rates)
        self._skeletons: OrderedDict[Backbone, tuple[Network, Mapping[str, Cut | None]]] = OrderedDict()
        self._blocks: dict[tuple[object, ...], nn.Module] = {}

    def forward(self, x: Tensor, arch: Backbone | None = None) -> Tensor:
        """Images (B, C, H, W) to the logits (B, classes) of `arch`; of the host where none is named."""
        if arch is None or arch == self.host:
            logits: Tensor = self.network(x)
            return logits
        plain, where = self._skeleton(arch)
        weights = take_all(dict(self.network.named_parameters()), where)
        sliced: Tensor = functional_call(plain, weights, (x,), strict=True)
        return sliced

    def _skeleton(self, arch: Backbone) -> tuple[Network, Mapping[str, Cut | None]]:
        """The network of `arch` without weights, kept for the next time, and where its weights lie in the host's."""
        if arch not in self._skeletons:
            where = cuts(self._shapes, parameters(arch))  # refuses what is no slice
            with torch.device("meta"):
                plain = skeleton(arch, drop_path=self._rates, block=self._block)
            self._skeletons[arch] = (plain.train(self.training), where)
            if len(self._skeletons) > KEPT:
                self._skeletons.popitem(last=False)
        self._skeletons.move_to_end(arch)
        return self._skeletons[arch]

    def no_weight_decay(self) -> set[str]:
        """As of the plain network: it is trained alike."""
        return {f"network.{name}" for name in self.network.no_weight_decay()}

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


def holding(space: Backbone) -> Backbone:
    """The network that holds every network of `space`: the largest, with a set of weights for each block that is the
    first of a group in any of them (where groups are of 2 or 3, for every block).
    """
    big = largest(space)
    stages = []
    for stage, one in zip(big.stages, space.stages, strict=True):
        ways = ((size, depth) for depth in options(one.depth) for size in open_shares(one.share, depth))
        # Blocks that are all one group have no first but the stage's.
        stages.append(replace(stage, share=math.gcd(stage.depth, *(size for size, depth in ways if size < depth))))
    return replace(big, stages=tuple(stages))


def inherit(network: Network, arch: Backbone) -> Network:
    """The network of `arch` as one of its own, its weights cut from `network`'s, on the same device, for the same images."""
    small = build(arch).to(network.stem.proj.weight)
    small.preprocess, small.class_names = network.preprocess, network.class_names
    weights = slice_state(dict(network.named_parameters()), parameters(network.arch), parameters(arch))
    small.load_state_dict({name: weight.detach().clone() for name, weight in weights.items()})
    return small.train(network.training)
