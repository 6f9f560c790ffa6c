"""A space of spaces: every dimension of a space is an interval with a step, which can be shifted, widened, narrowed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import gcd, lcm
from typing import Any

from vitesse.arch.backbone import Backbone, Stage
from vitesse.arch.choice import Options, has_choice, options

Number = int | float


@dataclass(frozen=True, kw_only=True, slots=True)
class Dimension:
    """One open number of a space, which all blocks of a stage that have the same options share.

    name: its decisions' path without the place of the block: `stages.0.dim`, `stages.0.blocks.1.ratio` (the ratio of the
    second branch). places: the paths of its decisions. options: what is open now, rising. step: what an end moves by. least:
    the smallest option that means something.
    """

    name: str
    places: tuple[str, ...]
    options: tuple[Number, ...]
    step: Number
    least: Number

    def moved(self, low: int, high: int) -> tuple[Number, ...]:
        """The options after the lower end has moved by `low` steps and the upper one by `high`, up or down.

        Where both move alike all options do, whatever their spacing. Else options outside the new interval go, and those
        that it adds stand a step apart. What is below `least` vanishes.
        """
        step = _exact(self.step)
        now = [_exact(option) for option in self.options]
        if low == high:
            wanted = [option + low * step for option in now]
        else:
            first, last = now[0] + low * step, now[-1] + high * step
            below = [now[0] - place * step for place in range(1, -low + 1)]
            above = [now[-1] + place * step for place in range(1, high + 1)]
            wanted = [option for option in sorted([*below, *now, *above]) if first <= option <= last]
        kind = int if all(isinstance(option, int) for option in self.options) else float
        return tuple(kind(option) for option in wanted if option >= _exact(self.least))


def dimensions(space: Backbone) -> tuple[Dimension, ...]:
    """The dimensions of a space, in the order of its decisions: its choices among two numbers or more.

    How many blocks share weights is none: it must divide the depth. Nor is what is open only within an option of another
    choice. A stage whose blocks do not have the same options has a dimension for each list, named after the first block
    that has it.
    """
    found: dict[tuple[str, tuple[Number, ...]], list[str]] = {}
    for path, choice in _open(space, ""):
        if len(choice.options) > 1 and all(type(option) in (int, float) for option in choice.options):
            name = re.sub(r"\.blocks\.\d+\.", ".blocks.", path)
            found.setdefault((name, tuple(sorted(choice.options))), []).append(path)
    names = [name for name, _ in found]
    return tuple(
        Dimension(
            name=name if names.count(name) == 1 else places[0],
            places=tuple(places),
            options=listed,
            step=_step(listed),
            least=min(1, listed[0]) if all(isinstance(option, int) for option in listed) else 0.01,
        )
        for (name, listed), places in found.items()
    )


def moved(space: Backbone, intervals: Mapping[str, tuple[Number, ...]]) -> Backbone:
    """The space with other options for the dimensions that are named; ValueError where no such space can be.

    Blocks that a greater depth adds are as open as the last one was.
    """
    known = {dimension.name: dimension for dimension in dimensions(space)}
    for name, listed in intervals.items():
        if name not in known:
            raise ValueError(f"A dimension must be one of {', '.join(known)}, but got {name!r}.")
        if len(listed) < 2:
            raise ValueError(f"A dimension has two options or more, but {name} was to have {listed}.")
    table = {place: listed for name, listed in intervals.items() for place in known[name].places}
    changed: Backbone = _with(space, "", table)
    return changed


def _open(node: Any, path: str) -> Iterator[tuple[str, Options]]:
    """Every choice that is always asked for, with its path."""
    if isinstance(node, Options):
        yield path, node
    elif isinstance(node, Stage):
        for name in ("dim", "depth", "down"):
            yield from _open(getattr(node, name), f"{path}.{name}")
        for b, block in enumerate(node.blocks):
            yield from _open(block, f"{path}.blocks.{b}")
    elif isinstance(node, tuple):
        for i, item in enumerate(node):
            yield from _open(item, f"{path}.{i}")
    elif has_choice(node):
        for step, value in _fields(node, path).values():
            yield from _open(value, step)


def _with(node: Any, path: str, table: Mapping[str, tuple[Number, ...]]) -> Any:
    """The tree with the options that the table has for a path."""
    if isinstance(node, Options):
        return dataclasses.replace(node, options=table[path]) if path in table else node
    if isinstance(node, Stage):
        dim, depth, down = (_with(getattr(node, name), f"{path}.{name}", table) for name in ("dim", "depth", "down"))
        longest, last = max(options(depth)), len(node.blocks) - 1
        places = [min(b, last) for b in range(longest)] if isinstance(node.block, tuple) else [0]
        blocks = tuple(_with(node.blocks[b], f"{path}.blocks.{b}", table) for b in places)
        block = blocks if isinstance(node.block, tuple) else blocks[0]
        return dataclasses.replace(node, dim=dim, depth=depth, down=down, block=block)
    if isinstance(node, tuple):
        return tuple(_with(item, f"{path}.{i}", table) for i, item in enumerate(node))
    if not has_choice(node):
        return node
    fields = {name: _with(value, step, table) for name, (step, value) in _fields(node, path).items()}
    return type(node)(*fields["branches"]) if "branches" in fields else dataclasses.replace(node, **fields)


def _fields(node: Any, path: str) -> dict[str, tuple[str, Any]]:
    """The fields of a value with their paths; the branches of a block have the block's."""
    dot = f"{path}." if path else ""
    return {
        field.name: (path if field.name == "branches" else dot + field.name, getattr(node, field.name))
        for field in dataclasses.fields(node)
    }


def _step(listed: tuple[Number, ...]) -> Number:
    """The mean spacing in whole multiples of the greatest common one, so that what divided the options divides on."""
    exact = [_exact(option) for option in listed]
    gaps = [high - low for low, high in pairwise(exact)]
    below = lcm(*(gap.denominator for gap in gaps))
    grain = Fraction(gcd(*(int(gap * below) for gap in gaps)), below)
    step = max(1, round(sum(gaps) / len(gaps) / grain)) * grain
    return int(step) if all(isinstance(option, int) for option in listed) else float(step)


def _exact(number: Number) -> Fraction:
    """The number as it is written, so that steps of 0.1 add up."""
    return Fraction(str(number))
