"""The selection: which candidate of a choice between operations holds the weights of what a network has in its place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from vitesse.arch import Backbone, Down, Operation, Options, Shape
from vitesse.arch.axes import Stream, branch_parameters, candidates, down_parameters, stream_of
from vitesse.errors import VitesseError
from vitesse.weights.slice import places


def selected(host: Backbone, arch: Backbone) -> dict[str, str]:
    """For each slot that `host` leaves open the prefix of the candidate that holds what `arch` has there.

    That is the one that equals it, else of those that hold it as a slice the one that differs in the fewest fields, the first
    of several. VitesseError where none does.
    """
    found: dict[str, str] = {}
    before: tuple[Stream, Stream] | None = None
    for s, (stage, own) in enumerate(zip(host.stages, arch.stages, strict=True)):
        streams = stream_of(s, stage), stream_of(s, own)
        if isinstance(stage.down, Options) and own.down is not None:
            assert before is not None
            prefix = f"stages.{s}.down"
            found[prefix] = candidates(prefix, stage.down)[_down_holder(stage.down, own.down, (before, streams))][0]
        for b, (block, one) in enumerate(zip(stage.blocks, own.blocks, strict=False)):
            for k, (slot, operation) in enumerate(zip(block.branches, one.branches, strict=False)):
                if isinstance(slot, Options):
                    prefix = f"stages.{s}.blocks.{b}.{k}"
                    found[prefix] = candidates(prefix, slot)[_branch_holder(slot, operation, streams)][0]
        before = streams
    return found


# A space has few different slots and operations; a search asks for thousands of networks made of them.
@lru_cache(maxsize=65536)
def _branch_holder(slot: Options, operation: Operation, streams: tuple[Stream, Stream]) -> int:
    def table(value: Operation, width: Stream) -> dict[str, Shape]:
        return branch_parameters("op", value, _size(width), width)

    return _holder(slot, operation, lambda candidate: (table(candidate, streams[0]), table(operation, streams[1])))


@lru_cache(maxsize=4096)
def _down_holder(slot: Options, down: Down, streams: tuple[tuple[Stream, Stream], tuple[Stream, Stream]]) -> int:
    def table(value: Down, which: int) -> dict[str, Shape]:
        previous, embed = streams[0][which], streams[1][which]
        return down_parameters("down", value, (_size(previous), _size(embed)), (previous, embed))

    return _holder(slot, down, lambda candidate: (table(candidate, 0), table(down, 1)))


def _holder(slot: Options, value: Any, tables: Callable[[Any], tuple[dict[str, Shape], dict[str, Shape]]]) -> int:
    """The place among the options of the candidate that holds `value`; `tables` gives a candidate's and the value's."""
    alike = [place for place, candidate in enumerate(slot.options) if type(candidate) is type(value)]
    for place in sorted(alike, key=lambda place: _differences(slot.options[place], value)):
        try:
            places(*tables(slot.options[place]))
        except VitesseError:
            continue
        return place
    raise VitesseError(f"A supernet holds {value!r} in one of its candidates, but these are {slot!r}.")


def _differences(one: Any, other: Any) -> int:
    """In how many fields two values of one type differ."""
    return sum(getattr(one, field.name) != getattr(other, field.name) for field in dataclasses.fields(one))


def _size(width: Stream) -> int:
    return math.prod(axis.size for axis in width)
