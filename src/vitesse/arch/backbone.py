"""A network as a value: stem, stages of blocks, head. The same tree with Choices in it is a space of networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from operator import mul
from typing import Literal

from vitesse.arch.cascaded_attention import cascade_heads
from vitesse.arch.choice import QUIET, SHRINKS, every, has_choice, instances, options, require
from vitesse.arch.conv_stem import ConvStem
from vitesse.arch.head import Head
from vitesse.arch.operation import Down, Grid, Operation
from vitesse.arch.patch_embed import PatchEmbed
from vitesse.arch.sharing import ROLES, open_shares, require_equal_groups, require_own, require_shares

# Each block takes a place in memory even before anything is built: a file must not ask for more than anyone means.
DEEPEST = 10_000


@dataclass(frozen=True, init=False, repr=False, slots=True)
class Block:
    """A sequence of residual branches: `Block(Attention(heads=3), MLP(ratio=4.0))`."""

    branches: tuple[Operation, ...]

    def __init__(self, *branches: Operation) -> None:
        object.__setattr__(self, "branches", branches)
        good = bool(branches) and all(isinstance(item, Operation) for branch in branches for item in options(branch))
        require(self, branches=(good, "must be one operation or more"))

    def __repr__(self) -> str:
        return f"Block({', '.join(map(repr, self.branches))})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """`depth` blocks of one width and one map size.

    `block` is the one that all repeat, or a tuple with one for each position. In a space the tuple is as long as the
    greatest depth, and a single block with choices is decided anew at each position. `down` reduces the map before the
    first block; every stage but the first has one. A stage of depth 0 is what leads into it alone, the first the stem.

    Each `share` consecutive blocks ("all": all of them) use one set of weights (weight multiplexing, MiniViT, CVPR 2022);
    they must be equal, and their decisions in a space are one. `own` says what each still has for itself: its "norm"
    (norms, layer scales), its "position" (relative-position tables); transformations (`HeadMix`, `LocalMix`) always. Of
    a Choice only what divides the chosen depth is open.

    `channel_groups`: of a stage whose cascades (`CascadedAttention`) all have so many heads, so that its channels are so many
    equal groups. A narrower stage keeps the first channels of each, and reordering moves them alike, so that each
    head still sees its own. With 1 the stage is cut as if they were all one.
    """

    dim: int
    depth: int
    block: Block | tuple[Block, ...] = ()
    down: Down | None = field(default=None, metadata=QUIET)
    share: int | Literal["all"] = field(default=1, metadata=QUIET | SHRINKS)
    own: tuple[Literal["norm", "position"], ...] = field(default=("norm", "position"), metadata=QUIET)
    channel_groups: int = field(default=1, metadata=QUIET)

    def __post_init__(self) -> None:
        require(
            self,
            dim=(every(self.dim, int, 1), "must be an integer of at least 1"),
            depth=(every(self.depth, int, 0, DEEPEST), f"must be an integer between 0 and {DEEPEST}"),
        )
        listed = isinstance(self.block, (tuple, list))
        blocks: tuple[Block, ...] = tuple(self.block) if listed else (self.block,)  # type: ignore[arg-type, assignment]
        good = all(isinstance(item, Block) for item in blocks)
        require(
            self,
            block=(good, "must be a Block or a tuple of Blocks"),
            down=(
                instances(self.down, Down, type(None)),
                "must be a way into the stage, such as Downsample(), or None",
            ),
        )
        longest = max(options(self.depth))
        if longest == 0:
            object.__setattr__(self, "block", ())  # one form for one network
        elif listed:
            require(self, block=(len(blocks) == longest, f"must hold as many blocks as the depth, {longest}"))
            # One form for one network: blocks that are all alike are written once, unless each is still to be decided.
            alike = len(set(blocks)) == 1 and not has_choice(blocks[0])
            object.__setattr__(self, "block", blocks[0] if alike else blocks)
        self._check_sharing()
        self._check_cascades()

    def _check_cascades(self) -> None:
        """Raise ValueError unless the heads of every cascade divide every width, and are the groups where there are some."""
        require(
            self,
            channel_groups=(
                every(self.channel_groups, int, 1) and not has_choice(self.channel_groups),
                "must be an integer, no Choice",
            ),
        )
        heads = [one for block in dict.fromkeys(self.blocks) for one in cascade_heads(block.branches)]
        for dim in options(self.dim):
            for count in (*heads, self.channel_groups):
                if dim % count:
                    raise ValueError(
                        f"The heads of a cascade and the groups of a stage divide its channels, but {dim} is no multiple of "
                        f"{count}. Take other widths, or another number of heads."
                    )
        if self.channel_groups > 1 and set(heads) != {self.channel_groups}:
            raise ValueError(
                f"The groups of a stage are the heads of all its cascades, but channel_groups={self.channel_groups} and the "
                f"heads are {sorted(set(heads))}. Set channel_groups=1, or let all have as many heads."
            )

    def _check_sharing(self) -> None:
        own = tuple(self.own) if isinstance(self.own, list) else self.own
        require_own(own)
        depths = options(self.depth)
        require_shares(self.share, depths)
        sizes = {size for depth in depths for size in open_shares(self.share, depth)}
        if isinstance(self.block, tuple):
            require_equal_groups(self.block, sorted(sizes))
        # One form for one network: the roles in order, and the usual ones where nothing is shared.
        object.__setattr__(self, "own", ROLES if sizes == {1} else tuple(role for role in ROLES if role in own))
        if not has_choice((self.share, self.depth)):
            object.__setattr__(self, "share", sizes.pop())

    @property
    def group(self) -> int:
        """How many consecutive blocks use one set of weights; of an architecture, not of a space."""
        assert isinstance(self.share, int), "a space has no groups yet"
        return self.share

    def leader(self, position: int) -> int:
        """The position of the block whose weights the block at `position` uses: the first of its group."""
        return position - position % self.group

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The block at each position, up to the greatest depth."""
        return self.block if isinstance(self.block, tuple) else (self.block,) * max(options(self.depth))


@dataclass(frozen=True, kw_only=True, slots=True)
class Backbone:
    """A network: stem, stages, head. It compares, hashes, prints, and round-trips through JSON.

    One stage makes a plain ViT. More make a hierarchical network: the map shrinks from stage to stage, and there are no
    extra tokens.
    """

    stem: PatchEmbed | ConvStem
    stages: tuple[Stage, ...]
    head: Head

    def __post_init__(self) -> None:
        if isinstance(self.stages, list):
            object.__setattr__(self, "stages", tuple(self.stages))
        whole = isinstance(self.stages, tuple) and all(isinstance(stage, Stage) for stage in self.stages)
        require(
            self,
            stem=(isinstance(self.stem, (PatchEmbed, ConvStem)), "must be a PatchEmbed or a ConvStem"),
            stages=(whole and len(self.stages) > 0, "must be a tuple of one Stage or more"),
            head=(isinstance(self.head, Head), "must be a Head"),
        )
        for s, stage in enumerate(self.stages):
            if any((down is None) != (s == 0) for down in options(stage.down)):
                raise ValueError(
                    f"Every stage but the first has a down, which reduces the map, but stages.{s}.down is "
                    f"{stage.down!r}. Set Stage(down=Downsample()) from the second stage on."
                )
        need = [type(part).__name__ for part in self._parts() if isinstance(part, Down) or part.map_only]
        if self.stem.tokens and need:
            raise ValueError(
                f"{need[0]} works on a map, beside which there can be no extra tokens, but the stem's tokens are "
                f'{self.stem.tokens}. Set tokens=() and pool by "mean".'
            )
        kind = type(self.stem).__name__
        for pool in options(self.head.pool):
            read = {"class": ("class",), "distilled": ("class", "distillation")}.get(pool, ())
            if self.stem.tokens[: len(read)] != read:
                raise ValueError(
                    f'Head(pool="{pool}") reads the first tokens, which must be {read}, but {kind}.tokens is '
                    f'{self.stem.tokens}. Put them first, or pool by "mean".'
                )
        self._require_entries()

    def _require_entries(self) -> None:
        """Relative positions need an entry for pairs with an extra token wherever the stem makes extra tokens."""
        positions = [item for part in self._parts() for item in options(getattr(part, "position", None))]
        whole = all(all(options(getattr(position, "extra", True))) for position in positions)
        if self.stem.tokens and not whole:
            raise ValueError(
                f"Relative positions meet the extra tokens {self.stem.tokens} of the stem, but have no entry for them "
                "(extra=False). Take extra=True, or a stem with tokens=()."
            )

    def _parts(self) -> Iterator[Operation | Down]:
        """Every operation and every down that may be in it."""
        for stage in self.stages:
            yield from (down for down in options(stage.down) if down is not None)
            for block in dict.fromkeys(stage.blocks):
                for branch in block.branches:
                    yield from options(branch)

    @property
    def grids(self) -> tuple[Grid, ...]:
        """The tokens that the blocks of each stage see."""
        grid, found = self.stem.grid, []
        for stage in self.stages:
            grid = grid if stage.down is None else stage.down.grid(grid)
            found.append(grid)
        return tuple(found)

    @property
    def reductions(self) -> tuple[int, ...]:
        """Pixels to a token in each stage, down the image; where it is open what leads into one, by the last that may."""
        ways = [options(stage.down)[-1] for stage in self.stages]
        steps = [1 if down is None else down.stride for down in ways]
        return tuple(self.stem.reduction[0] * step for step in accumulate(steps, mul))


def require_closed(value: object, what: str) -> None:
    """Raise ValueError for a space, which has no `what` (a word for the message) of its own."""
    if has_choice(value):
        raise ValueError(f"A space has no {what} of its own: choose an architecture first, sample(space, rng).")


def require_sizes(arch: Backbone, what: str) -> None:
    """Raise ValueError unless only choices between operations are open, of which a supernet's host holds each."""
    for stage in arch.stages:
        branches = (branch for block in dict.fromkeys(stage.blocks) for branch in block.branches)
        closed = (option for slot in (stage.down, *branches) for option in options(slot))
        require_closed((stage.dim, stage.depth, stage.share, *closed), what)
    require_closed((arch.stem, arch.head), what)
