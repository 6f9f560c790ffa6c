from __future__ import annotations

from typing import get_args

import pytest

from vitesse.cli.options import Recipe
from vitesse.recipes import RECIPES, recipe_named
from vitesse.recipes.weight_distillation import mini_swin_terms
from vitesse.runs.settings import load_settings, settings_tree
from vitesse.shrink.settings import ShrinkSettings


def test_the_command_line_offers_every_recipe() -> None:
    assert get_args(Recipe) == tuple(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_a_file(name: str) -> None:
    recipe = recipe_named(name)
    assert load_settings(ShrinkSettings, default=recipe) == recipe
    assert settings_tree(recipe)["finish"]["batch"] == recipe.finish.batch


@pytest.mark.parametrize(("size", "rate"), [("5m", 0.0), ("11m", 0.0), ("21m", 0.1)])
def test_tiny_vit_as_published(size: str, rate: float) -> None:
    first, second = recipe_named(f"tiny_vit_{size}_22k"), recipe_named(f"tiny_vit_{size}_22kto1k")
    base = 2.5e-4
    assert (first.finish.epochs, first.finish.lr) == (90, base * 4096 / 512)
    assert (second.finish.epochs, second.finish.lr) == (30, base * 1024 / 512)
    assert first.finish.drop_path == second.finish.drop_path == rate
    weights = first.distill.weights(teacher="classifier")
    assert (weights.labels, weights.logits, weights.deep) == (0.0, 1.0, False)
    assert not first.mix.mixes and not second.mix.mixes and second.mix.smoothing == 0.1


def test_mini_swin_as_published() -> None:
    weights = mini_swin_terms().weights(teacher="classifier")
    assert (weights.labels, weights.logits, weights.attention) == (0.0, 1.0, 1.0)
    assert weights.hidden == pytest.approx(4.9) and len(set(mini_swin_terms().pairs)) == 9
