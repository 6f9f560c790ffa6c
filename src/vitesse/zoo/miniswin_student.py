"""The student of the published Mini-Swin distillation: its logits, and the features that its loss compares."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from vitesse.arch import ShiftedWindowAttention
from vitesse.errors import VitesseError
from vitesse.nets import Network
from vitesse.nets.taps import Site, taps
from vitesse.zoo.strict import require_keys
from vitesse.zoo.swin_settings import MiniSwinSettings
from vitesse.zoo.swin_weights import FITS, miniswin


class Features(NamedTuple):
    """Of some layers, in the order of the network: q, k, v of each, (B * windows, T, C) with the heads side by side and not
    scaled, and what the layer leaves, (B, N, C)."""

    logits: Tensor
    qkv: list[tuple[Tensor, ...]]
    hidden: list[Tensor]


class MiniSwinStudent(nn.Module):
    """`network`, and where it `is_student` a linear map for each stage, `fits`, from its width to that of its teacher."""

    def __init__(self, network: Network, fits: nn.ModuleList, *, scale: float | None = None) -> None:
        super().__init__()
        self.network, self.fits, self.scale = network, fits, scale

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, classes)."""
        logits: Tensor = self.network(images)
        return logits

    def features(self, images: Tensor, layers: Collection[int], *, fitted: bool = False) -> Features:
        """Logits and the features of `layers`, counted over the whole network from 0; `fitted`: hidden states as wide as
        the teacher's. VitesseError for a layer that is not there, or where there is nothing to fit with."""
        places = [(s, b) for s, stage in enumerate(self.network.arch.stages) for b in range(stage.depth)]
        if not all(0 <= layer < len(places) for layer in layers) or (fitted and not self.fits):
            raise VitesseError(
                f"The layers are 0 to {len(places) - 1}, and only a student (is_student) fits its features, but got "
                f"layers={list(layers)}, fitted={fitted} with {len(self.fits)} maps."
            )
        wanted = [places[layer] for layer in sorted(set(layers))]
        sites = [(self._joint(s, b), self._end(s, b)) for s, b in wanted]
        with taps(self.network, [site for pair in sites for site in pair]) as found:
            logits = self.network(images)
        joint = [found[site].chunk(3, -1) for site, _ in sites]
        if self.scale:  # which the queries carry
            joint = [(q / self._factor(s), k, v) for (s, _), (q, k, v) in zip(wanted, joint, strict=True)]
        hidden = [found[site] for _, site in sites]
        if fitted:
            hidden = [self.fits[s](x) for (s, _), x in zip(wanted, hidden, strict=True)]
        return Features(logits, joint, hidden)

    def _joint(self, s: int, b: int) -> Site:
        """Where q, k, v of a layer come from: its leader's weights, at its own turn."""
        leader = self.network.arch.stages[s].leader(b)
        return Site(f"stages.{s}.blocks.{leader}.0.op.qkv", b - leader)

    def _factor(self, s: int) -> float:
        attention = self.network.arch.stages[s].blocks[0].branches[0]
        assert isinstance(attention, ShiftedWindowAttention)
        return (self.scale or 1.0) * math.sqrt(attention.head_dim)

    def _end(self, s: int, b: int) -> Site:
        return Site(f"stages.{s}.blocks.{b}.{len(self.network.arch.stages[s].blocks[b].branches) - 1}")


def miniswin_student(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> MiniSwinStudent:
    """The student of a published state dict, in evaluation mode, as `from_published` gives it."""
    settings = MiniSwinSettings.read(config)
    widths = [(dim, settings.fit_size_C * 2**s) for s, dim in enumerate(settings.dims)] if settings.is_student else []
    fits = nn.ModuleList(nn.Linear(dim, wide) for dim, wide in widths)
    own = {name.removeprefix(FITS): tensor for name, tensor in state.items() if name.startswith(FITS)}
    require_keys(own, {name: tuple(tensor.shape) for name, tensor in fits.state_dict().items()}, "Mini-Swin student")
    network = miniswin({name: tensor for name, tensor in state.items() if not name.startswith(FITS)}, config)
    fits.to(next(network.parameters()).dtype).load_state_dict(own)
    return MiniSwinStudent(network, fits, scale=settings.qk_scale).eval()
