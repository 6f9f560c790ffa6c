"""How a network taken over wants its images: for Vitesse as a `Preprocess`, for timm's tools as a `pretrained_cfg`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitesse.data.preprocess import Preprocess
from vitesse.nets import Network
from vitesse.nets.interface import pretrained_cfg

# timm's names for what happens to an image before it reaches a network.
_FIELDS = ("mean", "std", "crop_pct", "crop_mode", "interpolation")


def set_preprocessing(network: Network, source: Mapping[str, Any]) -> None:
    """Give `network` the preprocessing of `source`, a `pretrained_cfg` of timm or a part of one; image size is its own.

    `network.preprocess` stays None where Vitesse has no value for it (another interpolation, other channels).
    """
    arch = network.arch
    cfg = {**pretrained_cfg(arch), **{name: source[name] for name in _FIELDS if source.get(name) is not None}}
    channels = arch.stem.channels
    for name in ("mean", "std"):
        values = tuple(cfg[name])
        # A network for another number of channels was made from one for colours: each channel gets their average.
        cfg[name] = values if len(values) == channels else (sum(values) / len(values),) * channels
    network.default_cfg = network.pretrained_cfg = cfg
    if cfg["interpolation"] in ("bilinear", "bicubic") and channels in (1, 3):
        network.preprocess = Preprocess(
            size=arch.stem.image,
            channels=channels,
            mean=cfg["mean"],
            std=cfg["std"],
            interpolation=cfg["interpolation"],
            crop=cfg["crop_pct"],
        )
