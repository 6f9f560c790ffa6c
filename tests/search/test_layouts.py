from __future__ import annotations

from dataclasses import replace

from vitesse.arch import CellNetwork, cost
from vitesse.search.layouts import Fits, dearest, laid_out
from vitesse.zoo.cdarts import CIFAR_GENOTYPE, cell_space

SPACE = cell_space("cifar", classes=10, image=(32, 32))
FOUND = (CIFAR_GENOTYPE,) * 3


def below(params: int) -> Fits:
    return lambda arch: cost(arch).params <= params


def sizes(arch: CellNetwork | None) -> tuple[tuple[int, ...], int]:
    assert arch is not None
    return tuple(stage.depth for stage in arch.stages), arch.stages[0].channels


def test_the_published_budget_gives_the_published_network() -> None:
    assert sizes(laid_out(SPACE, FOUND, below(3_900_000))) == ((7, 7, 6), 36)


def test_depth_goes_before_width_until_cells_are_as_wide_as_they_were_found() -> None:
    between = cost(SPACE.network(FOUND, depths=(6, 6, 5), channels=16)).params
    seen = [laid_out(SPACE, FOUND, below(params)) for params in (900_000, between, 300_000, 60_000, 10_000)]
    assert [sizes(arch) for arch in seen] == [
        ((7, 7, 6), 16),
        ((6, 6, 5), 16),
        ((3, 3, 2), 14),
        ((3, 3, 2), 4),
        ((1, 1, 1), 2),
    ]
    assert laid_out(SPACE, FOUND, below(1_000)) is None


def test_what_is_laid_out_fits_and_one_pair_of_channels_more_would_not() -> None:
    for params in (20_000, 123_456, 2_000_000):
        arch = laid_out(SPACE, FOUND, below(params))
        depths, channels = sizes(arch)
        wider = SPACE.network(FOUND, depths=depths, channels=channels + 2)
        assert arch is not None and cost(arch).params <= params < cost(wider).params


def test_no_found_cells_have_a_dearer_smallest_network() -> None:
    small = dearest(SPACE)
    other = SPACE.network(FOUND, depths=(1, 1, 1), channels=2)
    assert all(cost(other).to_dict()[name] <= value for name, value in cost(small).to_dict().items())
    thin = replace(SPACE, nodes=1, kept=1)
    assert len(dearest(thin).cells) == 3 and cost(dearest(thin)).params < cost(small).params
