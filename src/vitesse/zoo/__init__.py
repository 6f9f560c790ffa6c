"""The zoo: published families as values with their published figures, and the doors for weights made elsewhere.

What needs torch is imported when it is asked for, so that values and figures answer at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vitesse.zoo.autoformer import autoformer_base as autoformer_base
from vitesse.zoo.autoformer import autoformer_base_space as autoformer_base_space
from vitesse.zoo.autoformer import autoformer_small as autoformer_small
from vitesse.zoo.autoformer import autoformer_small_space as autoformer_small_space
from vitesse.zoo.autoformer import autoformer_tiny as autoformer_tiny
from vitesse.zoo.autoformer import autoformer_tiny_space as autoformer_tiny_space
from vitesse.zoo.cdarts import cdarts_cifar10 as cdarts_cifar10
from vitesse.zoo.cdarts import cdarts_imagenet as cdarts_imagenet
from vitesse.zoo.cream import cdarts_a as cdarts_a
from vitesse.zoo.cream import cdarts_b as cdarts_b
from vitesse.zoo.cream import cream_14 as cream_14
from vitesse.zoo.cream import cream_43 as cream_43
from vitesse.zoo.cream import cream_114 as cream_114
from vitesse.zoo.cream import cream_287 as cream_287
from vitesse.zoo.cream import cream_481 as cream_481
from vitesse.zoo.cream import cream_604 as cream_604
from vitesse.zoo.cream_space import cream_space as cream_space
from vitesse.zoo.deit import deit_base_distilled_patch16_224 as deit_base_distilled_patch16_224
from vitesse.zoo.deit import deit_base_patch16_224 as deit_base_patch16_224
from vitesse.zoo.deit import deit_small_distilled_patch16_224 as deit_small_distilled_patch16_224
from vitesse.zoo.deit import deit_small_patch16_224 as deit_small_patch16_224
from vitesse.zoo.deit import deit_tiny_distilled_patch16_224 as deit_tiny_distilled_patch16_224
from vitesse.zoo.deit import deit_tiny_patch16_224 as deit_tiny_patch16_224
from vitesse.zoo.deit_irpe import (
    deit_base_patch16_224_ctx_product_50_shared_k as deit_base_patch16_224_ctx_product_50_shared_k,
)
from vitesse.zoo.deit_irpe import (
    deit_base_patch16_224_ctx_product_50_shared_qkv as deit_base_patch16_224_ctx_product_50_shared_qkv,
)
from vitesse.zoo.deit_irpe import (
    deit_small_patch16_224_ctx_cross_56_shared_k as deit_small_patch16_224_ctx_cross_56_shared_k,
)
from vitesse.zoo.deit_irpe import (
    deit_small_patch16_224_ctx_euc_20_shared_k as deit_small_patch16_224_ctx_euc_20_shared_k,
)
from vitesse.zoo.deit_irpe import (
    deit_small_patch16_224_ctx_product_50_shared_k as deit_small_patch16_224_ctx_product_50_shared_k,
)
from vitesse.zoo.deit_irpe import (
    deit_small_patch16_224_ctx_product_50_shared_qk as deit_small_patch16_224_ctx_product_50_shared_qk,
)
from vitesse.zoo.deit_irpe import (
    deit_small_patch16_224_ctx_product_50_shared_qkv as deit_small_patch16_224_ctx_product_50_shared_qkv,
)
from vitesse.zoo.deit_irpe import (
    deit_small_patch16_224_ctx_quant_51_shared_k as deit_small_patch16_224_ctx_quant_51_shared_k,
)
from vitesse.zoo.deit_irpe import (
    deit_tiny_patch16_224_ctx_product_50_shared_k as deit_tiny_patch16_224_ctx_product_50_shared_k,
)
from vitesse.zoo.efficientvit import efficientvit as efficientvit
from vitesse.zoo.efficientvit import efficientvit_m0 as efficientvit_m0
from vitesse.zoo.efficientvit import efficientvit_m1 as efficientvit_m1
from vitesse.zoo.efficientvit import efficientvit_m2 as efficientvit_m2
from vitesse.zoo.efficientvit import efficientvit_m3 as efficientvit_m3
from vitesse.zoo.efficientvit import efficientvit_m4 as efficientvit_m4
from vitesse.zoo.efficientvit import efficientvit_m5 as efficientvit_m5
from vitesse.zoo.families import published_arch as published_arch
from vitesse.zoo.families import published_cost as published_cost
from vitesse.zoo.minideit import mini_deit_base_patch16_224 as mini_deit_base_patch16_224
from vitesse.zoo.minideit import mini_deit_base_patch16_384 as mini_deit_base_patch16_384
from vitesse.zoo.minideit import mini_deit_small_patch16_224 as mini_deit_small_patch16_224
from vitesse.zoo.minideit import mini_deit_tiny_patch16_224 as mini_deit_tiny_patch16_224
from vitesse.zoo.published import models as models
from vitesse.zoo.spaces import arch_named as arch_named
from vitesse.zoo.spaces import space_named as space_named
from vitesse.zoo.swin import mini_swin_base_patch4_window7_224 as mini_swin_base_patch4_window7_224
from vitesse.zoo.swin import mini_swin_base_patch4_window12_384 as mini_swin_base_patch4_window12_384
from vitesse.zoo.swin import mini_swin_small_patch4_window7_224 as mini_swin_small_patch4_window7_224
from vitesse.zoo.swin import mini_swin_tiny_patch4_window7_224 as mini_swin_tiny_patch4_window7_224
from vitesse.zoo.swin import s3_base as s3_base
from vitesse.zoo.swin import s3_small as s3_small
from vitesse.zoo.swin import s3_tiny as s3_tiny
from vitesse.zoo.swin import swin_base_patch4_window7_224 as swin_base_patch4_window7_224
from vitesse.zoo.swin import swin_base_patch4_window12_384 as swin_base_patch4_window12_384
from vitesse.zoo.swin import swin_small_patch4_window7_224 as swin_small_patch4_window7_224
from vitesse.zoo.swin import swin_tiny_patch4_window7_224 as swin_tiny_patch4_window7_224
from vitesse.zoo.swin import swinv2_base_window8_256 as swinv2_base_window8_256
from vitesse.zoo.swin import swinv2_small_window8_256 as swinv2_small_window8_256
from vitesse.zoo.swin import swinv2_tiny_window8_256 as swinv2_tiny_window8_256
from vitesse.zoo.tinyvit import tiny_vit as tiny_vit
from vitesse.zoo.tinyvit import tiny_vit_5m_224 as tiny_vit_5m_224
from vitesse.zoo.tinyvit import tiny_vit_11m_224 as tiny_vit_11m_224
from vitesse.zoo.tinyvit import tiny_vit_21m_224 as tiny_vit_21m_224
from vitesse.zoo.tinyvit import tiny_vit_21m_384 as tiny_vit_21m_384
from vitesse.zoo.tinyvit import tiny_vit_21m_512 as tiny_vit_21m_512

if TYPE_CHECKING:
    from vitesse.zoo.convert import from_published as from_published
    from vitesse.zoo.hub import from_pretrained as from_pretrained
    from vitesse.zoo.hub import push_to_hub as push_to_hub
    from vitesse.zoo.hub import save_pretrained as save_pretrained
    from vitesse.zoo.resolution import at_resolution as at_resolution
    from vitesse.zoo.resolution import with_windows as with_windows
    from vitesse.zoo.timm_models import from_timm as from_timm
    from vitesse.zoo.timm_models import to_timm_state as to_timm_state
    from vitesse.zoo.tinyvit_transfer import class_map as class_map
    from vitesse.zoo.tinyvit_transfer import mapped_head as mapped_head
    from vitesse.zoo.tinyvit_transfer import mapped_logits as mapped_logits
    from vitesse.zoo.tinyvit_transfer import read_class_map as read_class_map

_LATE = {
    "from_published": "vitesse.zoo.convert",
    "from_pretrained": "vitesse.zoo.hub",
    "push_to_hub": "vitesse.zoo.hub",
    "save_pretrained": "vitesse.zoo.hub",
    "from_timm": "vitesse.zoo.timm_models",
    "to_timm_state": "vitesse.zoo.timm_models",
    "class_map": "vitesse.zoo.tinyvit_transfer",
    "mapped_head": "vitesse.zoo.tinyvit_transfer",
    "mapped_logits": "vitesse.zoo.tinyvit_transfer",
    "read_class_map": "vitesse.zoo.tinyvit_transfer",
    "at_resolution": "vitesse.zoo.resolution",
    "with_windows": "vitesse.zoo.resolution",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATE[name]), name)
