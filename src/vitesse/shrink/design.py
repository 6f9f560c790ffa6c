"""The shapes of a run: a teacher for data and budget, and the space of smaller networks around a network."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, TypeVar

from vitesse.arch import (
    MLP,
    Arch,
    Attention,
    Backbone,
    Block,
    Budget,
    CascadedAttention,
    Choice,
    ConvMLP,
    Head,
    HeadMix,
    MBConv,
    Operation,
    PatchEmbed,
    ShiftedWindowAttention,
    Stage,
    WindowAttention,
    cost,
    seeing,
)
from vitesse.arch.cascaded_attention import cascade_heads
from vitesse.data.preprocess import Preprocess
from vitesse.errors import UsageError

A = TypeVar("A", bound=Arch)

# (width, depth, heads, ratio) of the plain ViTs that are trained here where no teacher is given, from small to large.
TEACHERS = (
    (64, 4, 2, 2.0),
    (96, 4, 3, 2.0),
    (96, 6, 3, 2.0),
    (128, 6, 4, 2.0),
    (192, 6, 6, 2.0),
    (192, 9, 6, 3.0),
    (192, 12, 6, 4.0),
    (288, 12, 9, 4.0),
    (384, 12, 12, 4.0),
)
LARGER = 5  # a teacher costs at least so many times the budget


def teacher_arch(preprocess: Preprocess, *, classes: int, budget: Budget) -> Backbone:
    """A plain ViT for these images that costs at least five times the budget, or the largest that is trained here."""
    patch = _patch(preprocess.size)
    for dim, depth, heads, ratio in TEACHERS:
        block = Block(Attention(heads=heads, head_dim=32), MLP(ratio=ratio))
        arch = Backbone(
            stem=PatchEmbed(image=preprocess.size, patch=patch, channels=preprocess.channels),
            stages=(Stage(dim=dim, depth=depth, block=block),),
            head=Head(classes=classes, pool="mean"),
        )
        price = cost(arch).to_dict()
        limits = {name: limit for name, limit in budget.limits().items() if name in ("params", "macs")}
        # Without a limit that a formula answers, a teacher of a size that small data can train.
        enough = all(price[name] >= LARGER * limit for name, limit in limits.items()) if limits else dim >= 128
        if enough:
            return arch
    return arch


def _patch(size: tuple[int, int]) -> tuple[int, int]:
    """Patches that divide the image into some tens of tokens, two hundred at most."""
    wanted = next(patch for side, patch in ((16, 2), (40, 4), (128, 8), (math.inf, 16)) if min(size) <= side)
    fitting = [patch for patch in range(wanted, 0, -1) if size[0] % patch == 0 and size[1] % patch == 0]
    return (fitting[0], fitting[0])


def space_around(arch: Backbone, *, multiplex: int | Literal["none", "auto"] = "none") -> Backbone:
    """The space whose largest network is `arch`: narrower, shallower, with fewer heads, smaller windows, slimmer MLPs.

    multiplex: whether blocks may share weights ("auto": any number of them that divides a depth), or how many always do;
    where they may, their heads may be mixed. Blocks that share in `arch` do so in the whole space. UsageError where those
    that are to share are not alike, or are too few.
    """
    try:
        return replace(arch, stages=tuple(_around(stage, multiplex) for stage in arch.stages))
    except ValueError as error:
        raise UsageError(f"No space of networks that share weights can be made around this one: {error}") from error


def _around(stage: Stage, multiplex: int | Literal["none", "auto"]) -> Stage:
    if not stage.depth:
        return stage
    blocks = tuple(_looser(block, mixed=multiplex != "none") for block in stage.blocks)
    # A group is never smaller than that of the teacher, whose weights begin the space's.
    least = math.lcm(stage.group, multiplex) if isinstance(multiplex, int) else stage.group
    groups = stage.depth // least
    if not groups:
        raise ValueError(f"{least} blocks were to share weights, but there are {stage.depth}. Share less.")
    depths = sorted({least * max(1, math.ceil(groups * part)) for part in (1 / 3, 1 / 2, 2 / 3, 5 / 6, 1)})
    shares = [least]
    if multiplex == "auto":
        shares += [size for size in range(2 * least, depths[-1] + 1, least) if _may_share(blocks, size, depths)]
    # Multiples of 8 suit vector units, and of its heads a cascade; a width that is none of them stays as the largest.
    step = math.lcm(8, *(heads for block in blocks for heads in cascade_heads(block.branches)))
    least_dim = step * -(-16 // step)
    dims = sorted(
        {min(stage.dim, max(least_dim, step * round(stage.dim * p / step))) for p in (0.25, 0.375, 0.5, 0.75, 1)}
    )
    kept = blocks[: depths[-1]]
    return replace(stage, dim=_choice(dims), depth=_choice(depths), block=kept, share=_choice(shares))


def _may_share(blocks: tuple[Block, ...], size: int, depths: list[int]) -> bool:
    """Whether groups of this size divide some depth and are of equal blocks."""
    divides = any(depth % size == 0 for depth in depths)
    return divides and all(block == blocks[b - b % size] for b, block in enumerate(blocks))


def _looser(block: Block, *, mixed: bool) -> Block:
    branches: list[Operation] = []
    for branch in block.branches:
        if isinstance(branch, (Attention, ShiftedWindowAttention, WindowAttention)):
            heads = sorted({max(1, round(branch.heads * part)) for part in (0.25, 1 / 3, 0.5, 2 / 3, 0.75, 1)})
            looser = replace(branch, heads=_choice(heads))
            if isinstance(looser, (ShiftedWindowAttention, WindowAttention)):
                looser = replace(looser, window=_choice(sorted({math.ceil(looser.window / 2), looser.window})))
            if mixed and not isinstance(looser, WindowAttention) and looser.mix is None:
                looser = replace(looser, mix=Choice(None, HeadMix()))
            branches.append(looser)
        elif isinstance(branch, CascadedAttention):
            # As many heads as there are: of each the channels may become fewer, with the stage's width.
            windows = sorted({math.ceil(branch.window / 2), branch.window})
            keys = sorted({max(1, branch.key_dim // 2), branch.key_dim})
            kernels = tuple(_choice(sorted({min(3, side), side})) for side in branch.kernels)
            branches.append(replace(branch, window=_choice(windows), key_dim=_choice(keys), kernels=kernels))
        elif isinstance(branch, (MLP, ConvMLP)) or (isinstance(branch, MBConv) and branch.expand):
            ratios = sorted({branch.ratio * part for part in (0.25, 0.5, 0.75, 1)})
            branches.append(replace(branch, ratio=_choice(ratios)))
        else:
            branches.append(branch)
    return Block(*branches)


def begins(teacher: Backbone, host: Backbone) -> bool:
    """Whether the host can begin with the teacher's weights: it is the teacher, or its first blocks, but for what they
    share and how their heads are mixed.
    """
    if (teacher.stem, teacher.head, len(teacher.stages)) != (host.stem, host.head, len(host.stages)):
        return False
    return all(
        ours.dim == theirs.dim
        and ours.depth <= theirs.depth
        and all(_unmixed(one) == _unmixed(two) for one, two in zip(theirs.blocks, ours.blocks, strict=False))
        for theirs, ours in zip(teacher.stages, host.stages, strict=True)
    )


def _unmixed(block: Block) -> Block:
    mixing = (Attention, ShiftedWindowAttention)
    return Block(*(replace(one, mix=None) if isinstance(one, mixing) else one for one in block.branches))


def _choice(options: list[int] | list[float]) -> int:
    """A choice where there is one."""
    return Choice(*options) if len(options) > 1 else options[0]  # type: ignore[return-value]


def fitted(space: A, preprocess: Preprocess, *, classes: int) -> A:
    """A space from the zoo or a file, made to read these images and name these classes."""
    patch = space.stem.patch if isinstance(space.stem, PatchEmbed) else (1, 1)
    if any(side % step for side, step in zip(preprocess.size, patch, strict=True)):
        raise UsageError(
            f"The images must be a multiple of the space's patch {patch}, but are {preprocess.size}. "
            "Set data.size, or take another space."
        )
    seen = seeing(space, image=preprocess.size, channels=preprocess.channels)
    return replace(seen, head=replace(space.head, classes=classes))
