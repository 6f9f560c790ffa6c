"""A space as a row of genes of fixed length, for methods that cannot deal with decisions that come and go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitesse.arch import Backbone, Options, picks, resolve, size

Genes = dict[str, tuple[Any, ...]]


def genes(space: Backbone) -> Genes:
    """Every decision that any network of the space takes: its options by path, from small to large."""
    found: Genes = {}
    waiting: list[dict[str, Any]] = [{}]  # decisions to hold fixed, because others hide behind them
    while waiting:
        held = waiting.pop()

        def pick(path: str, choice: Options, held: dict[str, Any] = held) -> Any:
            options, known = choice.ordered, found.get(path, ())
            new = tuple(option for option in options if option not in known)
            found[path] = known + new
            # Outside blocks (a depth, how many blocks share weights) any option may open and close others.
            waiting.extend({**held, path: option} for option in new if size(option) > 1 or ".blocks." not in path)
            taken = held.get(path, options[-1])  # the greatest: it takes the most decisions
            return taken if taken in options else options[-1]

        resolve(space, pick)
    return found


def encode(space: Backbone, arch: Backbone, table: Genes) -> dict[str, int]:
    """The genome of `arch`: for each gene the index of its option; genes without effect are 0, so equals stay equal."""
    taken = picks(space, arch)
    return {path: options.index(taken[path]) if path in taken else 0 for path, options in table.items()}


def decode(space: Backbone, genome: Mapping[str, int], table: Genes) -> Backbone:
    """The network of a genome; genes of decisions that it does not take are passed over."""

    def pick(path: str, choice: Options) -> Any:
        option = table[path][genome[path]]
        # Two operations may have a field of one name with different options; a gene serves both.
        return option if option in choice.options else choice.options[genome[path] % len(choice.options)]

    return resolve(space, pick)
