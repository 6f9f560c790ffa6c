"""Every parameter of a network with the meaning of its axes: from this table follow counts, slices and reordering."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch

from vitesse.arch.backbone import Backbone, Head, PatchEmbed, require_closed
from vitesse.arch.operation import Operation


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


# A parameter's shape: for each dimension the axes whose product it is, the slowest first.
Shape = tuple[tuple[Axis, ...], ...]


@singledispatch
def parameters(arch: object) -> dict[str, Shape]:
    """Name and shape of every parameter of the network of `arch`, without building it."""
    raise TypeError(f"parameters() takes an architecture, but got a {type(arch).__name__}.")


@parameters.register
def _(arch: Backbone) -> dict[str, Shape]:
    require_closed(arch, "parameters")
    first, last = arch.stages[0], arch.stages[-1]
    table = part_parameters("stem", arch.stem, first.dim, "stages.0.embed")
    for s, stage in enumerate(arch.stages):
        for b, block in enumerate(stage.blocks):
            leader = stage.leader(b)
            for k, operation in enumerate(block.branches):
                # The axes of a block that shares weights are those of its leader: what is its own is cut along with them.
                table |= branch_parameters(
                    f"stages.{s}.blocks.{b}.{k}", operation, stage.dim, f"stages.{s}.embed",
                    axes=f"stages.{s}.blocks.{leader}.{k}", own=None if leader == b else stage.own,
                )  # fmt: skip
    return table | part_parameters("head", arch.head, last.dim, f"stages.{len(arch.stages) - 1}.embed")


def count(shapes: Mapping[str, Shape]) -> int:
    """How many numbers parameters of these shapes hold."""
    return sum(math.prod(axis.size for dimension in shape for axis in dimension) for shape in shapes.values())


def branch_parameters(
    prefix: str, operation: Operation, embed: int, scope: str, *, axes: str = "", own: Sequence[str] | None = None
) -> dict[str, Shape]:
    """The parameters of one residual branch: norm, operation, layer scale; `scope` names the embedding's axis.

    axes: the prefix of the other axes' names, where it is not that of the parameters. own: of a block that uses another
    one's weights, the roles of what it still has for itself.
    """
    vector: Shape = ((Axis(scope, embed),),)
    table = {} if operation.norm is None else {"norm.weight": vector, "norm.bias": vector}
    table |= {
        f"op.{name}": _shape(shape, operation.sizes(embed), scope, axes or prefix)
        for name, shape in operation.axes().items()
    }
    table |= {"scale": vector} if operation.layer_scale else {}
    return {f"{prefix}.{name}": shape for name, shape in table.items() if own is None or _is_own(operation, name, own)}


def _is_own(operation: Operation, name: str, own: Sequence[str]) -> bool:
    """Whether a block that uses another one's weights has this parameter of a branch ("op.qkv.weight") for itself."""
    part, _, rest = name.partition(".")
    role = operation.roles.get(rest.partition(".")[0], "weight") if part == "op" else "norm"
    return role == "transform" or role in own


def part_parameters(prefix: str, value: PatchEmbed | Head, embed: int, scope: str) -> dict[str, Shape]:
    """The parameters of a stem or a head."""
    return {f"{prefix}.{name}": _shape(axes, value.sizes(embed), scope, prefix) for name, axes in value.axes().items()}


def _shape(axes: str, sizes: Mapping[str, int], scope: str, prefix: str) -> Shape:
    """Read `"three heads head_dim, embed"`; the embedding is shared along the stage, all else is the operation's own."""
    return tuple(
        tuple(Axis(scope if kind == "embed" else f"{prefix}.{kind}", sizes[kind]) for kind in dimension.split())
        for dimension in axes.split(",")
    )
