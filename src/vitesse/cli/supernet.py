"""`vitesse supernet`: what `vitesse search` searches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vitesse.cli.options import BudgetOptions, RunOptions


@dataclass(frozen=True, kw_only=True)
class Supernet(BudgetOptions, RunOptions):
    """Train the supernet of a space: one network that holds the weights of every smaller one.

    With a limit, only subnets within it are trained, beside the largest and the smallest. With a teacher that is a plain
    ViT and the space auto, the trained teacher becomes elastic: its weights are where the supernet starts.

    Examples:
      vitesse supernet --space autoformer_tiny --data photos/ --out runs/supernet
      torchrun --nproc-per-node 8 -m vitesse supernet --recipe autoformer_tiny --data imagenet/ --out runs/supernet
    """

    space: str | None = None
    """auto (around the teacher; the default), mobile (convolutions, made for the data and the budget), cells (whose
    operations and edges are searched; cyclic alone), a named space (autoformer_tiny, cream_287, ...), or a JSON file."""
    rule: Literal["sandwich", "single", "prioritized", "cyclic"] | None = None
    """sandwich (the default): the largest, the smallest and some random subnets in each step; single: one random one;
    prioritized: one random one, which the best so far teach (then vitesse search --strategy prioritized);
    cyclic: choices between operations learned by gradients (then vitesse search --strategy cyclic)."""

    def run(self) -> None:
        """Do it."""
        from vitesse.cli.running import run_verb
        from vitesse.shrink.run import train_supernet

        run_verb(self, work=train_supernet, flags={"supernet.space": self.space, "supernet.rule": self.rule})
