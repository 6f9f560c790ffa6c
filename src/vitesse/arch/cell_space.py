"""The networks among which cells are searched for: all of a network of cells but the cells (CDARTS, arXiv 2006.10724)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vitesse.arch.cell_network import CellNetwork, CellStage, CellStem, Place, Row, laid_out
from vitesse.arch.cells import INPUTS, NONE, OPERATIONS, Genotype
from vitesse.arch.choice import among, every, require
from vitesse.arch.head import Head


@dataclass(frozen=True, kw_only=True, slots=True)
class CellSpace:
    """Stem, stages and head around cells of `nodes` nodes, each of which is to keep `kept` edges.

    depths: the cells of each stage of the mixed network, whose edges are all operations at once; every stage but the last
    ends in a reduction. found_depths: those of the network of found cells beside it, as many where there are none named.
    channels: of a node of the first stage. repeated: the same two cells are found for all stages, else two for each.
    """

    stem: CellStem
    head: Head
    channels: int = 16
    depths: tuple[int, ...] = (3, 3, 2)
    found_depths: tuple[int, ...] = ()
    nodes: int = 4
    kept: int = 2
    repeated: bool = True

    def __post_init__(self) -> None:
        depths: Any = self.depths
        found: Any = self.found_depths
        object.__setattr__(self, "depths", tuple(depths) if isinstance(depths, list) else depths)
        object.__setattr__(self, "found_depths", (tuple(found) if isinstance(found, list) else found) or self.depths)
        require(
            self,
            stem=(isinstance(self.stem, CellStem), "must be a CellStem"),
            head=(isinstance(self.head, Head), "must be a Head"),
            channels=(every(self.channels, int, 2) and self.channels % 2 == 0, "must be an even integer of at least 2"),
            depths=(
                isinstance(self.depths, tuple) and bool(self.depths) and all(every(one, int, 1) for one in self.depths),
                "must be a tuple of integers of at least 1",
            ),
            found_depths=(
                isinstance(self.found_depths, tuple)
                and len(self.found_depths) == len(self.depths)
                and all(every(found, int, depth) for found, depth in zip(self.found_depths, self.depths, strict=True)),
                "must be empty, or a tuple of integers each of which is at least that of depths",
            ),
            nodes=(every(self.nodes, int, 1), "must be an integer of at least 1"),
            kept=(
                every(self.kept, int, 1, INPUTS),
                f"must be an integer from 1 to {INPUTS}: a first node sees no more",
            ),
            repeated=(among(self.repeated, True, False), "must be True or False"),
        )

    @property
    def operations(self) -> tuple[str, ...]:
        """What an edge may be, in the order of its scores; the last is no edge."""
        return (*OPERATIONS, NONE)

    @property
    def sets(self) -> int:
        """How many pairs of cells are searched for."""
        return 1 if self.repeated else len(self.depths)

    def halves(self, stage: int) -> bool:
        """Whether a stage ends in a reduction."""
        return stage < len(self.depths) - 1

    @property
    def places(self) -> tuple[Place, ...]:
        """Where each cell of the mixed network stands."""
        rows = [
            Row(f"stages.{s}.cells.{c}", self.channels * 2**s, self.halves(s) and c == depth - 1, self.nodes)
            for s, depth in enumerate(self.depths)
            for c in range(depth)
        ]
        return tuple(laid_out(self.stem, rows))

    def network(
        self,
        genotypes: Sequence[Genotype],
        *,
        depths: Sequence[int] | None = None,
        channels: int | None = None,
        affine: bool = True,
    ) -> CellNetwork:
        """The network of found cells, one genotype a stage, as wide as the mixed one and as deep, or of other sizes.

        channels: of a node of the first stage; the stem is wider or narrower with it.
        """
        depths = self.depths if depths is None else depths
        channels = self.channels if channels is None else channels
        stages = tuple(
            CellStage(depth=depth, channels=channels * 2**s, genotype=genotype, halves=self.halves(s))
            for s, (depth, genotype) in enumerate(zip(depths, genotypes, strict=True))
        )
        stem = replace(self.stem, dim=max(2, 2 * round(self.stem.dim * channels / self.channels / 2)))
        head = replace(self.head, pool="mean", norm=None, norm_first=False)
        return CellNetwork(stem=stem, stages=stages, head=head, affine=affine)
