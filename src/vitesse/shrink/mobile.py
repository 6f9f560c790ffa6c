"""The space `mobile`: networks of convolutions in the manner of MobileNetV3, made to measure for images and a budget."""

from __future__ import annotations

import math
import random
from functools import partial
from statistics import median

from vitesse.arch import (
    Backbone,
    Block,
    Budget,
    Choice,
    ConvStem,
    Down,
    Downsample,
    Head,
    MBConv,
    Operation,
    PlainConv,
    Skip,
    Stage,
    cost,
    sample,
)
from vitesse.data.preprocess import Preprocess

# The widths of stem, stages, last convolution and hidden layer at a width of 1, as in Cream.
STEM, WIDTHS, LAST, HIDDEN = 16, (24, 40, 80, 96, 192), 320, 1280
SCALES = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)  # of all widths together
STEP = 8  # widths are its multiples
TYPICAL = 33  # random networks whose median is a space's typical cost
BLOCKS = (0, 1, 2, 3)  # in a stage, beside what leads into it
# Maps of the last stage have at least so many tokens a side, of no more than 32 pixels each way.
LEAST_SIDE, COARSEST = 4, 32
LARGE_KERNEL_SIDE = 14  # from this side of a map on a kernel of 7 is one of the operations


def mobile_space(preprocess: Preprocess, *, classes: int, budget: Budget) -> Backbone:
    """A space of mobile networks for these images and classes, whose widths suit the budget.

    In each layer the kernel is an operation's own (3, 5, and 7 where maps are large), and a layer may be left out; how far it
    expands and whether channels are gated are sizes within it. Depths and widths are open, too. Of the scales of all widths
    it takes the one whose typical network, the median of some random ones, is nearest to the tightest limit.
    """
    limits = {name: limit for name, limit in budget.limits().items() if name != "latency_ms"}
    made = partial(_scaled, preprocess=preprocess, classes=classes)
    if not limits:
        return made(1.0)
    return min((made(scale) for scale in SCALES), key=lambda space: _distance(space, limits))


def _distance(space: Backbone, limits: dict[str, float]) -> float:
    """How far a typical network is from the tightest of the limits, as a factor's logarithm."""
    rng = random.Random(0)
    prices = [cost(sample(space, rng)).to_dict() for _ in range(TYPICAL)]
    return abs(max(math.log(median(price[name] for price in prices) / limit) for name, limit in limits.items()))


def _scaled(scale: float, *, preprocess: Preprocess, classes: int) -> Backbone:
    """The space with all widths times `scale`."""
    width = partial(_width, scale=scale)
    stem = ConvStem(image=preprocess.size, channels=preprocess.channels, layers=1, act="silu", act_last=True)
    side = min(stem.grid.rows, stem.grid.columns)
    stages = [Stage(dim=width(STEM), depth=1, block=Block(_FIRST))]
    for number, stride in enumerate(strides(min(preprocess.size))):
        side = -(-side // stride)
        kernels = (3, 5, 7) if side >= LARGE_KERNEL_SIDE else (3, 5)
        narrow, wide = width(0.75 * WIDTHS[number]), width(WIDTHS[number])
        stages.append(
            Stage(
                dim=Choice(narrow, wide) if narrow < wide else wide,
                depth=Choice(*BLOCKS),
                block=Block(Choice(Skip(), *(_layer(kernel) for kernel in kernels))),
                down=Choice(*(_way_in(kernel, stride) for kernel in kernels)),
            )
        )
    stages.append(Stage(dim=width(LAST), depth=0, down=PlainConv()))
    head = Head(classes=classes, pool="mean", norm=None, norm_first=False, hidden=width(HIDDEN))
    return Backbone(stem=stem, stages=tuple(stages), head=head)


_FIRST = MBConv(ratio=1.0, act="silu", expand=False, squeeze=True, act_last=False)


def _layer(kernel: int) -> Operation:
    return MBConv(kernel=kernel, ratio=Choice(3.0, 6.0), act="silu", squeeze=Choice(False, True), act_last=False)


def _way_in(kernel: int, stride: int) -> Down:
    return Downsample(kernel=kernel, ratio=Choice(3.0, 6.0), act="silu", squeeze=Choice(False, True), stride=stride)


def strides(side: int) -> list[int]:
    """The stride of each stage behind a stem of stride 2, for images whose shorter side has so many pixels.

    As published where they are large. Smaller ones leave out the first ones, so that maps stay as fine as they can be paid.
    """
    total = min(COARSEST, 2 ** max(1, int(math.log2(max(side / LEAST_SIDE, 1)))))
    left, found = int(math.log2(total)) - 1, []
    for stride in reversed((2, 2, 2, 1, 2)):
        found.append(stride if stride == 1 or left > 0 else 1)
        left -= stride == 2
    return found[::-1]


def _width(at_one: float, *, scale: float) -> int:
    return max(STEP, round(at_one * scale / STEP) * STEP)
