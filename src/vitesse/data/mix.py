"""Mixup, CutMix and label smoothing, each sample's share a function of (seed, epoch, index).

A sample's partner is its neighbour in the epoch's order: positions 2k and 2k + 1 of the global batch mix with each
other. So the mix is the same on any number of ranks. Sources: Zhang et al., mixup, 2017; Yun et al., CutMix, 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from vitesse.data.augment import box_masks
from vitesse.data.replay import Stream, uniform
from vitesse.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Mix:
    """How samples are mixed; the default mixes nothing.

    mixup, cutmix: the alpha of Beta(alpha, alpha), from which a sample's own share is drawn; 0 is off. probability:
    that a sample is mixed. switch: the probability of CutMix where both are on. smoothing: the share of the target
    that is spread over all classes.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    probability: float = 1.0
    switch: float = 0.5
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.mixup < 0 or self.cutmix < 0:
            raise UsageError(f"mixup and cutmix must not be negative, but got {self.mixup} and {self.cutmix}.")
        for name in ("probability", "switch"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is a probability, 0 to 1, but got {getattr(self, name)}.")
        if not 0 <= self.smoothing < 1:
            raise UsageError(f"smoothing must hold 0 <= smoothing < 1, but got {self.smoothing}.")

    @property
    def mixes(self) -> bool:
        """Whether any two samples are mixed."""
        return (self.mixup > 0 or self.cutmix > 0) and self.probability > 0


def soft_targets(labels: Tensor, classes: int, *, smoothing: float = 0.0) -> Tensor:
    """Give targets (b, classes) of labels (b,): one-hot, of which `smoothing` is spread evenly over all classes.

    Without classes they are (b, 0).
    """
    if not classes:
        return torch.zeros(len(labels), 0)
    return functional.one_hot(labels, classes).to(torch.float32) * (1 - smoothing) + smoothing / classes


def mix_pairs(
    images: Tensor, targets: Tensor, mix: Mix, *, seed: int, epoch: int, indices: npt.NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Mix neighbours (0 with 1, 2 with 3, ...) of a batch: images (b, C, H, W) and targets (b, classes).

    The last of an odd batch has no partner and stays as it is.
    """
    share, cut, places = _shares(mix, seed=seed, epoch=epoch, indices=indices)
    partner = np.arange(len(indices)) ^ 1
    partner = np.where(partner < len(indices), partner, len(indices) - 1)
    sides = np.where(cut, np.sqrt(1 - share), 0.0)
    boxes = box_masks(sides, sides, places[:, 0], places[:, 1], size=images.shape[-2:])  # (b, H, W)
    # The box has whole pixels: what it leaves of the image is the share that counts.
    kept = 1 - boxes.double().mean((1, 2)).numpy()
    own = torch.from_numpy(np.where(cut, kept, share)).to(torch.float32)
    blend = torch.from_numpy(np.where(cut, 1.0, share)).to(torch.float32).view(-1, 1, 1, 1)
    others = images[torch.from_numpy(partner)]
    mixed = torch.where(boxes[:, None], others, torch.lerp(others, images, blend))
    return mixed, torch.lerp(targets[torch.from_numpy(partner)], targets, own[:, None])


def _shares(
    mix: Mix, *, seed: int, epoch: int, indices: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Each sample's own share (b,), whether it is cut rather than blended (b,), and its box's place (b, 2)."""
    from scipy.special import betaincinv

    draws = uniform(seed, epoch, indices, 5, stream=Stream.MIX)
    if mix.mixup and mix.cutmix:
        cut = draws[:, 1] < mix.switch
    else:
        cut = np.full(len(draws), mix.cutmix > 0)
    alpha = np.where(cut, mix.cutmix, mix.mixup)
    share = np.where(draws[:, 0] < mix.probability, betaincinv(alpha, alpha, draws[:, 2]), 1.0)
    return share, cut, draws[:, 3:5]
