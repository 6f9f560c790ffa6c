"""Spaces: sampling, mutating and crossing over all resolve a space's choices, by one function, `resolve`."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from vitesse.arch.backbone import Backbone, Block, Stage
from vitesse.arch.choice import Options, has_choice, instances, options
from vitesse.arch.operation import Down, Operation
from vitesse.arch.sharing import open_choice, open_shares

Pick = Callable[[str, Options], Any]
V = TypeVar("V")


def resolve(space: V, pick: Pick) -> V:
    """Close every choice of `space` with `pick(path, choice)`.

    Only active decisions are asked for, in a fixed order: a stage's width, its depth, what leads into it, how many of its
    blocks share weights, then the first block of each group up to that depth; the others of a group follow it.
    Paths read like `stages.0.depth` and `stages.0.blocks.3.0.heads`.
    """
    closed: V = _resolve(space, "", pick)
    return closed


def _resolve(node: Any, path: str, pick: Pick) -> Any:
    if isinstance(node, Options):
        return _resolve(pick(path, node), path, pick)
    if isinstance(node, Stage):
        dim = _resolve(node.dim, f"{path}.dim", pick)
        depth = _resolve(node.depth, f"{path}.depth", pick)
        down = _resolve(node.down, f"{path}.down", pick)
        share = _resolve(open_choice(node.share, depth), f"{path}.share", pick)
        firsts = {b: _resolve(node.blocks[b], f"{path}.blocks.{b}", pick) for b in range(0, depth, share)}
        blocks = tuple(firsts[b - b % share] for b in range(depth))
        return dataclasses.replace(node, dim=dim, depth=depth, block=blocks, down=down, share=share)
    if isinstance(node, tuple):
        return tuple(_resolve(item, f"{path}.{i}", pick) for i, item in enumerate(node))
    dot = f"{path}." if path else ""
    opened = _open_fields(node)
    if not opened:
        return node
    closed = tuple(_resolve(value, path if name == "branches" else dot + name, pick) for name, value in opened)
    return _closed(node, closed) if isinstance(node, (Operation, Down, Block)) else _with_fields(node, closed)


# A space has few different operations, and a search draws thousands of networks made of them.
@lru_cache(maxsize=65536)
def _closed(node: Any, closed: tuple[Any, ...]) -> Any:
    return _with_fields(node, closed)


def _with_fields(node: Any, closed: tuple[Any, ...]) -> Any:
    """`node` with its open fields, in order, as given; each is checked as whatever is written by hand."""
    if isinstance(node, Block):
        return Block(*closed[0])
    names = (name for name, _ in _open_fields(node))
    return dataclasses.replace(node, **dict(zip(names, closed, strict=True)))


@lru_cache(maxsize=4096)
def _open_fields(node: Any) -> tuple[tuple[str, Any], ...]:
    """The fields of a value that hold a Choice, by name; a Choice knows whether more of it makes the network smaller."""
    found = []
    for field in dataclasses.fields(node) if dataclasses.is_dataclass(node) else ():
        value = getattr(node, field.name)
        if isinstance(value, Options) and field.metadata.get("shrinks", False):
            value = dataclasses.replace(value, shrinks=True)
        if has_choice(value):
            found.append((field.name, value))
    return tuple(found)


def picks(space: Backbone, arch: Backbone) -> dict[str, Any]:
    """The decisions that lead from `space` to `arch`, by path, active ones only; ValueError where `arch` is not in it."""
    found: dict[str, Any] = {}
    _match(space, arch, "", found)
    return found


def _match(node: Any, value: Any, path: str, found: dict[str, Any]) -> None:
    if isinstance(node, Options):
        option = _option(node, value, path)
        found[path] = option
        _match(option, value, path, found)
    elif isinstance(node, Stage) and isinstance(value, Stage):
        _match(node.dim, value.dim, f"{path}.dim", found)
        _match(node.depth, value.depth, f"{path}.depth", found)
        _match(node.down, value.down, f"{path}.down", found)
        _match(open_choice(node.share, value.depth), value.share, f"{path}.share", found)
        _match(node.own, value.own if value.group > 1 else node.own, f"{path}.own", found)
        for b in range(0, value.depth, value.group):
            _match(node.blocks[b], value.blocks[b], f"{path}.blocks.{b}", found)
    elif isinstance(node, tuple) and isinstance(value, tuple) and len(node) == len(value):
        for i, (item, chosen) in enumerate(zip(node, value, strict=True)):
            _match(item, chosen, f"{path}.{i}", found)
    elif dataclasses.is_dataclass(node) and type(node) is type(value):
        dot = f"{path}." if path else ""
        for field in dataclasses.fields(node):
            step = path if field.name == "branches" else dot + field.name
            _match(getattr(node, field.name), getattr(value, field.name), step, found)
    elif node != value:
        raise ValueError(f"{path} must be {node!r}, but got {value!r}.")


def _option(choice: Options, value: Any, path: str) -> Any:
    for option in choice.options:
        if option == value:
            return option
    for option in choice.options:
        try:
            _match(option, value, path, {})
        except ValueError:
            continue
        return option
    raise ValueError(f"{path} must be one of {choice.options}, but got {value!r}.")


def contains(space: Backbone, arch: Backbone) -> bool:
    """Whether `arch` is one of the networks of `space`."""
    try:
        picks(space, arch)
    except ValueError:
        return False
    return True


def sample(space: V, rng: random.Random) -> V:
    """One network, each decision uniform over its options."""
    return resolve(space, lambda path, choice: rng.choice(choice.options))


def mutate(space: Backbone, arch: Backbone, rng: random.Random, *, stage_rate: float, block_rate: float) -> Backbone:
    """`arch` with each decision redrawn: with `stage_rate` outside blocks, with `block_rate` inside them.

    A redrawn decision may come out as it was. Blocks that a greater depth adds are drawn anew.
    """
    known = picks(space, arch)

    def pick(path: str, choice: Options) -> Any:
        rate = block_rate if ".blocks." in path else stage_rate
        # Under an option that was redrawn the old decision may not be one of those that are open now.
        redraw = rng.random() < rate or path not in known or known[path] not in choice.options
        return rng.choice(choice.options) if redraw else known[path]

    return resolve(space, pick)


def cross(space: Backbone, a: Backbone, b: Backbone, rng: random.Random) -> Backbone:
    """Each decision from `a` or from `b`, with equal chance; a block that one of them lacks comes from the other."""
    first, second = picks(space, a), picks(space, b)

    def pick(path: str, choice: Options) -> Any:
        parents = [parent[path] for parent in (first, second) if path in parent and parent[path] in choice.options]
        return rng.choice(parents or choice.options)

    return resolve(space, pick)


def largest(space: V) -> V:
    """The network with the greatest option of each choice (the last one where options are no numbers)."""
    return resolve(space, lambda path, choice: choice.ordered[-1])


def smallest(space: V) -> V:
    """The network with the least option of each choice (the first one where options are no numbers)."""
    return resolve(space, lambda path, choice: choice.ordered[0])


def ends(space: V, rng: random.Random) -> tuple[V, V]:
    """The largest and the smallest network; choices between operations, which have no order, are drawn.

    So each candidate of a supernet learns as often as the others, whichever is written last.
    """

    def end(place: int) -> V:
        def pick(path: str, choice: Options) -> Any:
            return rng.choice(choice.options) if instances(choice, Operation, Down) else choice.ordered[place]

        return resolve(space, pick)

    return end(-1), end(0)


def size(space: Any) -> int:
    """How many networks the space holds."""
    if isinstance(space, Options):
        return sum(size(option) for option in space.options)
    if isinstance(space, Stage):
        ways = [(depth, share) for depth in options(space.depth) for share in open_shares(space.share, depth)]
        blocks = sum(size(space.blocks[:depth:share]) for depth, share in ways)
        return size(space.dim) * size(space.down) * blocks
    if isinstance(space, tuple):
        total = 1
        for item in space:
            total *= size(item)
        return total
    if not has_choice(space):
        return 1
    return size(tuple(getattr(space, field.name) for field in dataclasses.fields(space)))
