"""`vitesse search`: the best subnet of a trained supernet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vitesse.cli.options import BudgetOptions, RunOptions


@dataclass(frozen=True, kw_only=True)
class Search(BudgetOptions, RunOptions):
    """Search a trained supernet for the best network within a budget, cut it out and export it.

    Examples:
      vitesse search runs/supernet --data photos/ --max-params 6M --out runs/small
      vitesse search runs/supernet --data photos/ --max-latency 8ms --strategy nsga2 --finish --out runs/fast
    """

    supernet: Annotated[Path, tyro.conf.Positional]
    """The folder of a `vitesse supernet` or `vitesse shrink`."""
    strategy: Literal["evolution", "nsga2", "contraction", "prioritized", "cyclic", "random"] | None = None
    """How the space is searched; evolution by default. prioritized: among the best paths that the supernet's training met;
    cyclic: what a cyclic search believes in; the cells that it found are laid out for the budget (give --finish)."""
    finish: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Train the winner on, instead of taking it with the supernet's weights."""

    def run(self) -> None:
        """Do it."""
        from vitesse.cli.running import run_verb
        from vitesse.shrink.run import search_supernet

        arguments = {"source": self.supernet, "finishing": self.finish}
        run_verb(self, work=search_supernet, flags={"search.strategy": self.strategy}, arguments=arguments)
