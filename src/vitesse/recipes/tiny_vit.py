"""TinyViT as published (Wu et al., ECCV 2022, arXiv 2207.10666): pretraining from stored logits, and finetuning.

The hyperparameters are those of the published configurations. What differs here: bf16 instead of fp16; the rate rises before
the cosine instead of over its beginning; at 384 and 512 pixels images are cropped for evaluation as at 224, where the
published code resizes them whole.
"""

from __future__ import annotations

from typing import Literal

from vitesse.data.augment import Augment
from vitesse.data.load import DataSettings
from vitesse.data.mix import Mix
from vitesse.shrink.settings import ShrinkSettings
from vitesse.tasks.settings import DistillSettings
from vitesse.train.settings import TrainSettings

Size = Literal["5m", "11m", "21m"]

_VIEWS = Augment(zoom=(0.283, 1.0), stretch=0.288, flip=0.5, erase=0.25, edge="reflect", policy="rand-m9-mstd0.5-inc1")
_DROP_PATH = {"5m": 0.0, "11m": 0.0, "21m": 0.1}


def tiny_vit_22k(size: Size) -> ShrinkSettings:
    """Pretraining of TinyViT-5M, -11M or -21M on ImageNet-22k: the teacher's logits and nothing else, no mixing.

    Commands, one machine of 8 GPUs; the store is written once for all three (100 classes of a view, 404 bytes):
        torchrun --nproc-per-node 8 -m vitesse logits write --recipe tiny_vit_5m_22k --teacher TEACHER \\
            --data imagenet22k/ --epochs 90 --top 100 --out stores/22k
        torchrun --nproc-per-node 8 -m vitesse distill --recipe tiny_vit_5m_22k --student tiny_vit_5m_224 \\
            --data imagenet22k/ --store stores/22k --set finish.accumulate=4 --out runs/22k
    Hardware and time: not measured here. The published teacher is CLIP ViT-L/14 finetuned on ImageNet-22k.
    """
    return ShrinkSettings(
        data=DataSettings(source="imagenet22k", size=224, workers=10),
        augment=_VIEWS,
        mix=Mix(),
        distill=DistillSettings(labels=0.0, logits=1.0, temperature=1.0),
        finish=TrainSettings(
            epochs=90,
            batch=4096,
            lr=2e-3,
            start_lr=4e-6,
            min_lr=4e-5,
            warmup=5 / 90,
            weight_decay=0.01,
            clip=5.0,
            drop_path=_DROP_PATH[size],
            precision="bf16",
            checkpoint_seconds=600,
        ),
    )


def tiny_vit_22kto1k(size: Size) -> ShrinkSettings:
    """Finetuning of a pretrained TinyViT on ImageNet-1k, by labels alone.

    Command, one machine of 8 GPUs:
        torchrun --nproc-per-node 8 -m vitesse train --recipe tiny_vit_5m_22kto1k --arch runs/22k \\
            --data imagenet/ --out runs/1k
    Hardware and time: not measured here. Published: 80.7 (5M), 83.2 (11M), 84.8 (21M) top-1.
    """
    return ShrinkSettings(
        data=DataSettings(source="imagenet", size=224, workers=10),
        augment=_VIEWS,
        mix=Mix(smoothing=0.1),
        finish=TrainSettings(
            epochs=30,
            batch=1024,
            lr=5e-4,
            start_lr=1e-6,
            min_lr=2e-5,
            warmup=5 / 30,
            weight_decay=1e-8,
            clip=5.0,
            layer_decay=0.8,
            drop_path=_DROP_PATH[size],
            frozen_statistics=True,
            precision="bf16",
            checkpoint_seconds=600,
        ),
    )


def tiny_vit_21m_larger(pixels: Literal[384, 512]) -> ShrinkSettings:
    """Finetuning of TinyViT-21M for images of 384 or 512 pixels, by labels alone.

    Commands, one machine of 8 GPUs; each starts from the one before, its tables of biases interpolated:
        torchrun --nproc-per-node 8 -m vitesse train --recipe tiny_vit_21m_384 --arch runs/1k --data imagenet/ --out runs/384
        torchrun --nproc-per-node 8 -m vitesse train --recipe tiny_vit_21m_512 --arch runs/384 --data imagenet/ --out runs/512
    Hardware and time: not measured here. Published: 86.2 (384), 86.5 (512) top-1.
    """
    return ShrinkSettings(
        data=DataSettings(source="imagenet", size=pixels, workers=10),
        augment=_VIEWS,
        mix=Mix(smoothing=0.1),
        finish=TrainSettings(
            epochs=30,
            batch=1024,
            accumulate=4,
            lr=4e-5,
            start_lr=4e-8,
            min_lr=4e-7,
            warmup=5 / 30,
            weight_decay=1e-8,
            clip=5.0,
            drop_path=0.1,
            frozen_statistics=True,
            precision="bf16",
            checkpoint_seconds=600,
        ),
    )
