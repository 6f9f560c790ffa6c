"""The published models of the zoo, with what was published about them beside what is counted here. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from vitesse.arch import Arch, CellNetwork, cost
from vitesse.zoo.autoformer import autoformer_base, autoformer_small, autoformer_tiny
from vitesse.zoo.cdarts import cdarts_cifar10, cdarts_imagenet
from vitesse.zoo.cream import (
    cdarts_a,
    cdarts_b,
    cream_14,
    cream_43,
    cream_114,
    cream_287,
    cream_481,
    cream_604,
)
from vitesse.zoo.deit import (
    deit_base_distilled_patch16_224,
    deit_base_patch16_224,
    deit_small_distilled_patch16_224,
    deit_small_patch16_224,
    deit_tiny_distilled_patch16_224,
    deit_tiny_patch16_224,
)
from vitesse.zoo.deit_irpe import (
    deit_base_patch16_224_ctx_product_50_shared_k,
    deit_base_patch16_224_ctx_product_50_shared_qkv,
    deit_small_patch16_224_ctx_cross_56_shared_k,
    deit_small_patch16_224_ctx_euc_20_shared_k,
    deit_small_patch16_224_ctx_product_50_shared_k,
    deit_small_patch16_224_ctx_product_50_shared_qk,
    deit_small_patch16_224_ctx_product_50_shared_qkv,
    deit_small_patch16_224_ctx_quant_51_shared_k,
    deit_tiny_patch16_224_ctx_product_50_shared_k,
)
from vitesse.zoo.efficientvit import (
    efficientvit_m0,
    efficientvit_m1,
    efficientvit_m2,
    efficientvit_m3,
    efficientvit_m4,
    efficientvit_m5,
)
from vitesse.zoo.minideit import (
    mini_deit_base_patch16_224,
    mini_deit_base_patch16_384,
    mini_deit_small_patch16_224,
    mini_deit_tiny_patch16_224,
)
from vitesse.zoo.swin import (
    mini_swin_base_patch4_window7_224,
    mini_swin_base_patch4_window12_384,
    mini_swin_small_patch4_window7_224,
    mini_swin_tiny_patch4_window7_224,
    s3_base,
    s3_small,
    s3_tiny,
    swin_base_patch4_window7_224,
    swin_base_patch4_window12_384,
    swin_small_patch4_window7_224,
    swin_tiny_patch4_window7_224,
    swinv2_base_window8_256,
    swinv2_small_window8_256,
    swinv2_tiny_window8_256,
)
from vitesse.zoo.tinyvit import (
    tiny_vit_5m_224,
    tiny_vit_11m_224,
    tiny_vit_21m_224,
    tiny_vit_21m_384,
    tiny_vit_21m_512,
)


class MakeArch(Protocol):
    """A model's value for a number of classes and an image side in pixels."""

    __name__: str

    def __call__(self, *, classes: int = ..., image: int = ...) -> Arch: ...


@dataclass(frozen=True, slots=True)
class Figures:
    """What was published: parameters, multiply-adds, top-1 accuracy in percent on ImageNet-1k; None: not published.

    Of a network for CIFAR-10 the accuracy is on that; the source says so.
    """

    params: float | None
    macs: float | None
    top1: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Model:
    """One published model."""

    family: str
    make: MakeArch
    published: Figures

    @property
    def name(self) -> str:
        return self.make.__name__

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; parameters and multiply-adds counted from the value, as `cost` defines them."""
        arch = self.make()
        counted, figures = cost(arch), self.published
        return {
            "name": self.name,
            "family": self.family,
            "params": counted.params,
            "macs": counted.macs,
            "input_size": [arch.stem.channels, *arch.stem.image],
            "published": {
                "params": None if figures.params is None else int(figures.params),
                "macs": None if figures.macs is None else int(figures.macs),
                "top1": figures.top1,
                "source": figures.source,
            },
        }


_CDARTS = "README of the published CDARTS code, arXiv 2006.10724; macs count normalizations and pooling, too"
_CREAM = "README of the published Cream code, arXiv 2010.15821; macs count normalizations and pooling, too"
_AUTOFORMER = "README of the published AutoFormer code; macs: AutoFormer paper, arXiv 2107.00651"
_CDARTS = "README of the published CDARTS code, arXiv 2006.10724"
_EFFICIENTVIT = "README of the published EfficientViT code, arXiv 2305.07027"
_MINIVIT = "README of the published MiniViT code (paper: arXiv 2204.07154)"
_S3 = "README of the published AutoFormerV2 code (paper: arXiv 2111.14725)"
_SWIN = "Swin paper, arXiv 2103.14030"
_SWINV2 = "README of the published Swin code (paper: arXiv 2111.09883)"
_TINYVIT = "README of the published TinyViT code, arXiv 2207.10666"
_TINYVIT_1K = f"{_TINYVIT}; trained on ImageNet-1k alone ({{}} after distillation on ImageNet-22k)"
_TINYVIT_22K = f"{_TINYVIT}; after distillation on ImageNet-22k"
_DEIT = "DeiT paper, arXiv 2012.12877"
_IRPE = "README of the published iRPE code, arXiv 2107.14222"
_IRPE_NAMED = "named in the published iRPE code, arXiv 2107.14222, without figures"
_DEIT_PVT = f"{_DEIT}; macs: PVT paper, arXiv 2102.12122"
_DEIT_SWIN = f"{_DEIT}; macs: Swin paper, arXiv 2103.14030"

# How those for ImageNet were fed, in the words of timm's `pretrained_cfg`.
IMAGENET: dict[str, Any] = {
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "crop_pct": 0.875,  # the published DeiT and AutoFormer: shorter side to 256, centre crop of 224
    "interpolation": "bicubic",
}


# How those for CIFAR-10 were fed, the whole picture as it is.
CIFAR: dict[str, Any] = {
    "mean": (0.49139968, 0.48215827, 0.44653124),
    "std": (0.24703233, 0.24348505, 0.26158768),
    "crop_pct": 1.0,
    "interpolation": "bicubic",
}


def fed(arch: Arch) -> dict[str, Any]:
    """How a published model for these images was fed: from 384 pixels on the whole picture was resized."""
    if isinstance(arch, CellNetwork) and arch.stem.stride == 1:
        return CIFAR
    return IMAGENET | {"crop_pct": 1.0 if min(arch.stem.image) >= 384 else IMAGENET["crop_pct"]}


MODELS = (
    Model("autoformer", autoformer_tiny, Figures(5.8e6, 1.3e9, 75.3, _AUTOFORMER)),
    Model("autoformer", autoformer_small, Figures(22.9e6, 5.1e9, 81.7, _AUTOFORMER)),
    Model("autoformer", autoformer_base, Figures(53.7e6, 11e9, 82.4, _AUTOFORMER)),
    Model("cdarts", cdarts_cifar10, Figures(3.9e6, None, 97.52, f"{_CDARTS}; mean of six searches, top1 on CIFAR-10")),
    Model("cdarts", cdarts_imagenet, Figures(6.1e6, 701e6, 76.3, f"{_CDARTS}; mean of five searches")),
    Model("deit", deit_tiny_patch16_224, Figures(5e6, 1.3e9, 72.2, _DEIT_PVT)),
    Model("deit", deit_small_patch16_224, Figures(22e6, 4.6e9, 79.8, _DEIT_SWIN)),
    Model("deit", deit_base_patch16_224, Figures(86e6, 17.5e9, 81.8, _DEIT_SWIN)),
    Model("deit", deit_tiny_distilled_patch16_224, Figures(6e6, None, 74.5, _DEIT)),
    Model("deit", deit_small_distilled_patch16_224, Figures(22e6, None, 81.2, _DEIT)),
    Model("deit", deit_base_distilled_patch16_224, Figures(87e6, None, 83.4, _DEIT)),
    Model("deit_irpe", deit_tiny_patch16_224_ctx_product_50_shared_k, Figures(5.76e6, 1284e6, 73.7, _IRPE)),
    Model("deit_irpe", deit_small_patch16_224_ctx_product_50_shared_k, Figures(22.09e6, 4659e6, 80.9, _IRPE)),
    Model("deit_irpe", deit_small_patch16_224_ctx_product_50_shared_qk, Figures(22.13e6, 4706e6, 81.0, _IRPE)),
    Model("deit_irpe", deit_small_patch16_224_ctx_product_50_shared_qkv, Figures(22.17e6, 4885e6, 81.2, _IRPE)),
    Model("deit_irpe", deit_base_patch16_224_ctx_product_50_shared_k, Figures(86.61e6, 17684e6, 82.3, _IRPE)),
    Model("deit_irpe", deit_base_patch16_224_ctx_product_50_shared_qkv, Figures(86.68e6, 18137e6, 82.8, _IRPE)),
    Model("deit_irpe", deit_small_patch16_224_ctx_euc_20_shared_k, Figures(None, None, None, _IRPE_NAMED)),
    Model("deit_irpe", deit_small_patch16_224_ctx_quant_51_shared_k, Figures(None, None, None, _IRPE_NAMED)),
    Model("deit_irpe", deit_small_patch16_224_ctx_cross_56_shared_k, Figures(None, None, None, _IRPE_NAMED)),
    Model("cream", cream_14, Figures(None, 14e6, 53.8, _CREAM)),
    Model("cream", cream_43, Figures(None, 43e6, 66.3, _CREAM)),
    Model("cream", cream_114, Figures(None, 114e6, 72.8, _CREAM)),
    Model("cream", cream_287, Figures(None, 287e6, 77.6, _CREAM)),
    Model("cream", cream_481, Figures(None, 481e6, 79.2, _CREAM)),
    Model("cream", cream_604, Figures(None, 604e6, 80.0, _CREAM)),
    Model("cdarts", cdarts_a, Figures(7.0e6, 294e6, 77.4, _CDARTS)),
    Model("cdarts", cdarts_b, Figures(6.4e6, 394e6, 78.2, _CDARTS)),
    Model("efficientvit", efficientvit_m0, Figures(2.3e6, 79e6, 63.2, _EFFICIENTVIT)),
    Model("efficientvit", efficientvit_m1, Figures(3.0e6, 167e6, 68.4, _EFFICIENTVIT)),
    Model("efficientvit", efficientvit_m2, Figures(4.2e6, 201e6, 70.8, _EFFICIENTVIT)),
    Model("efficientvit", efficientvit_m3, Figures(6.9e6, 263e6, 73.4, _EFFICIENTVIT)),
    Model("efficientvit", efficientvit_m4, Figures(8.8e6, 299e6, 74.3, _EFFICIENTVIT)),
    Model("efficientvit", efficientvit_m5, Figures(12.4e6, 522e6, 77.1, _EFFICIENTVIT)),
    Model("minideit", mini_deit_tiny_patch16_224, Figures(3e6, None, 73.0, _MINIVIT)),
    Model("minideit", mini_deit_small_patch16_224, Figures(11e6, None, 80.9, _MINIVIT)),
    Model("minideit", mini_deit_base_patch16_224, Figures(44e6, None, 83.2, _MINIVIT)),
    Model("minideit", mini_deit_base_patch16_384, Figures(44e6, None, 84.9, _MINIVIT)),
    Model("miniswin", mini_swin_tiny_patch4_window7_224, Figures(12e6, None, 81.3, _MINIVIT)),
    Model("miniswin", mini_swin_small_patch4_window7_224, Figures(26e6, None, 83.9, _MINIVIT)),
    Model("miniswin", mini_swin_base_patch4_window7_224, Figures(46e6, None, 84.5, _MINIVIT)),
    Model("miniswin", mini_swin_base_patch4_window12_384, Figures(47e6, None, 85.5, _MINIVIT)),
    Model("autoformerv2", s3_tiny, Figures(28e6, None, 82.1, _S3)),
    Model("autoformerv2", s3_small, Figures(50e6, None, 83.7, _S3)),
    Model("autoformerv2", s3_base, Figures(71e6, None, 84.0, _S3)),
    Model("swin", swin_tiny_patch4_window7_224, Figures(29e6, 4.5e9, 81.3, _SWIN)),
    Model("swin", swin_small_patch4_window7_224, Figures(50e6, 8.7e9, 83.0, _SWIN)),
    Model("swin", swin_base_patch4_window7_224, Figures(88e6, 15.4e9, 83.5, _SWIN)),
    Model("swin", swin_base_patch4_window12_384, Figures(88e6, 47.0e9, 84.5, _SWIN)),
    Model("swinv2", swinv2_tiny_window8_256, Figures(28e6, 5.9e9, 81.8, _SWINV2)),
    Model("swinv2", swinv2_small_window8_256, Figures(50e6, 11.5e9, 83.7, _SWINV2)),
    Model("swinv2", swinv2_base_window8_256, Figures(88e6, 20.3e9, 84.2, _SWINV2)),
    Model("tinyvit", tiny_vit_5m_224, Figures(5.4e6, 1.3e9, 79.1, _TINYVIT_1K.format("80.7"))),
    Model("tinyvit", tiny_vit_11m_224, Figures(11e6, 2.0e9, 81.5, _TINYVIT_1K.format("83.2"))),
    Model("tinyvit", tiny_vit_21m_224, Figures(21e6, 4.3e9, 83.1, _TINYVIT_1K.format("84.8"))),
    Model("tinyvit", tiny_vit_21m_384, Figures(21e6, 13.8e9, 86.2, _TINYVIT_22K)),
    Model("tinyvit", tiny_vit_21m_512, Figures(21e6, 27.0e9, 86.5, _TINYVIT_22K)),
)


def models() -> list[dict[str, Any]]:
    """Every published model: name, family, counted params and macs, input size, and the published figures."""
    return [model.to_dict() for model in MODELS]
