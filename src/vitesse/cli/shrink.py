"""`vitesse shrink`: from images and a budget to a small network, the main job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from vitesse.cli.options import BudgetOptions, RunOptions, number_or_word


@dataclass(frozen=True, kw_only=True)
class Shrink(BudgetOptions, RunOptions):
    """Find, teach and export the best small network for your images that fits a budget.

    The images are divided into three parts: one to learn from, one to search on, one that is looked at once, at the end.
    A teacher is loaded, or trained here. Smaller networks are slices of one supernet, which it teaches; a search finds the
    best within the budget; that one is trained on, exported to ONNX, checked and timed. Interrupted at any moment, the
    same command goes on where it was.

    Examples:
      vitesse shrink --data digits --max-params 60k --out runs/digits
      vitesse shrink --data photos/ --teacher deit_small_patch16_224 --max-latency 12ms --out runs/photos
      vitesse shrink --data digits --max-params 30k --multiplex auto --out runs/shared
      vitesse shrink --data digits --max-params 60k --evolve-space --out runs/evolved
      vitesse shrink --data photos/ --max-params 3M --space cells --strategy cyclic --out runs/cells
    """

    space: str | None = None
    """auto (around the teacher; the default), mobile (convolutions, made for the data and the budget), cells (whose
    operations and edges are searched; cyclic alone), a named space (autoformer_tiny, cream_287, ...), or a JSON file."""
    strategy: Literal["evolution", "nsga2", "contraction", "prioritized", "cyclic", "random"] | None = None
    """How the space is searched; evolution by default. prioritized: among the best paths that the supernet's training met,
    which teach the others meanwhile. cyclic: choices between operations, or cells, learned by gradients (CDARTS)."""
    multiplex: str | None = None
    """Let blocks share weights, so that more fit into the budget: auto (the search chooses), or how many always do."""
    evolve_space: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Move the space to where the better networks are before it is searched (see vitesse search-space)."""
    teacher_store: str | None = None
    """The folder of a store of the teacher's logits (vitesse logits write), read by supernet and finish alike."""

    def run(self) -> None:
        """Do it."""
        from vitesse.cli.running import run_verb
        from vitesse.shrink.run import shrink

        flags = {
            "supernet.space": self.space,
            "supernet.multiplex": number_or_word(self.multiplex),
            "evolve.space": self.evolve_space or None,
            "search.strategy": self.strategy,
            "teacher.store": self.teacher_store,
        }
        run_verb(self, work=shrink, flags=flags)
