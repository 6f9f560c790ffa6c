"""The pair of a space of blocks: two networks on the host of a supernet."""

from __future__ import annotations

import random
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vitesse.arch import Backbone, size
from vitesse.arch.choice import options
from vitesse.errors import UsageError
from vitesse.nets import NetworkOfBlocks
from vitesse.nets.branch import Candidates
from vitesse.nets.build import skeleton
from vitesse.nets.interface import initialize
from vitesse.nets.tapped import Tapped, Tapping
from vitesse.ops.interactor import Interactor
from vitesse.ops.nb201 import CellEdge
from vitesse.search.candidate import Feasible
from vitesse.search.draw import draw
from vitesse.search.likelihood import Likeliest, Likelihood, candidates, has_sizes, key_of
from vitesse.supernet import Supernet
from vitesse.tasks.cyclic.pair import BEGIN, Pair
from vitesse.tasks.cyclic.settings import CyclicSettings

SIZES = 16  # networks of one cycle where sizes are open, each with the likeliest operations for its own
DRAWS = 20  # of a network by what is believed, until one is feasible


class PairOfBlocks(Pair[Backbone]):
    """`search` and the network of `evaluation` have the same host: weights for each candidate of each choice.

    feasible: which networks may come out. UsageError for a space without choices between operations.
    """

    search: NetworkOfBlocks
    evaluation: Supernet
    alpha: nn.ParameterDict

    def __init__(
        self,
        space: Backbone,
        settings: CyclicSettings,
        *,
        feasible: Feasible = lambda arch: True,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(settings)
        self.feasible = feasible
        self.evaluation = Supernet(space, drop_path=drop_path)
        host = self.evaluation.host
        self.search = skeleton(host, drop_path=drop_path)
        initialize(self.search)
        self._keys, self._free = _slots(self.search, repeat=settings.repeat)
        if not self._keys:
            raise UsageError(
                "A cyclic search decides between operations, but the choices of this space are all sizes of one "
                f"({size(space):.3g} networks). Take a space with choices between operations, or another strategy."
            )
        _require_one_stride(host)
        self.alpha = nn.ParameterDict(
            {_name(key): nn.Parameter(BEGIN * torch.randn(len(free))) for key, free in self._free.items()}
        )
        taps = [stage.dim for stage in host.stages][: max(1, len(host.stages) - 1)]
        self.interactor = Interactor(
            taps, host.head.classes, pools=[None] * len(taps),
            hidden=settings.embedding, joined=settings.ensemble, fixed=settings.fixed_heads,
        )  # fmt: skip
        self._tapped = (Tapping(self.search),)  # a tuple, so that it is no submodule

    def searching(self, images: Tensor) -> Tapped:
        shares = {key: self.alpha[_name(key)].softmax(0) for key in self._free}
        mixture = {f"network.{slot}.mixture": shares[key] for slot, key in self._keys.items()}
        found: Tapped = functional_call(self._tapped[0], mixture, (images,))
        return found

    def evaluating(self, images: Tensor, arch: Backbone) -> Tapped:
        return self.evaluation.tapped(images, arch)

    def penalized(self) -> Tensor:
        terms = [
            self.alpha[_name(key)][torch.tensor(free)].abs().sum() for key, free in self._free.items() if any(free)
        ]
        return torch.stack(terms).sum() if terms else torch.zeros((), device=next(self.parameters()).device)

    def logits(self) -> dict[str, tuple[float, ...]]:
        return {key: tuple(self.alpha[_name(key)].detach().double().tolist()) for key in self._free}

    def believed(self) -> Likelihood:
        """The distribution over the networks of the space as it is now."""
        return Likelihood(logits=self.logits(), repeat=self.settings.repeat)

    def candidates(self) -> dict[str, tuple[str, ...]]:
        return candidates(self.evaluation.space, self.believed())

    def likeliest(self, rng: random.Random) -> list[Backbone]:
        """The feasible network that is believed in most; where sizes are open, one for each of some sets of them."""
        space, believed = self.evaluation.space, self.believed()
        strategy = Likeliest(likelihood=believed, population=SIZES if has_sizes(space, believed) else 1)
        found = strategy.propose(space, (), generation=0, rng=rng, feasible=self.feasible)
        return [arch for arch, _ in found] or draw(space, 1, rng=rng, feasible=self.feasible)

    def drawn(self, rng: random.Random) -> Backbone | None:
        """A network drawn from what is believed; None where of `DRAWS` none is feasible."""
        believed = self.believed()
        tried = (believed.sample(self.evaluation.space, rng) for _ in range(DRAWS))
        return next(filter(self.feasible, tried), None)


def _slots(network: NetworkOfBlocks, *, repeat: bool) -> tuple[dict[str, str], dict[str, list[bool]]]:
    """The modules that mix, by name, with the key of their architecture parameters; and for each key which of its
    candidates have no parameters.
    """
    keys: dict[str, str] = {}
    free: dict[str, list[bool]] = {}
    for name, module in network.named_modules():
        if not isinstance(module, (Candidates, CellEdge)) or len(module) < 2:
            continue
        parts = name.replace(".op.", ".").split(".")
        if parts[2] == "blocks":  # a block that uses another one's weights takes its decisions, too
            parts[3] = str(network.arch.stages[int(parts[1])].leader(int(parts[3])))
        keys[name] = key = key_of(".".join(parts), repeat=repeat)
        known = [not any(True for _ in candidate.parameters()) for candidate in _each(module)]
        if len(free.setdefault(key, known)) != len(known):
            raise UsageError(
                f"Blocks that repeat one decision must have the same operations to choose from, but {name} differs."
            )
    # A follower borrows what it has, so that its own candidates hold nothing: the leader came first, and says what is free.
    return keys, free


def _each(module: Any) -> list[nn.Module]:
    return list(cast(nn.Module, module).children())


def _require_one_stride(host: Backbone) -> None:
    for s, stage in enumerate(host.stages):
        strides = {down.stride for down in options(stage.down) if down is not None}
        if len(strides) > 1:
            raise UsageError(
                f"What is mixed must be of one size, but what may lead into stage {s} has the strides {sorted(strides)}. "
                "Take a space in which the stride of a stage is decided."
            )


def _name(key: str) -> str:
    """A key as a name within a module, which cannot have dots."""
    return key.replace(".", "/")
