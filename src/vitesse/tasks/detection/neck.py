"""What stands between a network and a detector: maps of one width at the strides that its anchors are made for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from vitesse.errors import UsageError
from vitesse.nets import Network, build

# torchvision's detectors name the maps of a backbone by their order.
Maps = OrderedDict[str, Tensor]


class Trunk(nn.Module):
    """The stages of a network, without its head: images (B, C, H, W) to the maps (B, dim, h, w) at the end of some.

    strides: of each map, finest first. frozen_statistics: batch normalization stays in evaluation mode.
    """

    def __init__(self, network: Network, *, finest: int, drop_path: float, frozen_statistics: bool) -> None:
        super().__init__()
        arch = replace(network.arch, head=replace(network.arch.head, classes=0, norm=None))
        self.network = build(arch, drop_path=drop_path)
        state = network.state_dict()
        self.network.load_state_dict({name: state[name] for name in self.network.state_dict()})
        self.frozen_statistics = frozen_statistics
        # Of several maps of one stride, as a plain ViT has, the last.
        taps: list[dict[str, Any]] = self.network.feature_info
        last = {int(tap["reduction"]): place for place, tap in enumerate(taps)}
        fine = {stride: place for stride, place in last.items() if stride >= finest}
        self.strides, self.places = tuple(fine), tuple(fine.values())
        self.widths = tuple(int(taps[place]["num_chs"]) for place in self.places)
        self.train()  # as new modules are

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, C, H, W) to maps, finest first."""
        maps: list[Tensor] = self.network.forward_intermediates(
            images, list(self.places), stop_early=True, intermediates_only=True
        )
        return maps

    def train(self, mode: bool = True) -> Trunk:
        """As of any module, but for running statistics that are to stay."""
        super().train(mode)
        for layer in self.network.modules() if self.frozen_statistics else ():
            if isinstance(layer, _BatchNorm):
                layer.eval()
        return self


class Neck(nn.Module):
    """A feature pyramid with finer levels than the network has: maps (B, C_i, h, w) to levels (B, width, h, w).

    Lin et al., Feature Pyramid Networks, 2017, and from its finest lateral map transposed convolutions to half of the stride
    each, as published with EfficientViT. Beyond the coarsest map every second place of the level before is taken.
    strides: of the maps, each twice the one before. levels: the strides that are wanted, likewise; UsageError where they
    cannot be had.
    """

    def __init__(self, widths: Sequence[int], strides: Sequence[int], *, levels: Sequence[int], width: int) -> None:
        super().__init__()
        steps = _doublings(levels[0], strides[0]) if strides and strides[0] <= levels[-1] else None
        if steps is None or any(_doublings(*pair) != 1 for pair in pairwise(strides)):
            raise UsageError(
                f"The levels of the neck lie at strides {', '.join(map(str, levels))}, so the network's maps must lie at such "
                f"strides, each twice the one before, but they lie at {', '.join(map(str, strides)) or 'none of them'}."
            )
        self.pooled = len(levels) - steps - len(strides)  # below 0: coarser maps than any level, which are left out
        used = len(strides) + min(self.pooled, 0)
        self.laterals = nn.ModuleList(nn.Conv2d(one, width, 1) for one in widths[:used])
        self.finer = nn.ModuleList(nn.ConvTranspose2d(width, width, 2, stride=2) for _ in range(steps))
        self.outputs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(steps + used))
        for layer in (*self.laterals, *self.outputs):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The network's maps, finest first, to the levels, finest first."""
        levels = [lateral(one) for lateral, one in zip(self.laterals, maps, strict=False)]
        for place in range(len(levels) - 1, 0, -1):
            fine = levels[place - 1]
            levels[place - 1] = fine + functional.interpolate(levels[place], size=fine.shape[-2:], mode="nearest")
        for step in self.finer:
            levels.insert(0, step(levels[0]))
        found = [output(one) for output, one in zip(self.outputs, levels, strict=True)]
        for _ in range(self.pooled):
            found.append(functional.max_pool2d(found[-1], 1, stride=2))
        return found


class Backbone(nn.Module):
    """Trunk and neck as torchvision's detectors want them: images (B, C, H, W) to named levels (B, out_channels, h, w)."""

    def __init__(self, trunk: Trunk, neck: Neck, *, width: int) -> None:
        super().__init__()
        self.trunk, self.neck, self.out_channels = trunk, neck, width

    def forward(self, images: Tensor) -> Maps:
        """Levels by their place, finest first."""
        return OrderedDict((str(place), level) for place, level in enumerate(self.neck(self.trunk(images))))


def _doublings(small: int, large: int) -> int | None:
    """How often `small` doubled is `large`; None where it never is."""
    steps = max(large // small, 1).bit_length() - 1
    return steps if small << steps == large else None
