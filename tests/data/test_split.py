import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitesse.data.source import FREE, TEST, TRAIN, VAL
from vitesse.data.split import DROPPED, EXAM, LEARN, SEARCH, check, split
from vitesse.errors import VitesseError


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def free(count: int) -> np.ndarray:
    return np.full(count, FREE, np.int8)


def counts(parts: np.ndarray) -> list[int]:
    return [int((parts == code).sum()) for code in (LEARN, SEARCH, EXAM)]


@pytest.mark.parametrize(
    ("size", "expected"),
    # test: .2 n + .5, search: .15 n + .5, both rounded down; at least 1
    [(3, [1, 1, 1]), (4, [2, 1, 1]), (10, [6, 2, 2]), (20, [13, 3, 4]), (100, [65, 15, 20]), (2, [1, 1, 0])],
)
def test_counts_by_hand(size: int, expected: list[int]) -> None:
    parts = split(ints(*[0] * size), np.arange(size), free(size), seed=0, search_fraction=0.15, test_fraction=0.2)
    assert counts(parts) == expected


def test_each_class_is_divided_alike() -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 100])
    parts = split(labels, np.arange(130), free(130), seed=0, search_fraction=0.15, test_fraction=0.2)
    assert [counts(parts[labels == kind]) for kind in range(3)] == [[6, 2, 2], [13, 3, 4], [65, 15, 20]]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=1, max_size=40), st.integers(0, 9))
def test_copies_never_part(items: list[tuple[int, int]], seed: int) -> None:
    labels, groups = ints(*[kind for kind, _ in items]), ints(*[group for _, group in items])
    parts = split(labels, groups, free(len(items)), seed=seed, search_fraction=0.3, test_fraction=0.3)
    for group in set(groups.tolist()):
        assert len(set(parts[groups == group].tolist())) == 1


def test_the_seed_decides() -> None:
    def drawn(seed: int) -> np.ndarray:
        return split(ints(*[0] * 50), np.arange(50), free(50), seed=seed, search_fraction=0.15, test_fraction=0.2)

    assert np.array_equal(drawn(0), drawn(0))
    assert not np.array_equal(drawn(0), drawn(1))


def test_the_numbers_of_groups_do_not_matter() -> None:
    labels = ints(*[0] * 30)
    there = split(labels, np.arange(30), free(30), seed=0, search_fraction=0.2, test_fraction=0.2)
    back = split(labels, np.arange(30)[::-1].copy(), free(30), seed=0, search_fraction=0.2, test_fraction=0.2)
    assert np.array_equal(there, back)


def test_all_three_given() -> None:
    given_parts = np.array([TRAIN, TRAIN, TRAIN, VAL, VAL, TEST], np.int8)
    groups = ints(0, 1, 2, 2, 3, 0)  # 0 is copied in train and test, 2 in train and val
    parts = split(ints(*[0] * 6), groups, given_parts, seed=0, search_fraction=0.5, test_fraction=0.4)
    assert parts.tolist() == [DROPPED, LEARN, DROPPED, SEARCH, SEARCH, EXAM]


@pytest.mark.parametrize("other", [VAL, TEST])
def test_two_given_search_is_drawn_from_train(other: int) -> None:
    given_parts = np.array([TRAIN] * 20 + [other] * 5, np.int8)
    groups = np.arange(25)
    groups[24] = 0  # a copy of the first training image
    parts = split(ints(*[0] * 25), groups, given_parts, seed=0, search_fraction=0.25, test_fraction=0.2)
    assert (parts[20:] == EXAM).all() and parts[0] == DROPPED
    assert counts(parts) == [14, 5, 5]  # 19 left: .25 * 19 + .5 rounded down is 5


def test_a_class_missing_in_a_part_is_named() -> None:
    with pytest.raises(VitesseError, match=r"class 'dog' of here has: learn 1, search 1, test 0.*remove the class"):
        check(ints(0, 1, 2, 0, 1).astype(np.int8), ints(0, 0, 0, 1, 1), classes=("cat", "dog"), place="here")
