"""Leaving a block out within a fixed depth, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from vitesse.arch.operation import Grid, Operation, Table


@dataclass(frozen=True, slots=True)
class Skip(Operation):
    """The stream as it is: where a choice between operations takes it, the block is not there."""

    residual = False

    def axes(self) -> Table:
        return {}

    def sizes(self, embed: int) -> dict[str, int]:
        return {"embed": embed}

    def macs(self, embed: int, grid: Grid) -> int:
        return 0

    def working_set(self, embed: int, grid: Grid) -> int:
        return 0
