"""The search for cells and the training of found ones as published with CDARTS (Yu et al., TPAMI 2022, arXiv 2006.10724).

Both are by labels, from nothing.

The hyperparameters are those of the published retraining. What differs here: the learning rate and the rate of drop path move
every step instead of every epoch; normalizations and biases are not decayed; on ImageNet each process normalizes by its own
images, the learning rate rises before the cosine instead of over its beginning, and light is changed in brightness and
contrast alone, not in saturation and hue; on CIFAR pictures kept in memory are shifted by parts of a pixel, too.
"""

from __future__ import annotations

from vitesse.data.augment import Augment
from vitesse.data.load import DataSettings
from vitesse.data.mix import Mix
from vitesse.shrink.settings import SearchSettings, ShrinkSettings, SupernetSettings
from vitesse.tasks.cyclic.settings import CyclicSettings
from vitesse.tasks.settings import DistillSettings
from vitesse.train.settings import TrainSettings


def cdarts_cifar_search() -> ShrinkSettings:
    """The search for cells on CIFAR-10, on one GPU.

    Command:
        vitesse supernet --recipe cdarts_cifar_search --data cifar10/ --out runs/cells
        vitesse search runs/cells --recipe cdarts_cifar --strategy cyclic --data cifar10/ --max-params 3.9M --finish \\
            --out runs/cdarts
    Two epochs of the mixed network alone, then 30 cycles, each an epoch of the found network alone and one of both. What
    differs: `docs/methods.md` lists it; the halves of the learn part are drawn, and the part is smaller than the published
    one by the search and test parts where these data bring none.
    Hardware and time: not measured here; published: 0.3 GPU-days.
    """
    cycles, alone = 30, 2
    epochs = alone + 2 * cycles
    return ShrinkSettings(
        data=DataSettings(source="cifar10", size=32),
        augment=Augment(shift=4 / 32, flip=0.5),
        mix=Mix(),
        supernet=SupernetSettings(
            space="cells",
            rule="cyclic",
            cyclic=CyclicSettings(
                cycles=cycles,
                pretrain=alone / epochs,
                warmup=0.5,
                explore=0.0,
                alpha_lr=3e-4,
                penalty=5.0,
                penalty_until=0.667,
                distance="smooth_l1",
                fixed_heads=True,
                rate="constant",
                reset_optimizers=True,
                clip_over="all",
            ),
            train=TrainSettings(
                epochs=epochs,
                batch=64,
                lr=0.08,
                optimizer="momentum",
                weight_decay=3e-4,
                clip=5.0,
                evaluate_every=5,
                checkpoint_seconds=300,
            ),
        ),
        search=SearchSettings(strategy="cyclic"),
    )


def cdarts_cifar() -> ShrinkSettings:
    """A network of cells on CIFAR-10 or CIFAR-100, on one GPU.

    Command:
        vitesse train --arch cdarts_cifar10 --recipe cdarts_cifar --data cifar10/ --out runs/cdarts
    Other cells: a JSON file of their network instead of the name. The published code chooses by the number of parameters:
    below 3.0 million weight_decay 3e-4 and drop_path 0.2, below 3.5 million 3e-4 and 0.3, else what stands here.
    Hardware and time: not measured here.
    To expect, by the published code's README: 97.52 ± 0.04 on CIFAR-10, 84.31 on CIFAR-100.
    """
    return ShrinkSettings(
        data=DataSettings(source="cifar10", size=32),
        augment=Augment(shift=4 / 32, flip=0.5, cutout=16 / 32),
        mix=Mix(),
        distill=DistillSettings(auxiliary=0.4),
        finish=TrainSettings(
            epochs=600,
            batch=128,
            lr=0.025,
            min_lr=0.0,
            warmup=0.0,
            optimizer="momentum",
            weight_decay=5e-4,
            clip=5.0,
            drop_path=0.3,
            drop_path_rise=True,
            evaluate_every=10,
            checkpoint_seconds=300,
        ),
    )


def cdarts_imagenet() -> ShrinkSettings:
    """A network of cells on ImageNet.

    Command, one machine of 8 GPUs (128 images each):
        torchrun --nproc-per-node 8 -m vitesse train --arch cdarts_imagenet --recipe cdarts_imagenet \\
            --data imagenet/ --out runs/cdarts_imagenet
    Hardware and time: not measured here.
    To expect, by the published code's README: 76.3 ± 0.3 top-1.
    """
    return ShrinkSettings(
        data=DataSettings(source="imagenet", size=224, workers=10),
        augment=Augment(zoom=(0.283, 1.0), stretch=0.288, flip=0.5, brightness=0.4, contrast=0.4, edge="reflect"),
        mix=Mix(smoothing=0.1),
        distill=DistillSettings(auxiliary=0.4),
        finish=TrainSettings(
            epochs=250,
            batch=1024,
            lr=0.5,
            min_lr=0.0,
            start_lr=0.1,
            warmup=5 / 250,
            optimizer="momentum",
            weight_decay=3e-5,
            clip=5.0,
            evaluate_every=10,
            checkpoint_seconds=600,
        ),
    )
