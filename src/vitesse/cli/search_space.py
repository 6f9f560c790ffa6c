"""`vitesse search-space`: where the better networks are, before they are searched."""

from __future__ import annotations

from dataclasses import dataclass

from vitesse.cli.options import BudgetOptions, RunOptions


@dataclass(frozen=True, kw_only=True)
class SearchSpace(BudgetOptions, RunOptions):
    """Search the search space: move, widen or narrow what a search may choose from, and train the supernet of the result.

    The supernet of the space is trained; random networks within the budget are scored with its weights; each dimension of
    the space (a stage's width, depth, heads, ...) moves along the trend of their errors, where it is significant. The
    supernet of the next space begins with these weights and is trained on, and so on. `vitesse search` then finds the best
    network of the last space, and `report.html` shows which dimensions mattered. Interrupted at any moment, the same
    command goes on where it was.

    Examples:
      vitesse search-space --data digits --teacher runs/digits/teacher --max-params 60k --out runs/space
      vitesse search-space --space space.json --data photos/ --max-macs 300M --moves 3 --out runs/space
      vitesse search runs/space --data photos/ --max-macs 300M --finish --out runs/small
      vitesse search-space --data photos/ --space space.json --max-params 5M --set evolve.rule=ends --out runs/ends
    """

    space: str | None = None
    """Where it begins: auto (around the teacher; the default), mobile (convolutions, made for the data and the budget),
    a named space (autoformer_tiny, cream_287, ...), or a JSON file."""
    moves: int | None = None
    """How often the space moves, at most; 2 by default. It ends early where nothing moves."""
    samples: int | None = None
    """Networks to judge a space by, at first; doubled up to evolve.most_samples while a move is in doubt."""

    def run(self) -> None:
        """Do it."""
        from vitesse.cli.running import run_verb
        from vitesse.shrink.run import search_space

        flags = {
            "supernet.space": self.space,
            "evolve.space": True,
            "evolve.moves": self.moves,
            "evolve.samples": self.samples,
        }
        run_verb(self, work=search_space, flags=flags)
