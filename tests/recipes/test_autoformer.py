from __future__ import annotations

from pathlib import Path

import pytest

from vitesse.errors import UsageError
from vitesse.recipes import RECIPES, recipe_named
from vitesse.runs.settings import load_settings, settings_tree
from vitesse.runs.toml import to_toml
from vitesse.shrink.settings import ShrinkSettings
from vitesse.zoo import space_named


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("autoformer")])
def test_the_published_hyperparameters(name: str) -> None:
    recipe = recipe_named(name)
    train = recipe.supernet.train
    assert (train.epochs, train.batch, train.lr, train.min_lr, train.start_lr) == (500, 1024, 1e-3, 1e-5, 1e-6)
    assert train.warmup * train.epochs == pytest.approx(20)
    assert (train.weight_decay, train.clip, train.drop_path, train.ema) == (0.05, 0.0, 0.1, 0.0)
    assert (recipe.mix.mixup, recipe.mix.cutmix, recipe.mix.smoothing) == (0.8, 1.0, 0.1)
    assert recipe.supernet.rule == "single"
    assert (recipe.search.population, recipe.search.generations) == (50, 20)
    assert space_named(recipe.supernet.space).stages[0].depth  # the space exists


def test_a_recipe_can_be_written_down_and_read_again(tmp_path: Path) -> None:
    recipe = recipe_named("autoformer_small")
    file = tmp_path / "recipe.toml"
    file.write_text(to_toml(settings_tree(recipe)))
    assert load_settings(ShrinkSettings, file=file) == recipe


def test_an_unknown_recipe_is_named_with_the_closest() -> None:
    with pytest.raises(UsageError, match="Did you mean autoformer_tiny"):
        recipe_named("autoformer_tinny")
