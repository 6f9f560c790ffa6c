"""Recipes: methods as published, put together; each a function that gives the settings of a run."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial

from vitesse.errors import UsageError
from vitesse.recipes.autoformer import autoformer_imagenet
from vitesse.recipes.cdarts import cdarts_cifar, cdarts_cifar_search, cdarts_imagenet
from vitesse.recipes.cream import SIDES, cream_imagenet, cream_search
from vitesse.recipes.efficientvit import efficientvit_imagenet
from vitesse.recipes.mini_deit import mini_deit_imagenet
from vitesse.recipes.mini_swin import mini_swin_384, mini_swin_imagenet
from vitesse.recipes.tiny_vit import tiny_vit_21m_larger, tiny_vit_22k, tiny_vit_22kto1k
from vitesse.recipes.weight_distillation import distill_digits
from vitesse.shrink.settings import ShrinkSettings

RECIPES: dict[str, Callable[[], ShrinkSettings]] = {
    "autoformer_tiny": partial(autoformer_imagenet, "tiny"),
    "autoformer_small": partial(autoformer_imagenet, "small"),
    "autoformer_base": partial(autoformer_imagenet, "base"),
    "cdarts_cifar": cdarts_cifar,
    "cdarts_cifar_search": cdarts_cifar_search,
    "cdarts_imagenet": cdarts_imagenet,
    **{f"cream_{band}": partial(cream_imagenet, band) for band in SIDES},
    **{f"cream_{band}_search": partial(cream_search, band) for band in SIDES},
    "efficientvit": efficientvit_imagenet,
    "mini_deit_tiny": partial(mini_deit_imagenet, "tiny"),
    "mini_deit_small": partial(mini_deit_imagenet, "small"),
    "mini_deit_base": partial(mini_deit_imagenet, "base"),
    "mini_swin_tiny": partial(mini_swin_imagenet, "tiny"),
    "mini_swin_small": partial(mini_swin_imagenet, "small"),
    "mini_swin_base": partial(mini_swin_imagenet, "base"),
    "mini_swin_base_384": mini_swin_384,
    "tiny_vit_5m_22k": partial(tiny_vit_22k, "5m"),
    "tiny_vit_11m_22k": partial(tiny_vit_22k, "11m"),
    "tiny_vit_21m_22k": partial(tiny_vit_22k, "21m"),
    "tiny_vit_5m_22kto1k": partial(tiny_vit_22kto1k, "5m"),
    "tiny_vit_11m_22kto1k": partial(tiny_vit_22kto1k, "11m"),
    "tiny_vit_21m_22kto1k": partial(tiny_vit_22kto1k, "21m"),
    "tiny_vit_21m_384": partial(tiny_vit_21m_larger, 384),
    "tiny_vit_21m_512": partial(tiny_vit_21m_larger, 512),
    "distill_digits": distill_digits,
}


def recipe_named(name: str) -> ShrinkSettings:
    """The settings of the recipe of that name; UsageError with the closest name where there is none."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.0)[0]
        raise UsageError(f"A recipe is one of {', '.join(RECIPES)}, but got {name!r}. Did you mean {near}?")
    return RECIPES[name]()
