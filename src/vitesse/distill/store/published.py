"""Stores of TinyViT's published layout, read into ours and written back.

There, an epoch is a folder `logits_top{K}_epoch{e}` with, for each process that wrote it, `rank{r}-keys.txt` (a name a
line) and `rank{r}-values.bin` (records in the same order: seed int32 | K classes int16 | K probabilities float16).
Ours numbers samples in the order of the first epoch's files, rank by rank, and keeps names and seeds; the way back
writes one rank in that order. So a store of one rank and one order comes back byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vitesse.distill.store.keys import digest_of, load_keys, save_keys
from vitesse.distill.store.making import begin, finish, shard_size, shards_to_write
from vitesse.distill.store.manifest import BLOCK, Manifest
from vitesse.distill.store.reading import LogitStore
from vitesse.distill.store.records import FLOAT16, Bytes, Ints, Layout
from vitesse.distill.store.shards import ENTRY, Entries, ShardWriter
from vitesse.distill.store.views import PUBLISHED
from vitesse.errors import UsageError, VitesseError
from vitesse.runs.files import atomic_path

Progress = Callable[[int, int, str], None]
_FOLDER = re.compile(r"logits_top(\d+)_epoch(\d+)")
_VALUES = re.compile(r"rank(\d+)-values\.bin")
_MOST_CLASSES = 2**15  # beyond, its int16 would turn negative
_CHUNK = 256 * BLOCK  # records that are copied at a time


def from_published(
    source: Path | str,
    out: Path | str,
    *,
    classes: int,
    teacher: str = "",
    licence: str | None = None,
    progress: Progress | None = None,
) -> LogitStore:
    """Write the published store in the folder `source` as one of ours into `out`, or go on with it.

    classes: of the teacher, which the published files do not say. Raises VitesseError where files are missing, cut off,
    or do not fit.
    """
    folders = _epochs(Path(source))
    top, first = folders[0][0], folders[0][1]
    keys: dict[str, int] = {}
    for name in _keys_of(folders[0][2]):
        keys.setdefault(name, len(keys))
    names, folder = list(keys), Path(out)
    manifest = begin(
        folder,
        Manifest(
            layout=Layout(classes=classes, top=top, seeds=True),
            samples=len(names),
            first=first,
            epochs=len(folders),
            shard=shard_size(len(names), block=BLOCK, writers=1),
            teacher={"name": teacher, "licence": licence, "fingerprint": None, "precision": None},
            recipe={"replay": PUBLISHED},
            keys=digest_of(names),
            made={"source": str(source)},
        ),
    )
    save_keys(folder, names)
    for shard in shards_to_write(folder, manifest):
        place = folders[shard.epoch - first][2]
        records = _records(place, manifest.layout)
        order = _places(place, keys, records=len(records))
        with ShardWriter(shard) as writer:
            while writer.samples < shard.samples:
                low = shard.start + writer.samples
                rows = records[order[low : min(low + _CHUNK, shard.start + shard.samples)]]
                writer.append_rows(rows, _entries_of(rows, manifest.layout, place))
        if progress is not None:
            progress(shard.epoch - first + 1, len(folders), shard.name)
    return finish(folder, manifest)


def to_published(source: Path | str, out: Path | str, *, progress: Progress | None = None) -> list[Path]:
    """Write a store of ours in the published layout into the folder `out`: one rank, samples in their order.

    Returns the folders of the epochs. Raises UsageError where that layout cannot hold its records.
    """
    store = LogitStore.open(source)
    layout, manifest = store.manifest.layout, store.manifest
    if not layout.seeds or layout.values != FLOAT16 or layout.classes > _MOST_CLASSES:
        raise UsageError(
            f"The published layout holds a seed for each record, float16 values and at most {_MOST_CLASSES} classes, but "
            f"{store.folder} has seeds: {layout.seeds}, values: {layout.values}, classes: {layout.classes}. Only stores that "
            "were converted from it can go back."
        )
    names, written = load_keys(store.folder, manifest), []
    for epoch in range(manifest.first, manifest.first + manifest.epochs):
        folder = Path(out) / f"logits_top{layout.top}_epoch{epoch}"
        with atomic_path(folder / "rank0-values.bin") as draft, draft.open("wb") as file:
            for low in range(0, store.samples, _CHUNK):
                file.write(store.rows(epoch, np.arange(low, min(low + _CHUNK, store.samples))).tobytes())
        with atomic_path(folder / "rank0-keys.txt") as draft:
            draft.write_bytes("".join(f"{name}\n" for name in names).encode())
        written.append(folder)
        if progress is not None:
            progress(len(written), manifest.epochs, folder.name)
    return written


def is_published(folder: Path | str) -> bool:
    """Whether the folder holds epochs in the published layout."""
    return Path(folder).is_dir() and any(_FOLDER.fullmatch(one.name) for one in Path(folder).iterdir())


def _epochs(source: Path) -> list[tuple[int, int, Path]]:
    """(K, epoch, folder) of each epoch, in order."""
    if not is_published(source):
        raise VitesseError(f"{source} holds no folder logits_topK_epochE. Name the folder above those of the epochs.")
    matches = [(_FOLDER.fullmatch(one.name), one) for one in source.iterdir()]
    found = sorted((int(match[1]), int(match[2]), place) for match, place in matches if match)
    tops, numbers = {top for top, _, _ in found}, [epoch for _, epoch, _ in found]
    if len(tops) > 1:
        raise VitesseError(
            f"A store has one number of classes a record, but {source} has {sorted(tops)}. Convert each by itself."
        )
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise VitesseError(
            f"The epochs of a store follow each other, but {source} has {numbers}. Convert each run by itself."
        )
    return found


def _ranks(folder: Path) -> list[Path]:
    """The files of values of an epoch, rank by rank."""
    found = {int(match[1]): one for one in folder.iterdir() if (match := _VALUES.fullmatch(one.name))}
    if sorted(found) != list(range(len(found))) or not found:
        raise VitesseError(
            f"{folder} must hold rank0-values.bin and so on, but has ranks {sorted(found)}. Copy it again."
        )
    return [found[rank] for rank in sorted(found)]


def _keys_of(folder: Path) -> list[str]:
    """The names of an epoch's records, rank by rank."""
    names: list[str] = []
    for values in _ranks(folder):
        path = values.with_name(values.name.replace("-values.bin", "-keys.txt"))
        try:
            text = path.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise VitesseError(f"{path} cannot be read: {error}") from error
        names += text.removesuffix("\n").split("\n") if text else []
    if not names:
        raise VitesseError(f"{folder} holds no records.")
    return names


def _records(folder: Path, layout: Layout) -> Bytes:
    """The records of an epoch as bytes, (records, width), rank by rank."""
    found: list[Bytes] = []
    for path in _ranks(folder):
        data = np.fromfile(path, np.uint8)
        if len(data) % layout.width:
            raise VitesseError(
                f"{path} must hold records of {layout.width} bytes, but has {len(data)} bytes: it is cut off. Copy it again."
            )
        found.append(data.reshape(-1, layout.width))
    return np.concatenate(found)


def _places(folder: Path, keys: dict[str, int], *, records: int) -> Ints:
    """Where among the epoch's records each sample's stands, (samples,); of a name that is there twice, the first counts."""
    names = _keys_of(folder)
    if len(names) != records:
        raise VitesseError(
            f"{folder} must have a name for each record, but has {len(names)} for {records}. Copy it again."
        )
    places = np.full(len(keys), -1, np.int64)
    for place, name in enumerate(names):
        sample = keys.get(name)
        if sample is None:
            raise VitesseError(
                f"Every epoch must name the same samples, but {folder} names {name!r}, which the first does not."
            )
        if places[sample] < 0:
            places[sample] = place
    if (places < 0).any():
        raise VitesseError(
            f"Every epoch must name the same samples, but {folder} lacks {int((places < 0).sum())} of the first's."
        )
    return places


def _entries_of(rows: Bytes, layout: Layout, place: Path) -> Entries:
    """Entries for published records: nothing was rounded on the way; VitesseError where they cannot be a teacher's."""
    classes, values = layout.decoder()(rows)
    if classes.max() >= layout.classes or not ((values >= 0) & (values <= 1)).all():
        raise VitesseError(
            f"The records of {place} must hold classes below {layout.classes} and probabilities, but hold class "
            f"{classes.max()} and values from {values.min()} to {values.max()}. Is the number of classes right?"
        )
    starts = np.arange(0, len(rows), BLOCK)
    entries = np.zeros(len(starts), ENTRY)
    entries["mass"] = np.add.reduceat(values.sum(1, dtype=np.float64), starts) / np.diff(starts, append=len(rows))
    return entries
