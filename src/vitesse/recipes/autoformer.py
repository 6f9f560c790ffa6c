"""AutoFormer on ImageNet as published (Chen et al., ICCV 2021): supernet training and evolution.

The hyperparameters are those of the published supernets. What differs here: bf16 or fp32 instead of fp16; mixup and CutMix
draw a share for each image instead of one for each batch, so that a run can be replayed; each image is seen once an epoch
(the published code shows it three times, in a third of the epochs' images); the learning rate moves every step instead of
every epoch.
"""

from __future__ import annotations

from typing import Literal

from vitesse.data.augment import Augment
from vitesse.data.load import DataSettings
from vitesse.data.mix import Mix
from vitesse.shrink.settings import SearchSettings, ShrinkSettings, SupernetSettings, TeacherSettings
from vitesse.train.settings import TrainSettings

Size = Literal["tiny", "small", "base"]


def autoformer_imagenet(size: Size) -> ShrinkSettings:
    """The supernet of AutoFormer-T, -S or -B on ImageNet, and the evolution in it.

    Command, one machine of 8 GPUs (128 images each):
        torchrun --nproc-per-node 8 -m vitesse supernet --recipe autoformer_tiny --data imagenet/ --out runs/supernet
        vitesse search runs/supernet --data imagenet/ --max-params 6M --out runs/tiny
    One GPU: the same without torchrun, with `--set supernet.train.accumulate=8`.
    Hardware and time: not measured here; about 24 GPU days on V100 by a public estimate.
    To expect, by the published code's README: 75.3 (T, 5.8M), 81.7 (S, 22.9M), 82.4 (B, 53.7M) top-1 without retraining.
    """
    return ShrinkSettings(
        data=DataSettings(source="imagenet", size=224, workers=10),
        augment=Augment(
            zoom=(0.283, 1.0), stretch=0.288, flip=0.5, erase=0.25, edge="reflect", policy="rand-m9-mstd0.5-inc1"
        ),
        mix=Mix(mixup=0.8, cutmix=1.0, smoothing=0.1),
        teacher=TeacherSettings(model=""),
        supernet=SupernetSettings(
            space=f"autoformer_{size}",
            rule="single",
            train=TrainSettings(
                epochs=500,
                batch=1024,
                lr=1e-3,
                start_lr=1e-6,
                min_lr=1e-5,
                warmup=20 / 500,
                weight_decay=0.05,
                clip=0.0,
                drop_path=0.1,
                precision="bf16",
                evaluate_every=10,
                checkpoint_seconds=600,
            ),
        ),
        search=SearchSettings(strategy="evolution", population=50, generations=20, batch=512, precision="bf16"),
    )
