import numpy as np
import pytest

from vitesse.data.replay import Stream, hashes, permutation, uniform

SPLITMIX_OF_ZERO = 0xE220A8397B1DCDAF  # the first output of splitmix64 seeded with 0, from its publication


def test_the_finaliser_is_that_of_splitmix64() -> None:
    from vitesse.data.replay import _GOLDEN, _finalise

    assert int(_finalise(np.array([_GOLDEN]))[0]) == SPLITMIX_OF_ZERO


def test_a_number_depends_on_its_place_only() -> None:
    together = uniform(3, 5, np.arange(100), 4)
    assert together.shape == (100, 4)
    assert np.array_equal(together[[70, 2]], uniform(3, 5, [70, 2], 4))
    assert np.array_equal(together[:, :2], uniform(3, 5, np.arange(100), 2))


@pytest.mark.parametrize(
    "other", [(4, 5, Stream.AUGMENT), (3, 6, Stream.AUGMENT), (3, 5, Stream.MIX), (-3, 5, Stream.AUGMENT)]
)
def test_seed_epoch_and_stream_all_count(other: tuple[int, int, Stream]) -> None:
    seed, epoch, stream = other
    first, second = uniform(3, 5, np.arange(1000), 1), uniform(seed, epoch, np.arange(1000), 1, stream=stream)
    assert not np.isin(first, second).any()
    assert abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1]) < 0.12


def test_numbers_are_uniform() -> None:
    draws = uniform(0, 0, np.arange(20000), 3)
    assert draws.min() >= 0 and draws.max() < 1
    counts = np.stack([np.histogram(draws[:, column], bins=20, range=(0, 1))[0] for column in range(3)])
    assert ((counts - 1000) ** 2 / 1000).sum(1).max() < 50  # chi-square, 19 degrees of freedom: 50 has p = 1e-4
    assert np.abs(np.corrcoef(draws.T) - np.eye(3)).max() < 0.03


def test_seed_and_epoch_do_not_trade_places() -> None:
    assert int(hashes(1, 2, 0)[0, 0]) != int(hashes(2, 1, 0)[0, 0])


def test_a_permutation_holds_each_once_and_changes_with_the_epoch() -> None:
    first, second = permutation(0, 0, 50), permutation(0, 1, 50)
    assert sorted(first) == list(range(50))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, permutation(0, 0, 50))
