"""`vitesse train`: one network, no search."""

from __future__ import annotations

from dataclasses import dataclass

from vitesse.cli.options import RunOptions


@dataclass(frozen=True, kw_only=True)
class Train(RunOptions):
    """Train one network, with a teacher or without; export, check and time it.

    Examples:
      vitesse train --arch deit_tiny_patch16_224 --data photos/ --out runs/deit
      vitesse train --arch runs/photos/arch.json --teacher runs/photos/teacher/model.safetensors --out runs/again
    """

    arch: str
    """A model of `vitesse models` or a JSON file of an architecture, from nothing; or a run folder, a file of weights or a
    timm name, whose weights are where it starts."""
    epochs: int | None = None
    """Passes over the images."""

    def run(self) -> None:
        """Do it."""
        from vitesse.cli.running import run_verb
        from vitesse.shrink.run import train

        run_verb(self, work=train, flags={"finish.epochs": self.epochs}, arguments={"arch": self.arch})
