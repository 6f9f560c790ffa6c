"""The two networks of a cyclic search: one runs all candidates mixed, the other the architecture that is believed in."""

from __future__ import annotations

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
from vitesse.nets.tapped import Tapped
from vitesse.ops.nb201 import CellEdge
from vitesse.search.likelihood import Likelihood, key_of
from vitesse.supernet import Supernet
from vitesse.tasks.cyclic.interactor import Interactor
from vitesse.tasks.cyclic.settings import CyclicSettings

BEGIN = 1e-3  # the deviation of the architecture parameters at first


class Pair(nn.Module):
    """Search network, evaluation network, architecture parameters, and what the two say to each other.

    `search` and the network of `evaluation` have the same host: weights for each candidate of each choice. The first mixes
    them by softmax(alpha), the second runs one network of the space at a time; so its weights outlast a change of
    architecture. UsageError for a space without choices between operations.
    """

    def __init__(self, space: Backbone, settings: CyclicSettings, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.settings = settings
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
        self.interactor = Interactor(taps, host.head.classes, settings)
        self._tapped = (Tapped(self.search),)  # a tuple, so that it is no submodule

    def searching(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits and features of the mixture of all candidates."""
        shares = {key: self.alpha[_name(key)].softmax(0) for key in self._free}
        mixture = {f"network.{slot}.mixture": shares[key] for slot, key in self._keys.items()}
        found: tuple[Tensor, list[Tensor]] = functional_call(self._tapped[0], mixture, (images,))
        return found

    def evaluating(self, images: Tensor, arch: Backbone) -> tuple[Tensor, list[Tensor]]:
        """Logits and features of one network of the space."""
        return self.evaluation.tapped(images, arch)

    def answers(self, logits: Tensor, features: list[Tensor]) -> Tensor:
        """What a network says, for the interaction."""
        said: Tensor = self.interactor(logits, features[: len(self.interactor.heads)])
        return said

    def penalized(self) -> Tensor:
        """The sum of the sizes of the architecture parameters of operations without weights (the L1 term)."""
        terms = [
            self.alpha[_name(key)][torch.tensor(free)].abs().sum() for key, free in self._free.items() if any(free)
        ]
        return torch.stack(terms).sum() if terms else torch.zeros((), device=next(self.parameters()).device)

    def believed(self) -> Likelihood:
        """The distribution over the networks of the space as it is now."""
        logits = {key: tuple(self.alpha[_name(key)].detach().double().tolist()) for key in self._free}
        return Likelihood(logits=logits, repeat=self.settings.repeat)


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
