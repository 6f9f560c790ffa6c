"""Anchors at fixed strides, which torchvision's own guess from the sizes of the maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

RATIOS = (0.5, 1.0, 2.0)  # of height to width


class Anchors(AnchorGenerator):  # type: ignore[misc]
    """Boxes around every place of every level: of area (base x stride x scale)^2, in three proportions.

    torchvision divides the size of the picture by that of the map, which is not the stride where a map was rounded up, and
    rounds the corners to whole pixels; neither was published so.
    """

    def __init__(self, strides: Sequence[int], *, base: float, scales: Sequence[float]) -> None:
        self.strides = tuple(strides)
        sizes = tuple(tuple(base * stride * scale for scale in scales) for stride in strides)
        super().__init__(sizes, (RATIOS,) * len(sizes))

    def generate_anchors(
        self,
        scales: Sequence[float],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> Tensor:
        """The boxes around the origin, (ratios * scales, 4)."""
        roots = torch.tensor(aspect_ratios, dtype=dtype, device=device).sqrt()[:, None]
        sides = torch.tensor(scales, dtype=dtype, device=device)
        wide, high = (sides / roots).flatten(), (sides * roots).flatten()
        return torch.stack([-wide, -high, wide, high], 1) / 2

    def on(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The anchors of each level (h * w * ratios * scales, 4), for maps (B, C, h, w)."""
        self.set_cell_anchors(maps[0].dtype, maps[0].device)
        levels: list[Tensor] = self.grid_anchors(
            [one.shape[-2:] for one in maps], [(stride, stride) for stride in self.strides]
        )
        return levels

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """All of them in one, for each image."""
        return [torch.cat(self.on(feature_maps))] * len(image_list.image_sizes)


def decoded(shifts: Tensor, anchors: Tensor, *, longest: float) -> Tensor:
    """Boxes (..., 4) of shifts of centres and logarithms of sides, both relative to their anchors (..., 4).

    longest: what the logarithm of a side over its anchor's may not exceed.
    """
    sides = anchors[..., 2:] - anchors[..., :2]
    centres = anchors[..., :2] + sides / 2 + shifts[..., :2] * sides
    half = shifts[..., 2:].clamp(max=longest).exp() * sides / 2
    return torch.cat([centres - half, centres + half], -1)
