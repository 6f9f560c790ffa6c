"""Mini-DeiT on ImageNet as published (MiniViT, Zhang et al., CVPR 2022): distilled from a RegNet, from nothing.

The hyperparameters are those of the published training. What differs here: bf16 instead of fp16; mixup and CutMix draw a
share for each image instead of one for each batch, so that a run can be replayed; each image is seen once an epoch (the
published code shows it three times, in a third of the epochs' images); the learning rate moves every step instead of every
epoch; the divergence from the teacher is not divided by the number of classes, which AdamW without clipping hardly notices;
averaged weights, which the published code keeps but does not evaluate, are left out; the maps over the heads begin as the
identity, where the published ones begin normal with deviation 0.02, so that attention begins almost uniform.
"""

from __future__ import annotations

from typing import Literal

from vitesse.data.augment import Augment
from vitesse.data.load import DataSettings
from vitesse.data.mix import Mix
from vitesse.shrink.settings import ShrinkSettings, TeacherSettings
from vitesse.tasks.settings import DistillSettings
from vitesse.train.settings import TrainSettings

Size = Literal["tiny", "small", "base"]


def mini_deit_imagenet(size: Size) -> ShrinkSettings:
    """Mini-DeiT-Ti, -S or -B on ImageNet, taught by RegNetY-16GF through its logits alone.

    Command, one machine of 8 GPUs (128 images each):
        torchrun --nproc-per-node 8 -m vitesse train --arch mini_deit_tiny_patch16_224 --recipe mini_deit_tiny \\
            --data imagenet/ --out runs/mini_deit_tiny
    One GPU: the same without torchrun, with `--set finish.accumulate=8`.
    Hardware and time: not measured here.
    To expect, by the published code's README: 73.0 (Ti, 3M), 80.9 (S, 11M), 83.2 (B, 44M) top-1.
    """
    return ShrinkSettings(
        data=DataSettings(source="imagenet", size=224, workers=10),
        augment=Augment(
            zoom=(0.283, 1.0), stretch=0.288, flip=0.5, erase=0.25, edge="reflect", policy="rand-m9-mstd0.5-inc1"
        ),
        mix=Mix(mixup=0.8, cutmix=1.0, smoothing=0.1),
        teacher=TeacherSettings(model="regnety_160.deit_in1k"),
        distill=DistillSettings(labels=0.0, logits=1.0, temperature=1.0),
        finish=TrainSettings(
            epochs=300,
            batch=1024,
            lr=1e-3,
            start_lr=1e-6,
            min_lr=1e-5,
            warmup=5 / 300,
            weight_decay=0.05,
            clip=0.0,
            drop_path=0.1 if size == "base" else 0.0,
            precision="bf16",
            evaluate_every=10,
            checkpoint_seconds=600,
        ),
    )
