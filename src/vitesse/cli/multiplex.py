"""`vitesse multiplex`: the blocks of a trained network share their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from vitesse.cli.options import RunOptions, number_or_word
from vitesse.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Multiplex(RunOptions):
    """Make the blocks of a trained network share their weights (MiniViT), and teach it to do as well as before.

    Consecutive blocks use one set of weights; each keeps norms and positions of its own, and gets small maps that tell
    it from the others. Depth, and so time, stay as they are; weights become fewer. How far the features drift before any
    training is said and kept. Then the network is taught by the original, exported, checked and timed.

    Examples:
      vitesse multiplex runs/digits --data digits --share 2 --out runs/shared
      vitesse multiplex deit_small_patch16_224 --data photos/ --share 3 --init fit --set finish.epochs=30 --out runs/small
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run folder, a file of weights, or a timm name. It is the teacher, too."""
    share: str | None = None
    """How many consecutive blocks use one set of weights, or all; 2 by default."""
    init: Literal["auto", "first", "mean", "fit"] | None = None
    """Where shared weights begin: the first of the group, its mean, a least-squares fit; auto (the default): the best."""
    mix: Literal["heads", "local", "both", "none"] | None = None
    """What tells blocks apart: maps over the heads (the default), a convolution over the map, both, or none."""

    def run(self) -> None:
        """Do it."""
        from vitesse.cli.running import run_verb
        from vitesse.shrink.run import multiplex

        if self.teacher is not None:
            raise UsageError(
                f"The original, {self.model}, is the teacher, but got --teacher {self.teacher}. Leave it out."
            )
        flags = {"teacher.model": self.model, "multiplex.init": self.init, "multiplex.mix": self.mix}
        run_verb(self, work=multiplex, flags=flags | {"multiplex.share": number_or_word(self.share)})
