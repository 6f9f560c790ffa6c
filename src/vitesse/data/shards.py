"""Shards in WebDataset's format: .tar files in which `x.jpg` and `x.cls` are one sample.

The archives are indexed once; a sample is then a place in a file. So, other than in a stream, order is free and a
resumed run is exact. `classes.txt` beside the shards names the classes, one a line.
"""

from __future__ import annotations

import os
import tarfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vitesse.data.source import FREE, SPLIT_NAMES, TRAIN, Source
from vitesse.errors import VitesseError

_IMAGE_ENDINGS = ("jpg", "jpeg", "png", "webp", "ppm", "bmp", "tif", "tiff", "gif")


@dataclass(frozen=True, slots=True)
class _Span:
    """The bytes of one member."""

    shard: str
    offset: int
    size: int

    def read(self) -> bytes:
        with open(self.shard, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(slots=True)
class _Index:
    """What is found in the shards, sample by sample."""

    names: list[str] = field(default_factory=list)
    spans: list[_Span] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    unpaired: int = 0


@dataclass(frozen=True, slots=True)
class _Members:
    spans: tuple[_Span, ...]

    def __call__(self, index: int) -> bytes:
        return self.spans[index].read()


def find_shards(path: Path) -> dict[int, list[Path]]:
    """Find .tar files by given part: `path` itself, those in it, or those in its train/, val/ and test/."""
    if path.is_file():
        return {FREE: [path]}
    if direct := sorted(path.glob("*.tar")):
        return {FREE: direct}
    parts: dict[int, list[Path]] = {}
    for child in sorted(path.iterdir()):
        if child.name.lower() in SPLIT_NAMES and (shards := sorted(child.glob("*.tar"))):
            parts.setdefault(SPLIT_NAMES[child.name.lower()], []).extend(shards)
    return parts


def open_shards(path: Path) -> Source:
    """Index the shards at `path`; samples without an image or a class are left out, counted and said."""
    parts = find_shards(path)
    if FREE not in parts and TRAIN not in parts:
        raise VitesseError(f"{path} holds shards of val or test but none of train. Add train/.")
    if list(parts) == [TRAIN]:
        parts = {FREE: parts[TRAIN]}
    index = _Index()
    for part, shards in parts.items():
        for shard in shards:
            _add(index, shard, part)
    root = path if path.is_dir() else path.parent
    classes, label_of = _classes(root / "classes.txt", sorted(set(index.numbers)))
    note = f"{index.unpaired} samples lack an image or a .cls and were left out."
    return Source(
        place=str(path),
        classes=classes,
        names=tuple(index.names),
        labels=np.array([label_of[number] for number in index.numbers], np.int64),
        given=np.array(index.given, np.int8),
        read=_Members(tuple(index.spans)),
        notes=(note,) if index.unpaired else (),
    )


def _add(index: _Index, shard: Path, part: int) -> None:
    samples: dict[str, dict[str, _Span]] = defaultdict(dict)
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                folder, base = os.path.split(member.name)
                stem, _, ending = base.partition(".")
                if member.isfile() and stem:
                    span = _Span(str(shard), member.offset_data, member.size)
                    samples[os.path.join(folder, stem)][ending.lower()] = span
    except (tarfile.TarError, EOFError) as error:
        raise VitesseError(
            f"{shard} cannot be indexed as an uncompressed .tar: {error}. Write it again, or unpack its compression."
        ) from error
    for key, fields in samples.items():
        image = next((fields[ending] for ending in _IMAGE_ENDINGS if ending in fields), None)
        if image is None or "cls" not in fields:
            index.unpaired += 1
            continue
        index.names.append(f"{shard.name}/{key}")
        index.spans.append(image)
        index.numbers.append(_class_number(fields["cls"].read(), f"{shard}/{key}.cls"))
        index.given.append(part)


def _class_number(text: bytes, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise VitesseError(f"{name} must hold the number of a class, but holds {text[:40]!r}.") from None


def _classes(file: Path, numbers: list[int]) -> tuple[tuple[str, ...], dict[int, int]]:
    """The classes' names, and the label of each number; without classes.txt the numbers found are the names."""
    if not file.is_file():
        return tuple(map(str, numbers)), {number: label for label, number in enumerate(numbers)}
    names = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    if numbers and not 0 <= numbers[0] <= numbers[-1] < len(names):
        raise VitesseError(
            f"{file} names {len(names)} classes, but the shards hold class {numbers[0]} to {numbers[-1]}. "
            "Write one line for each class, in order."
        )
    return names, {number: number for number in numbers}
