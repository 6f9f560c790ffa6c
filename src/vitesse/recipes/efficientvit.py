"""EfficientViT of MSRA on ImageNet as published (Liu et al., CVPR 2023, arXiv 2305.07027): by labels, from nothing.

The hyperparameters are those of the published training. What differs here: the learning rate moves every step instead of
every epoch, and rises before the cosine instead of over its beginning; mixup and CutMix draw a share for each image instead
of one for each batch, so that a run can be replayed; each image is seen once an epoch (the published code shows it three
times, in a third of the epoch's images); averaged weights, which the published code keeps but does not report, are left out.
"""

from __future__ import annotations

from vitesse.data.augment import Augment
from vitesse.data.load import DataSettings
from vitesse.data.mix import Mix
from vitesse.shrink.settings import ShrinkSettings
from vitesse.train.settings import TrainSettings


def efficientvit_imagenet() -> ShrinkSettings:
    """EfficientViT-M0 to -M5 on ImageNet; all were trained alike.

    Command, one machine of 8 GPUs (256 images each):
        torchrun --nproc-per-node 8 -m vitesse train --arch efficientvit_m4 --recipe efficientvit \\
            --data imagenet/ --out runs/efficientvit_m4
    One GPU: the same without torchrun, with `--set finish.accumulate=8`.
    Hardware and time: not measured here. Published: M5 in about 30 hours on 8 V100.
    To expect, by the published code's README: 63.2 (M0), 68.4 (M1), 70.8 (M2), 73.4 (M3), 74.3 (M4), 77.1 (M5) top-1.
    """
    return ShrinkSettings(
        data=DataSettings(source="imagenet", size=224, workers=10),
        augment=Augment(
            zoom=(0.283, 1.0), stretch=0.288, flip=0.5, erase=0.25, edge="reflect", policy="rand-m9-mstd0.5-inc1"
        ),
        mix=Mix(mixup=0.8, cutmix=1.0, smoothing=0.1),
        finish=TrainSettings(
            epochs=300,
            batch=2048,
            lr=4e-3,
            start_lr=1e-6,
            min_lr=1e-5,
            warmup=5 / 300,
            weight_decay=0.025,
            clip=0.02,
            clip_mode="adaptive",
            precision="fp32",
            evaluate_every=10,
            checkpoint_seconds=600,
        ),
    )
