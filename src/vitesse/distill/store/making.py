"""A store from its first byte to its last: made or gone on with, filled by several processes, and closed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from vitesse.distill.store.manifest import FILE, Manifest
from vitesse.distill.store.reading import LogitStore, flat, shards_of
from vitesse.distill.store.shards import ENTRY_BYTES, HEADER_BYTES, Shard
from vitesse.errors import UsageError, VitesseError

MOST_SHARDS = 64  # of one epoch: each is a mapped file, and a gather for itself
_SPARE = 16 * 2**20  # bytes that are left free on the disk


def shard_size(samples: int, *, block: int, writers: int) -> int:
    """Images of a file, so that each of the processes that write has files of its own in every epoch."""
    files = max(1, min(writers, MOST_SHARDS))
    return -(-samples // (files * block)) * block


def store_size(manifest: Manifest) -> int:
    """What the files of records and of checksums take together, in bytes."""
    blocks = sum(
        -(-min(manifest.shard, manifest.samples - start) // manifest.block)
        for start in range(0, manifest.samples, manifest.shard)
    )
    epoch = manifest.samples * manifest.layout.width + blocks * ENTRY_BYTES + manifest.shards * HEADER_BYTES
    return manifest.epochs * epoch


def begin(folder: Path, manifest: Manifest) -> Manifest:
    """Make the store, or go on with the one that is there: returns its manifest.

    Raises UsageError where another store is there, VitesseError where the disk has no room for what is to be written.
    """
    if (folder / FILE).exists():
        there = Manifest.load(folder)
        mine, theirs = (flat(one.identity | {"first": one.first, "epochs": one.epochs}) for one in (manifest, there))
        for key in dict.fromkeys([*mine, *theirs]):
            if mine.get(key) != theirs.get(key):
                raise UsageError(
                    f"{folder} holds a store whose {key} is {theirs.get(key)}, but {mine.get(key)} was asked for. "
                    "Ask for the same to go on with it, or choose another --out."
                )
        manifest = there
        if there.complete and any(shards_to_write(folder, there)):
            # Files were lost since: it is not complete until they are written again.
            manifest = replace(there, sums=(), error={})
            manifest.save(folder)
    elif folder.exists() and any(one for one in folder.iterdir() if not one.name.startswith(".")):
        raise UsageError(
            f"A store is written into a folder of its own, but {folder} holds something else. Choose another."
        )
    require_space(folder, manifest)
    if not (folder / FILE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        manifest.save(folder)
    return manifest


def require_space(folder: Path, manifest: Manifest) -> None:
    """Raise VitesseError where the disk has less room than the rest of the store needs."""
    place = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    there = sum(one.stat().st_size for one in folder.glob("epoch-*/*")) if folder.exists() else 0
    needed, free = store_size(manifest) - there, shutil.disk_usage(place).free
    if needed + (_SPARE if needed > 0 else 0) > free:
        raise VitesseError(
            f"The store needs {size_text(needed)} more, but {place} has {size_text(free)} free. Free some, store fewer epochs, "
            "or a smaller --top."
        )


def shards_to_write(folder: Path, manifest: Manifest, *, rank: int = 0, world: int = 1) -> Iterator[Shard]:
    """The shards that this process is to write and that are not yet whole; together the processes have each one once."""
    epochs = range(manifest.first, manifest.first + manifest.epochs)
    every = [shard for epoch in epochs for shard in shards_of(folder, manifest, epoch)]
    for shard in every[rank::world]:
        if shard.written() < shard.samples or not _has_size(shard):
            yield shard


def finish(folder: Path, manifest: Manifest) -> LogitStore:
    """Close a store whose records are all written: its manifest gets the digests, and the errors that were measured."""
    sums: list[str] = []
    greatest, mean, mass = 0.0, 0.0, 0.0
    for epoch in range(manifest.first, manifest.first + manifest.epochs):
        for shard in shards_of(folder, manifest, epoch):
            entries = shard.entries()
            if len(entries) < shard.blocks or not _has_size(shard):
                raise VitesseError(f"{shard.name} of {folder} is not whole. Start the same command again to go on.")
            sums.append(shard.digest())
            counts = np.full(len(entries), manifest.block)
            counts[-1] = shard.samples - manifest.block * (len(entries) - 1)
            greatest = max(greatest, float(entries["greatest"].max()))
            mean += float((entries["mean"] * counts).sum())
            mass += float((entries["mass"] * counts).sum())
    total = manifest.samples * manifest.epochs
    error = {"greatest": greatest, "mean": mean / total, "mass": mass / total}
    manifest = replace(manifest, sums=tuple(sums), error=error)
    manifest.save(folder)
    return LogitStore(folder, manifest)


def size_text(count: int) -> str:
    """`512 B`, `56.4 MB`, `481 GB`."""
    value, units = float(max(count, 0)), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"


def _has_size(shard: Shard) -> bool:
    return shard.records.exists() and shard.records.stat().st_size == shard.size
