"""`vitesse distill`: any encoder into any network."""

from __future__ import annotations

from dataclasses import dataclass

from vitesse.cli.options import BudgetOptions, RunOptions


@dataclass(frozen=True, kw_only=True)
class Distill(BudgetOptions, RunOptions):
    """Teach one network what another one knows: its logits, its attention, its hidden states, its features.

    The teacher is a timm name, a model of the Hugging Face Hub (hf:owner/name, or clip:owner/name, which needs the names of
    the classes alone), a run folder or a file of weights. It sees the student's view in its own colours and size. One
    that knows other classes is first tuned to the data; one that knows none teaches by its features. What is listened
    to, and how much, is distill.* (docs/methods.md). Without labels the result is an encoder.

    Examples:
      vitesse distill --student deit_tiny_patch16_224 --teacher deit_small_patch16_224 --data photos/ --out runs/tiny
      vitesse distill --student runs/small --teacher vit_small_patch14_dinov2 --data photos/ --out runs/seeing
      vitesse distill --student deit_tiny_patch16_224 --teacher hf:facebook/dinov2-base --data pile/ --unlabelled --out runs/eye
    """

    student: str
    """A model of `vitesse models`, a JSON file of an architecture, a run folder, a file of weights, or a timm name."""
    store: str | None = None
    """The folder of a store of its logits (vitesse logits write): the teacher itself is then not needed."""
    epochs: int | None = None
    """Passes over the images."""
    unlabelled: bool = False
    """Take all images in the folder, in whatever folders they lie; teach features alone."""

    def run(self) -> None:
        """Do it."""
        from vitesse.cli.running import run_verb
        from vitesse.shrink.distilling import distill

        flags = {
            "teacher.store": self.store,
            "finish.epochs": self.epochs,
            "data.labels": False if self.unlabelled else None,
        }
        run_verb(self, work=distill, flags=flags, arguments={"student": self.student})
