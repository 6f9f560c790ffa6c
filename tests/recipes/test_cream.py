from __future__ import annotations

import pytest

from vitesse.recipes import recipe_named
from vitesse.zoo import arch_named, space_named


@pytest.mark.parametrize("band", [14, 43, 114, 287, 481, 604])
def test_a_band_has_its_images(band: int) -> None:
    side = arch_named(f"cream_{band}").stem.image[0]
    assert recipe_named(f"cream_{band}").data.size == recipe_named(f"cream_{band}_search").data.size == side
    space = space_named(recipe_named(f"cream_{band}_search").supernet.space)
    assert [stage.dim for stage in space.stages] == [16, 24, 40, 80, 96, 192, 320]


def test_the_published_hyperparameters() -> None:
    train = recipe_named("cream_287").finish
    assert (train.optimizer, train.eps, train.lr, train.weight_decay, train.ema) == (
        "rmsproptf",
        1e-3,
        0.064,
        1e-5,
        0.9999,
    )
    assert (train.epochs, train.min_lr) == (500, 1e-5) and train.warmup * train.epochs == pytest.approx(3)
    recipe = recipe_named("cream_287_search")
    search = recipe.supernet.train
    assert (search.optimizer, search.epochs, search.lr, search.weight_decay) == ("sgd", 120, 1.0, 1e-4)
    assert recipe.supernet.rule == "single" and recipe.mix.smoothing == 0.1
