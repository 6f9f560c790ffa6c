"""The door to the data: from settings to three disjoint parts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from vitesse.data.part import Part
from vitesse.data.preprocess import Preprocess
from vitesse.data.reading import Headers, Progress, decode_all, read_headers, refuse_corrupt
from vitesse.data.source import Source, open_source
from vitesse.data.split import DROPPED, EXAM, LEARN, SEARCH, check, split
from vitesse.data.views import Decoded, Kept, Views
from vitesse.errors import UsageError, VitesseError


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSettings:
    """What data, and how it is divided.

    source: "digits", a folder of images, a folder or file of .tar shards, or a saved Hugging Face dataset. size: the
    side of the network's input in pixels; None chooses it. seed: of the split. search_fraction, test_fraction: of
    each class; unused where the source gives the parts. max_corrupt: the largest share of unreadable images.
    cache_bytes: up to here decoded images are kept in memory; above, workers decode them for each epoch. workers:
    processes that decode, and threads that read at the start. channels: 1 or 3; None chooses. labels: false where there
    are no classes, or they do not matter: any folder of images will do, to distil an encoder's features.
    """

    source: str = "digits"
    size: int | None = None
    seed: int = 0
    search_fraction: float = 0.15
    test_fraction: float = 0.20
    max_corrupt: float = 0.01
    cache_bytes: int = 2 * 1024**3
    workers: int = 2
    channels: int | None = None
    labels: bool = True

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise UsageError(f"size must be at least 1 pixel, but got {self.size}.")
        if min(self.search_fraction, self.test_fraction) <= 0 or self.search_fraction + self.test_fraction >= 1:
            raise UsageError(
                "search_fraction and test_fraction must both be above 0 and leave something to learn from, but got "
                f"{self.search_fraction} and {self.test_fraction}."
            )
        if not 0 <= self.max_corrupt <= 1:
            raise UsageError(f"max_corrupt is a share, 0 to 1, but got {self.max_corrupt}.")
        if self.cache_bytes < 0 or self.workers < 0:
            raise UsageError(f"Must not be negative: cache_bytes {self.cache_bytes}, workers {self.workers}.")
        if self.channels not in (None, 1, 3):
            raise UsageError(f"channels must be 1 or 3, but got {self.channels}.")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Parts:
    """The data: three disjoint parts, and what they have in common.

    fingerprint: changes when an image, a label, a class's name or the split changes. notes: what was left out, and
    what is strange about the data, for people to read.
    """

    learn: Part
    search: Part
    test: Part
    classes: tuple[str, ...]
    preprocess: Preprocess
    fingerprint: str
    notes: tuple[str, ...]


def load_parts(
    settings: DataSettings, *, preprocess: Preprocess | None = None, progress: Progress | None = None
) -> Parts:
    """Read the data of `settings`, check it, divide it; `preprocess` is chosen by the images where it is not given.

    Raises VitesseError where the source is missing, empty, has one class only, too few images of a class, or too many
    unreadable ones; UsageError where settings and `preprocess` contradict each other.
    """
    source = open_source(settings.source, labelled=settings.labels)
    headers = read_headers(source, threads=settings.workers, progress=progress)
    refuse_corrupt(headers.corrupt, source, limit=settings.max_corrupt)
    preprocess = _agreed(settings, preprocess) if preprocess else _chosen(settings, headers)
    sound = [index for index in range(len(source.names)) if index not in headers.corrupt]
    high, wide = preprocess.square
    keep = len(source.names) * preprocess.channels * high * wide <= settings.cache_bytes
    squares, digests, broken = decode_all(
        source, sound, preprocess, keep=keep, threads=settings.workers, progress=progress
    )
    notes = source.notes + refuse_corrupt(headers.corrupt | broken, source, limit=settings.max_corrupt)

    rows = np.array(sorted(digests), np.int64)
    labels = source.labels[rows]
    _, groups = np.unique([digests[row].hex() for row in rows.tolist()], return_inverse=True)
    parts = split(
        labels,
        groups,
        source.given[rows],
        seed=settings.seed,
        search_fraction=settings.search_fraction,
        test_fraction=settings.test_fraction,
    )
    check(parts, labels, classes=source.classes, place=source.place)

    def part(code: int) -> Part:
        mine = rows[parts == code]
        views: Views
        if squares is None:
            views = Decoded(source, mine, preprocess, settings.workers)
        else:
            views = Kept(squares, mine, preprocess)
        return Part(
            views,
            labels=torch.from_numpy(source.labels[mine]),
            names=tuple(source.names[row] for row in mine),
            classes=len(source.classes),
            preprocess=preprocess,
        )

    return Parts(
        learn=part(LEARN),
        search=part(SEARCH),
        test=part(EXAM),
        classes=source.classes,
        preprocess=preprocess,
        fingerprint=_fingerprint(source.classes, [headers.digests[row] for row in rows], labels, parts),
        notes=notes + _copies(source, rows, groups, parts),
    )


def _agreed(settings: DataSettings, preprocess: Preprocess) -> Preprocess:
    """The given preprocess, once it is sure that the settings ask for nothing else."""
    for name, asked, given in (
        ("size", settings.size, preprocess.size),
        ("channels", settings.channels, preprocess.channels),
    ):
        if asked is not None and given not in (asked, (asked, asked)):
            raise UsageError(f"The network sees {name} {given}, but the data settings say {asked}. Leave {name} unset.")
    return preprocess


def _chosen(settings: DataSettings, headers: Headers) -> Preprocess:
    """A preprocess that suits the images: near their size, at most 224 pixels, grey only where all are."""
    channels = settings.channels or (1 if headers.grey else 3)
    half = (0.5,) * channels
    if settings.source == "digits":
        side = settings.size or 8
        return Preprocess(size=(side, side), channels=channels, mean=half, std=half, crop=1.0)
    sides = headers.shorter[headers.shorter > 0]
    if not len(sides):
        raise VitesseError("No image can be read. Give images of a format that Pillow reads.")
    side = settings.size or int(np.clip(16 * round(float(np.median(sides)) / 16), 32, 224))
    if channels == 1:
        return Preprocess(size=(side, side), channels=1, mean=half, std=half)
    return Preprocess(size=(side, side))


def _copies(
    source: Source, rows: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], parts: npt.NDArray[np.int8]
) -> tuple[str, ...]:
    """Notes on copies of images: how many, how many were dropped, and which carry two labels."""
    counts = np.bincount(groups)
    notes = []
    extra = int((counts - 1).sum())
    if extra:
        dropped = int((parts == DROPPED).sum())
        text = f"{extra} images are copies of others; copies are kept within one part"
        notes.append(text + (f", {dropped} were dropped for it." if dropped else "."))
    first = np.zeros(len(counts), np.int64)
    labels = source.labels[rows]
    first[groups[::-1]] = np.arange(len(rows))[::-1]
    clash = np.flatnonzero(labels != labels[first[groups]])
    if len(clash):
        shown = "\n".join(
            f"  {source.names[rows[first[groups[place]]]]} ({source.classes[labels[first[groups[place]]]]}) = "
            f"{source.names[rows[place]]} ({source.classes[labels[place]]})"
            for place in clash[:5]
        )
        notes.append(f"{len(clash)} copies have another label than the first of their kind:\n{shown}")
    return tuple(notes)


def _fingerprint(
    classes: Sequence[str], digests: Sequence[bytes], labels: npt.NDArray[np.int64], parts: npt.NDArray[np.int8]
) -> str:
    state = hashlib.blake2b("\0".join(classes).encode(), digest_size=16)
    for digest in digests:
        state.update(digest)
    state.update(labels.astype("<i8").tobytes())
    state.update(parts.tobytes())
    return state.hexdigest()
