"""The subnets of a supernet that learns no more, run so that what they begin alike with is computed once.

A network's width and its first branches say what comes out of them, whatever follows. The candidates of a generation are
children of few parents and often begin alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vitesse.arch import Backbone, Block, Down, parameters
from vitesse.nets.build import skeleton
from vitesse.nets.network import Lender, NetworkOfBlocks, make_block, make_down
from vitesse.supernet import Supernet
from vitesse.weights.selection import selected
from vitesse.weights.slice import places, take_all

M = TypeVar("M", bound=nn.Module)


class CalibratedSubnets:
    """Subnets with batch normalization, each with running statistics of its own, gathered on the same images.

    Their first parts are no common ones: what a layer has seen depends on the layers before it.
    """

    def __init__(self, supernet: Supernet, images: Sequence[Tensor]) -> None:
        self._supernet, self._images = supernet, images
        self._statistics: dict[Backbone, dict[str, Tensor]] = {}

    def keep(self, archs: Sequence[Backbone]) -> None:
        """Gather the statistics of these; forget all others'."""
        self._statistics = {arch: self._supernet.statistics(arch, self._images) for arch in archs}

    @torch.inference_mode()
    def logits(self, archs: Sequence[Backbone], images: Tensor) -> list[Tensor]:
        """The logits (B, classes) of each architecture that is kept, for the same images (B, C, H, W)."""
        return [self._supernet(images, arch, statistics=self._statistics[arch]) for arch in archs]


class Subnets:
    """Plain networks without running statistics on slices of a supernet's weights; modules that are alike are one.

    Each is cut out once, so that no weights are put in and taken out again for each batch. Slices may be copies: where
    the supernet learns on, they stay behind.
    """

    def __init__(self, supernet: Supernet) -> None:
        self._host, self._shapes = supernet.host, parameters(supernet.host)
        self._state = {name: weight.detach() for name, weight in supernet.network.named_parameters()}
        self._trail = Trail()
        self._steps: dict[Any, Any] = {}
        self._networks: dict[Backbone, tuple[NetworkOfBlocks, list[int]]] = {}

    @torch.inference_mode()
    def logits(self, archs: Sequence[Backbone], images: Tensor) -> list[Tensor]:
        """The logits (B, classes) of each architecture for the same images (B, C, H, W)."""
        networks, ways = zip(*map(self._network, archs), strict=True) if archs else ((), ())
        found: dict[int, Tensor] = {}
        for place in sorted(range(len(archs)), key=ways.__getitem__):  # those that begin alike one after another
            found[place] = networks[place](images)
        self._trail.forget()
        return [found[place] for place in range(len(archs))]

    def keep(self, archs: Sequence[Backbone]) -> None:
        """Forget all networks but these, not what they are made of: the next ones are made of it too."""
        self._networks = {arch: self._networks[arch] for arch in archs if arch in self._networks}

    def _network(self, arch: Backbone) -> tuple[NetworkOfBlocks, list[int]]:
        """The network of `arch`, and the steps that it takes."""
        if arch not in self._networks:
            with torch.device("meta"):
                plain = skeleton(arch, block=self._block, down=self._down)
            plain.stem = self._one(("stem", arch.stem, arch.stages[0].dim), plain.stem)
            plain.head = self._one(("head", arch.head, arch.stages[-1].dim), plain.head)
            empty = [name for name, weight in plain.named_parameters() if weight.is_meta]
            if empty:
                shapes = parameters(arch)
                missing = {name: shapes[name] for name in empty}
                where = places(self._shapes, missing, selection=selected(self._host, arch))
                plain.load_state_dict(take_all(self._state, where), strict=False, assign=True)
            numbers = {id(module): number for number, module in enumerate(self._steps.values())}
            way = [numbers[id(module)] for module in plain.modules() if id(module) in numbers]
            self._networks[arch] = (plain.eval(), way)
        return self._networks[arch]

    def _block(
        self, stage: int, position: int, block: Block, dim: int, drop_path: float, lender: Lender | None
    ) -> nn.Module:
        lent = None if lender is None else (lender.position, lender.own)
        keys = [(stage, position, k, value, dim, lent) for k, value in enumerate(block.branches)]
        if not all(key in self._steps for key in keys):
            made = make_block(stage, position, block, dim, drop_path, lender)
            for key, branch in zip(keys, made.children(), strict=True):
                self._one(key, branch)
        return nn.ModuleList(self._steps[key] for key in keys)

    def _down(self, stage: int, value: Down, previous: int, dim: int) -> nn.Module:
        return self._one(("down", stage, value, previous, dim), make_down(stage, value, previous, dim))

    def _one(self, key: Any, module: M) -> M:
        """The step that was first made for this key."""
        if key not in self._steps:
            self._steps[key] = self._trail.step(module)
        step: M = self._steps[key]
        return step


class Trail:
    """What the last network computed, step by step; the next one goes on from where the two part."""

    def __init__(self) -> None:
        self._taken: list[tuple[nn.Module, Tensor, Tensor]] = []  # (step, what came in, what came out), in order

    def step(self, module: M) -> M:
        """Have the module look into the trail before it computes anything."""
        module.forward = partial(self._run, module, module.forward)
        return module

    def forget(self) -> None:
        """Free the memory; the next network begins anew."""
        self._taken.clear()

    def _run(self, module: nn.Module, forward: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
        for place, (step, given, out) in enumerate(self._taken):
            if given is x:
                if step is module:
                    return out
                del self._taken[place:]  # here the ways part
                break
        out = forward(x, *rest)
        self._taken.append((module, x, out))
        return out
