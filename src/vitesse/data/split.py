"""The three disjoint parts: learn, search, test. Drawn class by class from a seed; copies stay together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vitesse.data.replay import Stream, permutation
from vitesse.data.source import FREE, TEST, TRAIN, VAL
from vitesse.errors import VitesseError

PARTS = ("learn", "search", "test")
DROPPED, LEARN, SEARCH, EXAM = -1, 0, 1, 2  # EXAM: the test part; TEST is what a source calls its folder

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]


def split(
    labels: Ints, groups: Ints, given: Codes, *, seed: int, search_fraction: float, test_fraction: float
) -> Codes:
    """Give each image its part, (N,) of LEARN, SEARCH, EXAM, or DROPPED for a copy of an image in a given later part.

    groups: (N,) numbers that are equal for copies of one image. given: as `Source.given`. Nothing given: all three
    parts are drawn. train and val or test given: the search part is drawn out of train, the other is the test part.
    """
    if (given == FREE).all():
        everything = np.arange(len(labels))
        return _drawn(everything, labels, groups, seed=seed, search=search_fraction, test=test_fraction)
    complete = bool((given == VAL).any() and (given == TEST).any())
    parts = np.where(given == TRAIN, LEARN, EXAM).astype(np.int8)
    if complete:
        parts[given == VAL] = SEARCH
    latest = np.full(int(groups.max()) + 1, LEARN, np.int8)
    np.maximum.at(latest, groups, parts)
    parts[parts < latest[groups]] = DROPPED
    if not complete:
        learn = np.flatnonzero(parts == LEARN)
        parts[learn] = _drawn(learn, labels, groups, seed=seed, search=search_fraction, test=0.0)
    return parts


def check(parts: Codes, labels: Ints, *, classes: Sequence[str], place: str) -> None:
    """Raise VitesseError where a class has no image in one of the parts; without classes, where a part has none."""
    if not classes:
        sizes = [int((parts == code).sum()) for code in (LEARN, SEARCH, EXAM)]
        if min(sizes) == 0:
            raise VitesseError(
                f"Each part needs an image, so at least 3 different ones, but of {place} they have {sizes}. Add images."
            )
        return
    counts = np.zeros((len(classes), len(PARTS)), np.int64)
    kept = parts != DROPPED
    np.add.at(counts, (labels[kept], parts[kept]), 1)
    for kind, row in zip(classes, counts, strict=True):
        if row.min() == 0:
            held = ", ".join(f"{name} {count}" for name, count in zip(PARTS, row, strict=True))
            raise VitesseError(
                f"Every class needs an image in each part, so at least 3 different images, but class {kind!r} "
                f"of {place} has: {held}. Add images to it, or remove the class."
            )


def _drawn(members: Ints, labels: Ints, groups: Ints, *, seed: int, search: float, test: float) -> Codes:
    """Draw parts for `members`, (len(members),); a group's class is that of its first member."""
    unique, first, which = np.unique(groups[members], return_index=True, return_inverse=True)
    kinds = labels[members[first]]
    part_of = np.full(len(unique), LEARN, np.int8)
    for kind in np.unique(kinds):
        mine = np.flatnonzero(kinds == kind)
        mine = mine[np.argsort(first[mine])]  # in the source's order, whatever the groups' numbers
        mine = mine[permutation(seed, int(kind), len(mine), stream=Stream.SPLIT)]
        exam, seek = _counts(len(mine), search=search, test=test)
        part_of[mine[:exam]] = EXAM
        part_of[mine[exam : exam + seek]] = SEARCH
    return part_of[which]


def _counts(count: int, *, search: float, test: float) -> tuple[int, int]:
    """How many of a class's images go to test and to search: the nearest number, at least one each, one left over."""
    exam = max(1, int(test * count + 0.5)) if test else 0
    exam = max(0, min(exam, count - 2))
    return exam, max(0, min(max(1, int(search * count + 0.5)), count - exam - 1))
