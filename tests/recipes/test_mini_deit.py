from __future__ import annotations

import pytest
import timm

from vitesse.recipes import RECIPES, recipe_named
from vitesse.zoo import arch_named

SIZES = [name for name in RECIPES if name.startswith("mini_deit")]


@pytest.mark.parametrize("name", SIZES)
def test_the_published_hyperparameters(name: str) -> None:
    recipe = recipe_named(name)
    train = recipe.finish
    assert (train.epochs, train.batch, train.lr, train.min_lr, train.start_lr) == (300, 1024, 1e-3, 1e-5, 1e-6)
    assert train.warmup * train.epochs == pytest.approx(5)
    assert (train.weight_decay, train.clip, train.ema) == (0.05, 0.0, 0.0)
    assert train.drop_path == (0.1 if name == "mini_deit_base" else 0.0)
    assert (recipe.mix.mixup, recipe.mix.cutmix, recipe.mix.smoothing) == (0.8, 1.0, 0.1)
    assert (recipe.distill.labels, recipe.distill.logits, recipe.distill.temperature) == (0.0, 1.0, 1.0)
    assert timm.is_model(recipe.teacher.model) and timm.get_pretrained_cfg(recipe.teacher.model) is not None
    assert arch_named(f"{name}_patch16_224").stages[0].share == 2  # what it is a recipe for
