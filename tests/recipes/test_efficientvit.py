from __future__ import annotations

import pytest

from vitesse.recipes import recipe_named
from vitesse.zoo import arch_named


def test_the_published_hyperparameters() -> None:
    recipe = recipe_named("efficientvit")
    train = recipe.finish
    assert (train.epochs, train.batch, train.lr, train.min_lr, train.start_lr) == (300, 2048, 4e-3, 1e-5, 1e-6)
    assert train.lr == pytest.approx(1e-3 * train.batch / 512) and train.warmup * train.epochs == pytest.approx(5)
    assert (train.weight_decay, train.clip, train.clip_mode, train.precision) == (0.025, 0.02, "adaptive", "fp32")
    assert (recipe.mix.mixup, recipe.mix.cutmix, recipe.mix.smoothing) == (0.8, 1.0, 0.1)
    assert arch_named("efficientvit_m4").stages[0].channel_groups == 4  # what it is a recipe for
