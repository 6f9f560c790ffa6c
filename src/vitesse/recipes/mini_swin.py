"""Mini-Swin on ImageNet as published (MiniViT, Zhang et al., CVPR 2022, arXiv 2204.07154), in two stages.

First from nothing at 224 pixels, told by a Swin: its logits, the relations of its q, k and v, and those of its hidden states.
Then, for 384 pixels, tuned by labels alone. The hyperparameters are those of the published training. What differs here: bf16
instead of fp16; the rate rises before the cosine instead of over its beginning; mixup and CutMix draw a share for each image
instead of one for each batch, so that a run can be replayed; the maps over the heads begin as the identity and the convolutions
of the transformation at zero, where the published ones begin normal with deviation 0.02 and as convolutions usually begin.
"""

from __future__ import annotations

from typing import Literal

from vitesse.data.augment import Augment
from vitesse.data.load import DataSettings
from vitesse.data.mix import Mix
from vitesse.recipes.weight_distillation import mini_swin_terms
from vitesse.shrink.settings import ShrinkSettings, TeacherSettings
from vitesse.train.settings import TrainSettings

Size = Literal["tiny", "small", "base"]

_VIEWS = Augment(zoom=(0.283, 1.0), stretch=0.288, flip=0.5, erase=0.25, edge="reflect", policy="rand-m9-mstd0.5-inc1")
_MIX = Mix(mixup=0.8, cutmix=1.0, smoothing=0.1)
_DROP_PATH = {"tiny": 0.0, "small": 0.1, "base": 0.2}


def mini_swin_imagenet(size: Size) -> ShrinkSettings:
    """The first stage: Mini-Swin-T, -S or -B on ImageNet, taught by a Swin-B of ImageNet-22k.

    Command, one machine of 8 GPUs (128 images each):
        torchrun --nproc-per-node 8 -m vitesse train --arch mini_swin_tiny_patch4_window7_224 --recipe mini_swin_tiny \\
            --data imagenet/ --out runs/mini_swin_tiny
    One GPU: the same without torchrun, with `--set finish.accumulate=8`.
    Hardware and time: not measured here. The published code names no file for the teacher.
    To expect, by the published code's README: 81.3 (T, 12M), 83.9 (S, 26M), 84.5 (B, 46M) top-1.
    """
    return ShrinkSettings(
        data=DataSettings(source="imagenet", size=224, workers=10),
        augment=_VIEWS,
        mix=_MIX,
        teacher=TeacherSettings(model="swin_base_patch4_window7_224.ms_in22k_ft_in1k"),
        distill=mini_swin_terms(),
        finish=TrainSettings(
            epochs=300,
            batch=1024,
            lr=1e-3,
            start_lr=1e-6,
            min_lr=1e-5,
            warmup=20 / 300,
            weight_decay=0.05,
            clip=5.0,
            drop_path=_DROP_PATH[size],
            precision="bf16",
            evaluate_every=10,
            checkpoint_seconds=600,
        ),
    )


def mini_swin_384() -> ShrinkSettings:
    """The second stage: Mini-Swin-B tuned for images of 384 pixels, by labels alone.

    Command, one machine of 8 GPUs; it starts from the first stage, its windows grown to 12 and its tables interpolated:
        torchrun --nproc-per-node 8 -m vitesse train --recipe mini_swin_base_384 --arch runs/mini_swin_base \\
            --data imagenet/ --out runs/mini_swin_base_384
    Hardware and time: not measured here. To expect, by the published code's README: 85.5 top-1.
    """
    return ShrinkSettings(
        data=DataSettings(source="imagenet", size=384, workers=10),
        augment=_VIEWS,
        mix=_MIX,
        finish=TrainSettings(
            epochs=30,
            batch=256,
            accumulate=2,
            lr=1e-5,
            start_lr=2.5e-7,
            min_lr=2.5e-6,
            warmup=5 / 30,
            weight_decay=1e-8,
            clip=5.0,
            drop_path=0.2,
            precision="bf16",
            checkpoint_seconds=600,
        ),
    )
