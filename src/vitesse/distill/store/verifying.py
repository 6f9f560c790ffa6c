"""Whether a store still holds what was written: every checksum, and each file that does not fit is named."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from vitesse.distill.store.keys import KEYS
from vitesse.distill.store.manifest import Manifest
from vitesse.distill.store.reading import shards_of
from vitesse.distill.store.shards import Shard

Progress = Callable[[int, int, str], None]


def faults(folder: Path | str, *, progress: Progress | None = None) -> Iterator[str]:
    """Read a whole store, and give a line for everything that is wrong with it: none where it is sound.

    Raises VitesseError where its manifest cannot be read.
    """
    folder = Path(folder)
    manifest = Manifest.load(folder)
    if not manifest.complete:
        yield "the store is not complete: the command that writes it has to be started again"
    if manifest.keys is not None:
        yield from _keys(folder, manifest.keys)
    epochs = range(manifest.first, manifest.first + manifest.epochs)
    shards = [shard for epoch in epochs for shard in shards_of(folder, manifest, epoch)]
    for number, shard in enumerate(shards):
        yield from _shard(shard, manifest.sums[number] if manifest.complete else None)
        if progress is not None:
            progress(number + 1, len(shards), shard.name)


def _shard(shard: Shard, digest: str | None) -> Iterator[str]:
    if digest is not None and shard.digest() != digest:
        yield f"{shard.name}: its checksums ({shard.sums.name}) are not those of the manifest"
    yield from shard.faults()


def _keys(folder: Path, digest: str) -> Iterator[str]:
    try:
        data = (folder / KEYS).read_bytes()
    except OSError as error:
        yield f"{KEYS}: it cannot be read ({error.strerror})"
        return
    if hashlib.sha256(data).hexdigest() != digest:
        yield f"{KEYS}: it is not the one that the manifest names"
