"""The networks of cells that CDARTS found (Yu et al., TPAMI 2022, arXiv 2006.10724) as values: no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from vitesse.arch import CellNetwork, CellSpace, CellStage, CellStem, Genotype, Head
from vitesse.arch.genotype import parse_genotype

# The same cells in all three stages, in the form in which they were published.
CIFAR_GENOTYPE = parse_genotype(
    "Genotype(normal=[[('sep_conv_3x3', 0), ('sep_conv_3x3', 1)], [('sep_conv_3x3', 1), ('sep_conv_3x3', 2)], "
    "[('sep_conv_3x3', 0), ('sep_conv_3x3', 1)], [('skip_connect', 0), ('skip_connect', 2)]], normal_concat=range(2, 6), "
    "reduce=[[('sep_conv_5x5', 1), ('max_pool_3x3', 0)], [('dil_conv_5x5', 2), ('skip_connect', 0)], "
    "[('sep_conv_3x3', 0), ('sep_conv_5x5', 1)], [('sep_conv_3x3', 0), ('dil_conv_5x5', 2)]], reduce_concat=range(2, 6))"
)
IMAGENET_GENOTYPE = parse_genotype(
    "Genotype(normal=[[('sep_conv_3x3', 1), ('sep_conv_3x3', 0)], [('sep_conv_3x3', 0), ('sep_conv_5x5', 2)], "
    "[('sep_conv_5x5', 2), ('sep_conv_3x3', 1)], [('sep_conv_3x3', 1), ('sep_conv_5x5', 4)]], normal_concat=range(2, 6), "
    "reduce=[[('sep_conv_5x5', 1), ('avg_pool_3x3', 0)], [('max_pool_3x3', 1), ('dil_conv_5x5', 2)], "
    "[('sep_conv_5x5', 1), ('dil_conv_5x5', 2)], [('sep_conv_3x3', 3), ('dil_conv_3x3', 4)]], reduce_concat=range(2, 6))"
)

Kind = Literal["cifar", "imagenet"]
GENOTYPES: dict[Kind, Genotype] = {"cifar": CIFAR_GENOTYPE, "imagenet": IMAGENET_GENOTYPE}
# Of each kind: how many cells its stages have, the last of the first two being a reduction cell, and how much wider the stem
# is than a node of the first.
DEPTHS: dict[Kind, tuple[int, ...]] = {"cifar": (7, 7, 6), "imagenet": (5, 5, 4)}
STEM_MULTIPLIERS: dict[Kind, int] = {"cifar": 3, "imagenet": 1}


def cdarts_cifar10(*, classes: int = 10, image: int = 32) -> CellNetwork:
    """The published cells for CIFAR-10: 20 of them, 36 channels, 3.9 million parameters."""
    return cell_network("cifar", [CIFAR_GENOTYPE] * 3, channels=36, classes=classes, image=(image, image))


def cdarts_imagenet(*, classes: int = 1000, image: int = 224) -> CellNetwork:
    """The published cells for ImageNet: 14 of them, 48 channels, 6.4 million parameters."""
    return cell_network("imagenet", [IMAGENET_GENOTYPE] * 3, channels=48, classes=classes, image=(image, image))


def cell_network(
    kind: Kind,
    genotypes: Sequence[Genotype],
    *,
    channels: int,
    classes: int,
    image: tuple[int, int],
    depths: Sequence[int] | None = None,
    stem_multiplier: int | None = None,
    auxiliary: bool = False,
) -> CellNetwork:
    """A network as published for small images ("cifar") or large ones ("imagenet"), of one genotype a stage.

    channels: of a node of the first stage; each reduction doubles them. depths, stem_multiplier: the published ones where
    they are None. auxiliary: with the second classifier of training.
    """
    depths = DEPTHS[kind] if depths is None else depths
    wider = STEM_MULTIPLIERS[kind] if stem_multiplier is None else stem_multiplier
    stages = [
        CellStage(depth=depth, channels=channels * 2**s, genotype=genotype, halves=s < len(depths) - 1)
        for s, (depth, genotype) in enumerate(zip(depths, genotypes, strict=True))
    ]
    arch = CellNetwork(
        stem=CellStem(dim=channels * wider, stride=1 if kind == "cifar" else 8, image=image),
        stages=tuple(stages),
        head=Head(classes=classes, pool="mean", norm=None, norm_first=False),
    )
    return replace(arch, auxiliary=arch.usual_auxiliary) if auxiliary else arch


def cell_space(kind: Kind, *, classes: int, image: tuple[int, int], repeated: bool = True) -> CellSpace:
    """The networks among which the published search looked for cells: 8 mixed cells of 16 channels, 20 (14) found ones."""
    return CellSpace(
        stem=CellStem(dim=16 * STEM_MULTIPLIERS[kind], stride=1 if kind == "cifar" else 8, image=image),
        head=Head(classes=classes, pool="mean", norm=None, norm_first=False),
        found_depths=DEPTHS[kind],
        repeated=repeated,
    )
