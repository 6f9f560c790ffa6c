from __future__ import annotations

from dataclasses import replace

import pytest

from vitesse.arch import Budget, contains, cost, largest, size, smallest
from vitesse.data.preprocess import Preprocess
from vitesse.errors import UsageError
from vitesse.shrink.design import LARGER, begins, fitted, space_around, teacher_arch
from vitesse.supernet import holding
from vitesse.zoo import autoformer_tiny_space, deit_tiny_patch16_224, efficientvit_m1, tiny_vit_5m_224
from vitesse.zoo.published import MakeArch
from vitesse.zoo.swin import mini_swin_tiny_patch4_window7_224, swin_tiny_patch4_window7_224, swinv2_tiny_window8_256


def seen(side: int) -> Preprocess:
    return Preprocess(size=(side, side))


@pytest.mark.parametrize("limit", [20_000, 60_000, 300_000])
def test_a_teacher_costs_several_times_the_budget(limit: int) -> None:
    arch = teacher_arch(seen(8), classes=10, budget=Budget(max_params=limit))
    assert cost(arch).params >= LARGER * limit


@pytest.mark.parametrize(("side", "tokens"), [(8, 16), (28, 49), (32, 64), (64, 64), (224, 196), (30, 100)])
def test_patches_divide_the_image_into_some_tens_of_tokens(side: int, tokens: int) -> None:
    assert teacher_arch(seen(side), classes=2, budget=Budget()).stem.grid.patches == tokens


def test_the_space_around_a_network_has_it_as_its_largest() -> None:
    arch = deit_tiny_patch16_224()
    space = space_around(arch)
    assert largest(space) == arch
    assert contains(space, arch)
    assert cost(smallest(space)).params < cost(arch).params / 20
    assert size(space) > 10**9


def test_the_space_around_a_hierarchical_network_has_it_as_its_largest() -> None:
    arch = tiny_vit_5m_224()
    space = space_around(arch)
    assert largest(space) == arch and contains(space, arch)
    assert cost(smallest(space)).params < cost(arch).params / 10
    small = smallest(space)
    assert [stage.dim for stage in small.stages] == [16, 32, 40, 80] and small.stages[2].depth == 2
    assert small.stages[2].blocks[0].branches[0].window == 7  # of 14


def test_the_space_around_cascades_begins_with_their_weights() -> None:
    arch = efficientvit_m1()
    space = space_around(arch)
    assert largest(space) == arch and contains(space, arch)
    assert holding(space) == arch and begins(arch, holding(space))
    assert cost(smallest(space)).params < cost(arch).params / 10
    first = smallest(space).stages
    assert [(stage.dim, stage.channel_groups) for stage in first] == [
        (32, 2),
        (48, 3),
        (48, 3),
    ]  # their heads divide them
    attention = first[0].blocks[0].branches[2]
    assert (attention.window, attention.key_dim, attention.kernels) == (4, 8, (3, 3))


@pytest.mark.parametrize("make", [swin_tiny_patch4_window7_224, swinv2_tiny_window8_256])
def test_the_space_around_a_swin_begins_with_its_weights(make: MakeArch) -> None:
    arch = make()
    space = space_around(arch)
    assert largest(space) == arch and contains(space, arch)
    assert holding(space) == arch and begins(arch, holding(space))
    assert cost(smallest(space)).params < cost(arch).params / 10
    windows = [stage.blocks[0].branches[0].window for stage in smallest(space).stages]
    assert windows == [-(-stage.blocks[0].branches[0].window // 2) for stage in arch.stages]
    mixed = space_around(arch, multiplex=2)
    assert begins(arch, replace(arch, stages=largest(mixed).stages))
    shared = space_around(mini_swin_tiny_patch4_window7_224())
    assert [stage.share for stage in smallest(shared).stages] == [2, 2, 6, 2]  # as many as in the teacher


def test_any_image_fits_a_convolutional_stem() -> None:
    assert fitted(tiny_vit_5m_224(), seen(50), classes=7).grids[0].rows == 13


def test_a_space_is_made_to_fit_the_images_or_refused() -> None:
    space = fitted(autoformer_tiny_space(), seen(64), classes=7)
    assert (space.stem.image, space.head.classes) == ((64, 64), 7)
    with pytest.raises(UsageError, match=r"multiple of the space's patch \(16, 16\)"):
        fitted(autoformer_tiny_space(), seen(40), classes=7)
