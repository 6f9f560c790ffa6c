"""Cream on ImageNet as published (Peng et al., NeurIPS 2020, arXiv 2010.15821): its space's supernet, and training a network.

The hyperparameters are those of the published code. What differs here: weights of layers that a step does not run stay where
they are (the published code's optimizer moves them on by momentum and decay); the learning rate of the search falls to zero
along a cosine instead of a line, and rises in the first hundredth; small networks fall along a cosine, too, instead of by 2.7
percent every 2.4 epochs; running statistics are gathered anew for each network before it is scored; dropout before the
classifier (0.2) and colour jitter beside RandAugment are left out.
"""

from __future__ import annotations

from typing import Literal

from vitesse.data.augment import Augment
from vitesse.data.load import DataSettings
from vitesse.data.mix import Mix
from vitesse.shrink.settings import SearchSettings, ShrinkSettings, SupernetSettings, TeacherSettings
from vitesse.train.settings import TrainSettings

Band = Literal[14, 43, 114, 287, 481, 604]
SIDES: dict[Band, int] = {14: 64, 43: 96, 114: 160, 287: 224, 481: 224, 604: 224}


def cream_search(band: Band) -> ShrinkSettings:
    """The supernet of Cream's space for a band of million multiply-adds, one path a step, and a search in it.

    This is the space and its training by paths that are drawn; without the board of prioritized paths that distil to others.
    Command, one machine of 8 GPUs (128 images each):
        torchrun --nproc-per-node 8 -m vitesse supernet --recipe cream_287_search --data imagenet/ --out runs/supernet
        vitesse search runs/supernet --data imagenet/ --max-macs 287M --out runs/cream
    One GPU: the same without torchrun, with `--set supernet.train.accumulate=8`.
    Hardware and time: not measured here; published: about 12 GPU days.
    """
    return ShrinkSettings(
        data=DataSettings(source="imagenet", size=SIDES[band], workers=10),
        augment=Augment(
            zoom=(0.283, 1.0), stretch=0.288, flip=0.5, erase=0.2, brightness=0.4, contrast=0.4, edge="reflect"
        ),
        mix=Mix(smoothing=0.1),
        teacher=TeacherSettings(model=""),
        supernet=SupernetSettings(
            space=f"cream_{band}",
            rule="single",
            train=TrainSettings(
                epochs=120,
                batch=1024,
                lr=1.0,
                start_lr=1e-6,
                min_lr=0.0,
                warmup=0.01,
                optimizer="sgd",
                weight_decay=1e-4,
                clip=0.0,
                evaluate_every=10,
                checkpoint_seconds=600,
            ),
        ),
        search=SearchSettings(strategy="evolution", population=50, generations=20, batch=512),
    )


def cream_imagenet(band: Band) -> ShrinkSettings:
    """A network of Cream on ImageNet, trained from nothing.

    Command, one machine of 8 GPUs (128 images each):
        torchrun --nproc-per-node 8 -m vitesse train --arch cream_287 --recipe cream_287 --data imagenet/ --out runs/cream
    One GPU: the same without torchrun, with `--set finish.accumulate=8`.
    Hardware and time: not measured here.
    To expect, by the published code's README, top-1 in percent: 53.8 (14), 66.3 (43), 72.8 (114), 77.6 (287), 79.2 (481),
    80.0 (604), with 16 GPUs and so twice the batch; with the same settings on 8: 53.7, 65.8, 72.1, 76.7, 78.9, 79.4.
    """
    return ShrinkSettings(
        data=DataSettings(source="imagenet", size=SIDES[band], workers=10),
        augment=Augment(
            zoom=(0.283, 1.0), stretch=0.288, flip=0.5, erase=0.2, edge="reflect", policy="rand-m9-mstd0.5"
        ),
        mix=Mix(smoothing=0.1),
        finish=TrainSettings(
            epochs=500,
            batch=1024,
            lr=0.064,
            start_lr=1e-6,
            min_lr=1e-5,
            warmup=3 / 500,
            optimizer="rmsproptf",
            eps=1e-3,
            weight_decay=1e-5,
            clip=0.0,
            ema=0.9999,
            evaluate_every=10,
            checkpoint_seconds=600,
        ),
    )
