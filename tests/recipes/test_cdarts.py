from __future__ import annotations

from vitesse.arch import CellNetwork
from vitesse.recipes import recipe_named
from vitesse.tasks.cyclic.settings import Plan
from vitesse.zoo import arch_named


def test_the_published_hyperparameters() -> None:
    recipe = recipe_named("cdarts_cifar")
    train = recipe.finish
    assert (train.epochs, train.batch, train.lr, train.min_lr, train.warmup) == (600, 128, 0.025, 0.0, 0.0)
    assert (train.optimizer, train.weight_decay, train.clip) == ("momentum", 5e-4, 5.0)
    assert (train.drop_path, train.drop_path_rise, recipe.distill.auxiliary) == (0.3, True, 0.4)
    assert recipe.data.size is not None and recipe.augment is not None
    assert (recipe.augment.cutout * recipe.data.size, recipe.augment.shift * recipe.data.size) == (16, 4)


def test_the_published_hyperparameters_of_imagenet() -> None:
    recipe = recipe_named("cdarts_imagenet")
    train = recipe.finish
    assert (train.epochs, train.batch, train.lr, train.weight_decay, train.drop_path) == (250, 1024, 0.5, 3e-5, 0.0)
    assert train.warmup * train.epochs == 5 and train.start_lr == train.lr / 5
    assert (recipe.mix.smoothing, recipe.mix.mixes, recipe.distill.auxiliary) == (0.1, False, 0.4)
    assert isinstance(arch_named("cdarts_imagenet"), CellNetwork)  # what it is a recipe for


def test_the_published_search_on_cifar() -> None:
    recipe = recipe_named("cdarts_cifar_search")
    train, cyclic, per_epoch = recipe.supernet.train, recipe.supernet.cyclic, 390
    assert (train.batch, train.lr, train.weight_decay, train.clip) == (64, 0.08, 3e-4, 5.0)
    assert (cyclic.alpha_lr, cyclic.distance, cyclic.fixed_heads, cyclic.penalty) == (3e-4, "smooth_l1", True, 5.0)
    assert recipe.supernet_rule == recipe.search.strategy == "cyclic" and recipe.supernet.space == "cells"
    plan = Plan(cyclic, train.epochs * per_epoch)
    phases = [plan.moment(epoch * per_epoch + per_epoch // 2).phase for epoch in range(train.epochs)]
    assert phases == ["pretrain"] * 2 + ["warmup", "joint"] * 30
    assert [step for step in range(plan.steps) if plan.moment(step).begins] == [
        (2 + 2 * cycle) * per_epoch for cycle in range(30)
    ]
