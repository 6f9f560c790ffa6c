from __future__ import annotations

import pytest
import timm
import torch

from vitesse.nets import build
from vitesse.nets.taps import layers_of
from vitesse.recipes import RECIPES, recipe_named
from vitesse.tasks.teaching import Teaching
from vitesse.zoo import arch_named, at_resolution, from_timm
from vitesse.zoo.swin_settings import MiniSwinSettings

SIZES = [name for name in RECIPES if name.startswith("mini_swin") and not name.endswith("384")]


@pytest.mark.parametrize("name", SIZES)
def test_the_published_hyperparameters(name: str) -> None:
    recipe = recipe_named(name)
    train, told = recipe.finish, recipe.distill
    assert (train.epochs, train.batch, train.lr, train.min_lr, train.start_lr) == (300, 1024, 1e-3, 1e-5, 1e-6)
    assert train.warmup * train.epochs == pytest.approx(20)
    assert (train.weight_decay, train.clip) == (0.05, 5.0)
    assert train.drop_path == {"tiny": 0.0, "small": 0.1, "base": 0.2}[name.rpartition("_")[2]]
    assert (told.labels, told.logits, told.attention, len(told.pairs)) == (0.0, 1.0, 1.0, 9)
    assert told.hidden == pytest.approx(4.9)
    assert timm.is_model(recipe.teacher.model) and timm.get_pretrained_cfg(recipe.teacher.model) is not None
    assert arch_named(f"{name}_patch4_window7_224").stages[0].share == 2  # what it is a recipe for


def test_the_second_stage_tunes_by_labels() -> None:
    recipe = recipe_named("mini_swin_base_384")
    assert (recipe.finish.epochs, recipe.finish.batch, recipe.finish.lr) == (30, 256, 1e-5)
    assert recipe.data.size == 384 and not recipe.teacher.model


def test_the_published_layers_are_matched_and_teach() -> None:
    """Every second layer, each in a block that borrows its weights, against those at the same depth of a deeper Swin."""
    torch.manual_seed(0)
    config = {"embed_dim": 8, "num_heads": (1, 2, 2, 2), "img_size": 64, "window_size": 2, "num_classes": 5}
    settings = MiniSwinSettings(
        **config,
        separate_layer_num_list=(1, 1, 1, 1),
        is_sep_layernorm=True,
        is_transform_heads=True,
        is_transform_FFN=True,
    )
    student, images = build(settings.arch()), torch.randn(2, 3, 64, 64)
    teacher = from_timm(
        timm.create_model(
            "swin_tiny_patch4_window7_224",
            **{**config, "embed_dim": 16, "depths": (2, 2, 18, 2), "num_heads": (1, 2, 4, 8)},
        )
    )
    teaching = Teaching(teacher, recipe_named("mini_swin_tiny").distill)
    teaching.prepare(student, images)
    ours, theirs = ([layer.hidden for layer in layers_of(one, images[:1])] for one in (student, teacher))
    assert (len(ours), len(theirs)) == (12, 24)
    pairs = [(ours.index(one.hidden), theirs.index(other.hidden)) for one, other in teaching.layers]
    assert pairs == [(1, 1), (3, 3), (5, 9), (7, 15), (9, 21), (11, 23)]


def test_windows_grow_with_the_images() -> None:
    small = build(
        MiniSwinSettings(
            embed_dim=4, num_heads=(1, 1, 1, 1), depths=(2, 2, 1, 1), separate_layer_num_list=(1,) * 4
        ).arch()
    )
    larger = at_resolution(small.eval(), (384, 384))
    assert [stage.blocks[0].branches[0].window for stage in larger.arch.stages] == [12] * 4  # type: ignore[union-attr]
    with torch.no_grad():
        assert larger(torch.rand(1, 3, 384, 384)).shape == (1, 1000)
