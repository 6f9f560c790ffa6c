"""Which blocks of a stage share their weights: groups of consecutive ones, which must be equal and divide the depth."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from vitesse.arch.choice import Options, options

ROLES = ("norm", "position")  # of parameters that blocks that share weights may have of their own


def open_shares(share: Any, depth: int) -> tuple[int, ...]:
    """The sizes of groups that `share` (a number, "all", or a Choice of them) allows at this depth, each once."""
    if depth == 0:
        return (1,)
    sizes = (depth if option == "all" else option for option in options(share))
    return tuple(dict.fromkeys(size for size in sizes if depth % size == 0))


def open_choice(share: Any, depth: int) -> Any:
    """`share` at this depth: a number, or a Choice of those that divide it."""
    allowed = open_shares(share, depth)
    return Options(allowed, shrinks=True) if isinstance(share, Options) else allowed[0]


def require_shares(share: Any, depths: Iterable[int]) -> None:
    """Raise ValueError unless some group size that `share` allows divides each of the depths."""
    known = all(option == "all" or (type(option) is int and option >= 1) for option in options(share))
    if not known:
        raise ValueError(f'Stage.share must be an integer of at least 1 or "all", but got {share!r}.')
    for depth in depths:
        if not open_shares(share, depth):
            fitting = ", ".join(str(size) for size in range(1, depth + 1) if depth % size == 0)
            raise ValueError(
                f"Stage.share must divide the depth, but got share={share!r} and depth={depth}. "
                f"Take {fitting}, or another depth."
            )


def require_equal_groups(blocks: Sequence[Any], sizes: Iterable[int]) -> None:
    """Raise ValueError unless the blocks of each group are equal values, for each size of groups."""
    for size in sizes:
        for place in range(len(blocks)):
            first = place - place % size
            if blocks[place] != blocks[first]:
                raise ValueError(
                    f"Blocks that share weights must be equal, but with share={size} blocks {first} and {place} are one "
                    f"group and differ in {_difference(blocks[first], blocks[place])}. Make them equal, or share less."
                )


def _difference(one: Any, other: Any) -> str:
    """Where two blocks differ first, in words: `heads: 2 and 3`."""
    for first, second in zip(one.branches, other.branches, strict=False):
        for field in dataclasses.fields(first) if type(first) is type(second) else ():
            values = getattr(first, field.name), getattr(second, field.name)
            if values[0] != values[1]:
                return f"{type(first).__name__}.{field.name} ({values[0]!r} and {values[1]!r})"
    return "their operations"


def require_own(own: Any) -> None:
    """Raise ValueError unless `own` lists roles that blocks may have of their own."""
    if not isinstance(own, tuple) or not all(role in ROLES for role in own):
        raise ValueError(f"Stage.own must be a tuple of {' and '.join(map(repr, ROLES))}, but got {own!r}.")
