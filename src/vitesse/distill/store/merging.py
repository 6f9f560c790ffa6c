"""Several stores that hold epochs of one kind, each written by a machine of its own, as one store."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vitesse.distill.store.keys import load_keys, save_keys
from vitesse.distill.store.making import begin, finish, shards_to_write
from vitesse.distill.store.reading import LogitStore, flat, shards_of
from vitesse.distill.store.shards import Entries, Shard, ShardWriter
from vitesse.errors import UsageError, VitesseError

Progress = Callable[[int, int, str], None]
_CHUNK = 64  # blocks that are copied at a time


def merge(sources: Sequence[Path | str], out: Path | str, *, progress: Progress | None = None) -> LogitStore:
    """Write the epochs of all `sources` into the store `out`, or go on with it.

    Raises UsageError where they are not of one teacher, one recipe and one shape, or where an epoch is missing or there
    twice; VitesseError where a record that is copied is damaged.
    """
    stores = sorted((LogitStore.open(source) for source in sources), key=lambda store: store.manifest.first)
    _require_alike(stores)
    first = stores[0].manifest
    whole = replace(first, epochs=sum(store.epochs for store in stores), sums=(), error={})
    folder = Path(out)
    manifest = begin(folder, whole)
    if manifest.keys is not None:
        save_keys(folder, load_keys(stores[0].folder, first))
    mine = list(shards_to_write(folder, manifest))
    for number, shard in enumerate(mine):
        source = next(one for one in stores if shard.epoch < one.manifest.first + one.epochs)
        _copy(source, shard)
        if progress is not None:
            progress(number + 1, len(mine), shard.name)
    return finish(folder, manifest)


def _require_alike(stores: Sequence[LogitStore]) -> None:
    if len(stores) < 2:
        raise UsageError("Two stores or more are merged into one: name them all.")
    ours = flat(stores[0].manifest.identity | {"block": stores[0].manifest.block})
    for before, after in itertools.pairwise(stores):
        theirs = flat(after.manifest.identity | {"block": after.manifest.block})
        for key in dict.fromkeys([*ours, *theirs]):
            if ours.get(key) != theirs.get(key):
                one, other = stores[0].folder, after.folder
                raise UsageError(
                    f"Stores of one kind are merged, but {key} is {ours.get(key)} in {one} and {theirs.get(key)} in {other}."
                )
        end = before.manifest.first + before.epochs
        if after.manifest.first != end:
            what = "missing" if after.manifest.first > end else "in both"
            raise UsageError(
                f"The epochs of the stores must follow each other, but {before.folder} ends before epoch {end} and "
                f"{after.folder} begins with {after.manifest.first}: some are {what}."
            )


def _copy(source: LogitStore, target: Shard) -> None:
    entries = _entries(source, target.epoch)
    block = target.manifest.block
    with ShardWriter(target) as writer:
        while writer.samples < target.samples:
            low = target.start + writer.samples
            high = min(low + _CHUNK * block, target.start + target.samples)
            wanted = entries[low // block : -(-high // block)]
            found = wanted.copy()
            writer.append_rows(source.rows(target.epoch, np.arange(low, high)), found)
            damaged = np.flatnonzero(found["crc32"] != wanted["crc32"])
            if len(damaged):
                raise VitesseError(
                    f"Epoch {target.epoch} of {source.folder} is damaged at samples {low + int(damaged[0]) * block} and after. "
                    f"See vitesse logits verify {source.folder}."
                )


def _entries(store: LogitStore, epoch: int) -> Entries:
    """The entries of all blocks of an epoch; files hold whole blocks, so they follow each other."""
    return np.concatenate([shard.entries() for shard in shards_of(store.folder, store.manifest, epoch)])
