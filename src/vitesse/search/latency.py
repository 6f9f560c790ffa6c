"""Latency predicted from an architecture, by a regression over some that were measured on the device."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    CascadedAttention,
    ConvMLP,
    MBConv,
    Options,
    ShiftedWindowAttention,
    Skip,
    WindowAttention,
    cost,
    resolve,
)
from vitesse.errors import UsageError

Array = NDArray[np.float64]
PENALTIES = tuple(float(penalty) for penalty in np.logspace(-4, 3, 15))
TRIES = 50


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LatencyModel:
    """Ridge regression of milliseconds on standardised features; made by `fit`.

    `error_ms` and `error_p90_ms` are the mean and the 90th percentile of the absolute leave-one-out error: what to
    expect of a network that was not measured. It ranks candidates; finalists are to be measured.
    """

    center: Array  # (features,)
    scale: Array  # (features,)
    weights: Array  # (features,), milliseconds per standard deviation
    intercept_ms: float
    error_ms: float
    error_p90_ms: float

    @classmethod
    def fit(cls, archs: Sequence[Backbone], milliseconds: Sequence[float]) -> LatencyModel:
        """Fit to measured networks; the ridge penalty is the one with the least squared leave-one-out error."""
        y = np.asarray(milliseconds, dtype=float)  # (n,)
        if len(archs) != len(y) or len(y) < 3 or not np.all(np.isfinite(y)) or np.any(y <= 0):
            raise UsageError(
                "A latency model needs three networks or more, each with a positive latency, but got "
                f"{len(archs)} networks and {len(y)} latencies from {y.min(initial=np.inf):.4g} ms. Measure more."
            )
        x = np.array([features(arch) for arch in archs])  # (n, features)
        center, scale = x.mean(axis=0), x.std(axis=0)
        scale[scale == 0] = 1.0  # a feature that never varies says nothing
        z = (x - center) / scale
        penalty = min(PENALTIES, key=lambda candidate: float((_left_out(z, y, candidate) ** 2).mean()))
        errors = np.abs(_left_out(z, y, penalty))
        weights = np.linalg.solve(z.T @ z + penalty * np.eye(z.shape[1]), z.T @ (y - y.mean()))
        return cls(
            center=center,
            scale=scale,
            weights=weights,
            intercept_ms=float(y.mean()),
            error_ms=float(errors.mean()),
            error_p90_ms=float(np.percentile(errors, 90)),
        )

    def predict(self, arch: Backbone) -> float:
        """The expected latency in milliseconds."""
        return self.intercept_ms + float((features(arch) - self.center) / self.scale @ self.weights)


def features(arch: Backbone) -> Array:
    """What latency may depend on, as (features,): the costs, the number of blocks and branches, summed widths."""
    price = cost(arch)
    blocks = [
        (stage.dim, [branch for branch in block.branches if not isinstance(branch, Skip)])
        for stage in arch.stages
        for block in stage.blocks
    ]
    branches = [(dim, branch) for dim, block in blocks for branch in block]
    kinds = (Attention, ShiftedWindowAttention, WindowAttention)
    attentions = [branch for _, branch in branches if isinstance(branch, kinds)]
    cascades = [(dim, branch) for dim, branch in branches if isinstance(branch, CascadedAttention)]
    return np.array(
        [
            price.params,
            price.macs,
            price.memory_bytes,
            sum(bool(block) for _, block in blocks),
            len(branches),
            sum(dim for dim, _ in branches),
            sum(branch.heads for branch in attentions) + sum(branch.heads for _, branch in cascades),
            sum(branch.heads * branch.head_dim for branch in attentions) + sum(dim for dim, _ in cascades),
            sum(int(dim * branch.ratio) for dim, branch in branches if isinstance(branch, (MLP, MBConv, ConvMLP))),
        ],
        dtype=float,
    )


def sample_for_fit(space: Backbone, count: int, *, rng: random.Random) -> list[Backbone]:
    """Up to `count` distinct networks from the smallest to the largest, spread evenly over what lies between.

    Uniform sampling would crowd in the middle, where sums of many decisions meet, and leave the ends to extrapolation.
    """
    if count < 2:
        raise UsageError(f"A sample holds both ends of the space, so count must be at least 2, but got {count}.")
    found: dict[Backbone, None] = {}
    for place in range(count):
        for _ in range(TRIES):
            arch = _sized(space, place / (count - 1), rng)
            if arch not in found:
                found[arch] = None
                break
    return list(found)


def _sized(space: Backbone, share: float, rng: random.Random) -> Backbone:
    """A random network whose decisions lie about `share` of the way from the smallest option to the largest."""

    def pick(path: str, choice: Options) -> Any:
        options = choice.ordered
        return options[sum(rng.random() < share for _ in options[1:])]

    return resolve(space, pick)


def _left_out(z: Array, y: Array, penalty: float) -> Array:
    """For each of the n networks its residual (n,) under the fit to all others, in closed form.

    With H = 1/n + Z (Z'Z + penalty I)^-1 Z' the residual left out is (y - H y) / (1 - diag H).
    """
    n = len(y)
    hat = 1 / n + z @ np.linalg.solve(z.T @ z + penalty * np.eye(z.shape[1]), z.T)  # (n, n)
    left_out: Array = (y - hat @ y) / np.maximum(1 - np.diag(hat), 1e-9)
    return left_out
