"""Weight distillation as in MiniViT (Zhang et al., CVPR 2022, arXiv 2204.07154): the loss as published, and a small trial."""

from __future__ import annotations

from vitesse.data.load import DataSettings
from vitesse.losses.relations import PUBLISHED_FACTOR
from vitesse.shrink.settings import ShrinkSettings, TeacherSettings
from vitesse.tasks.settings import DistillSettings
from vitesse.train.settings import TrainSettings


def mini_swin_terms() -> DistillSettings:
    """The three terms of Mini-Swin: no labels, logits at temperature 1, all nine relations, hidden relations 0.1 x 49."""
    return DistillSettings(
        labels=0.0,
        logits=1.0,
        temperature=1.0,
        form="cross_entropy",
        attention=1.0,
        pairs=("qq", "qk", "qv", "kq", "kk", "kv", "vq", "vk", "vv"),
        hidden=0.1 * PUBLISHED_FACTOR,
    )


def distill_digits() -> ShrinkSettings:
    """A trial on the bundled digits with all three terms; the teacher is trained first where none is named.

    Command, after `vitesse shrink --data digits --max-params 60k --out runs/digits`:
        vitesse distill --recipe distill_digits --student runs/digits/arch.json --out runs/again
    """
    return ShrinkSettings(
        data=DataSettings(source="digits"),
        teacher=TeacherSettings(train=TrainSettings(steps=450, lr=2e-3, ema=0.99, drop_path=0.1, evaluate_every=10)),
        distill=DistillSettings(attention=1.0, hidden=1.0),
        finish=TrainSettings(steps=450, lr=2e-3, ema=0.99, evaluate_every=10),
    )
