"""Every parameter of a network with the meaning of its axes: from this table follow counts, slices and reordering."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, NamedTuple

from vitesse.arch.backbone import Backbone, Stage, require_sizes
from vitesse.arch.choice import Options
from vitesse.arch.conv_stem import ConvStem
from vitesse.arch.head import Head
from vitesse.arch.operation import Down, Operation, Table
from vitesse.arch.patch_embed import PatchEmbed


@dataclass(frozen=True, slots=True)
class Axis:
    """One meaning of a dimension. Axes of one `name` are one thing: they are cut and permuted together.

    The name ends in the kind: `stages.0.blocks.3.0.heads` is of the kind `heads`.
    """

    name: str
    size: int

    @property
    def kind(self) -> str:
        return self.name.rpartition(".")[2]


# A parameter's shape: for each dimension the axes whose product it is, the slowest first; one entry where there are none.
Shape = tuple[tuple[Axis, ...], ...]
# The axes whose product is the width of a stage.
Stream = tuple[Axis, ...]


@singledispatch
def parameters(arch: object) -> dict[str, Shape]:
    """Name and shape of every parameter of the network of `arch`, without building it."""
    raise TypeError(f"parameters() takes an architecture, but got a {type(arch).__name__}.")


@parameters.register
def _(arch: Backbone) -> dict[str, Shape]:
    require_sizes(arch, "parameters")
    streams = [stream_of(s, stage) for s, stage in enumerate(arch.stages)]
    table = part_parameters("stem", arch.stem, arch.stages[0].dim, streams[0])
    for s, stage in enumerate(arch.stages):
        for prefix, down in _downs(s, stage):
            widths = arch.stages[s - 1].dim, stage.dim
            table |= down_parameters(prefix, down, widths, (streams[s - 1], streams[s]))
        for place in _branches(s, stage):
            table |= branch_parameters(
                place.prefix, place.operation, stage.dim, streams[s], axes=place.axes, own=place.own
            )
    return table | part_parameters("head", arch.head, arch.stages[-1].dim, streams[-1])


class _Branch(NamedTuple):
    """A branch's operation: its prefix, that of its axes, and what it has for itself where it uses another one's weights.

    The axes of a block that shares weights are those of its leader: what is its own is cut along with them.
    """

    prefix: str
    axes: str
    operation: Operation
    own: tuple[str, ...] | None


def _branches(number: int, stage: Stage) -> Iterator[_Branch]:
    """All branches of a stage, in order; of one that is open each candidate."""
    for b, block in enumerate(stage.blocks):
        leader = stage.leader(b)
        for k, slot in enumerate(block.branches):
            lent = candidates(f"stages.{number}.blocks.{leader}.{k}", slot)
            for (prefix, operation), (axes, _) in zip(
                candidates(f"stages.{number}.blocks.{b}.{k}", slot), lent, strict=True
            ):
                yield _Branch(prefix, axes, operation, None if leader == b else stage.own)


def _downs(number: int, stage: Stage) -> list[tuple[str, Down]]:
    """What may lead into a stage, by prefix."""
    return [] if stage.down is None else candidates(f"stages.{number}.down", stage.down)


def candidates(prefix: str, slot: Any) -> list[tuple[str, Any]]:
    """What a slot of a network holds, by prefix: an operation, or each one that a choice leaves open."""
    if isinstance(slot, Options):
        return [(f"{prefix}.{i}", option) for i, option in enumerate(slot.options)]
    return [(prefix, slot)]


@singledispatch
def buffers(arch: object) -> dict[str, Shape]:
    """Name and shape of what is stored with the parameters but not learned (running statistics)."""
    raise TypeError(f"buffers() takes an architecture, but got a {type(arch).__name__}.")


@buffers.register
def _(arch: Backbone) -> dict[str, Shape]:
    require_sizes(arch, "buffers")
    first, last = arch.stages[0], arch.stages[-1]
    streams = [stream_of(s, stage) for s, stage in enumerate(arch.stages)]
    table = shapes("stem", arch.stem.buffers(), arch.stem.sizes(first.dim), {"embed": streams[0]})
    for s, stage in enumerate(arch.stages):
        for prefix, down in _downs(s, stage):
            both = {"previous": streams[s - 1], "embed": streams[s]}
            table |= shapes(prefix, down.buffers(), down.sizes(arch.stages[s - 1].dim, stage.dim), both)
        for prefix, axes, operation, own in _branches(s, stage):
            sizes = operation.sizes(stage.dim)
            for name, shape in operation.buffers().items():
                if own is None or _is_own(operation, f"op.{name}", own):
                    table[f"{prefix}.op.{name}"] = _shape(shape, sizes, _within(streams[s]), axes)
    return table | shapes("head", arch.head.buffers(), arch.head.sizes(last.dim), {"embed": streams[-1]})


def tensors(arch: object) -> dict[str, Shape]:
    """Name and shape of all that a network of `arch` stores: parameters and buffers."""
    return parameters(arch) | buffers(arch)


def count(table: Mapping[str, Shape]) -> int:
    """How many numbers parameters of these shapes hold."""
    return sum(math.prod(axis.size for dimension in shape for axis in dimension) for shape in table.values())


def branch_parameters(
    prefix: str, operation: Operation, embed: int, stream: Stream, *, axes: str = "", own: Sequence[str] | None = None
) -> dict[str, Shape]:
    """The parameters of one residual branch: norm, operation, layer scale; `stream` is the embedding's axes.

    axes: the prefix of the other axes' names, where it is not that of the parameters. own: of a block that uses another
    one's weights, the roles of what it still has for itself.
    """
    vector: Shape = (stream,)
    table = {} if operation.norm is None else {"norm.weight": vector, "norm.bias": vector}
    sizes = operation.sizes(embed)
    table |= {
        f"op.{name}": _shape(shape, sizes, _within(stream), axes or prefix) for name, shape in operation.axes().items()
    }
    table |= {"scale": vector} if operation.layer_scale else {}
    return {f"{prefix}.{name}": shape for name, shape in table.items() if own is None or _is_own(operation, name, own)}


def _is_own(operation: Operation, name: str, own: Sequence[str]) -> bool:
    """Whether a block that uses another one's weights has this parameter of a branch ("op.qkv.weight") for itself."""
    part, _, rest = name.partition(".")
    role = operation.role(rest.rpartition(".")[0]) if part == "op" else "norm"
    return role == "transform" or role in own


def down_parameters(
    prefix: str, down: Down, widths: tuple[int, int], streams: tuple[Stream, Stream]
) -> dict[str, Shape]:
    """The parameters of what leads into a stage, from the stream of the stage before to its own."""
    return shapes(prefix, down.axes(), down.sizes(*widths), dict(zip(("previous", "embed"), streams, strict=True)))


def part_parameters(prefix: str, value: PatchEmbed | ConvStem | Head, embed: int, stream: Stream) -> dict[str, Shape]:
    """The parameters of a stem or a head."""
    return shapes(prefix, value.axes(), value.sizes(embed), {"embed": stream})


def stream_of(number: int, stage: Stage) -> Stream:
    """The axes of a stage's stream: one, or groups of channels, of which each is cut and reordered like the others."""
    name = f"stages.{number}"
    if stage.channel_groups == 1:
        return (Axis(f"{name}.embed", stage.dim),)
    return Axis(f"{name}.groups", stage.channel_groups), Axis(f"{name}.channel", stage.dim // stage.channel_groups)


def _within(stream: Stream) -> dict[str, Stream]:
    """What stands for a stream within an operation: the whole, and the part of it that a head of a cascade sees."""
    return {"embed": stream} | ({"lane": stream[1:]} if len(stream) > 1 else {})


def shapes(
    prefix: str, table: Table, sizes: Mapping[str, int], streams: Mapping[str, Stream] | None = None
) -> dict[str, Shape]:
    """The shapes of a part's weights, whose names begin with `prefix`; `streams` are the axes that it shares with others."""
    return {f"{prefix}.{name}": _shape(axes, sizes, streams or {}, prefix) for name, axes in table.items()}


def _shape(axes: str, sizes: Mapping[str, int], streams: Mapping[str, Stream], prefix: str) -> Shape:
    """Read `"three heads head_dim, embed"`; streams are shared along their stages, all else is the part's own."""
    dimensions = axes.split(",") if axes else []  # a lone number has none
    return tuple(
        tuple(
            axis
            for kind in dimension.split()
            if kind != "1"
            for axis in (streams[kind] if kind in streams else (Axis(f"{prefix}.{kind}", sizes[kind]),))
        )
        for dimension in dimensions
    )
