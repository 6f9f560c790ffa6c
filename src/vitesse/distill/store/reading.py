"""Reading: any records of an epoch at once, by their samples' numbers, out of files that are mapped into memory."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vitesse.distill.store.manifest import Manifest
from vitesse.distill.store.records import Bytes, Floats, Ints
from vitesse.distill.store.shards import Shard
from vitesse.errors import UsageError, VitesseError

_KEPT = 2  # epochs whose files stay mapped: the one that is read, and the one before or after


class LogitStore:
    """A complete store, open for reading: `LogitStore.open(path)`.

    Safe to use in forked workers, and to send to spawned ones: each process maps the files for itself. When an epoch is
    first read its checksums are checked, so that no damaged record reaches a student; `check=False` trusts the files.
    """

    def __init__(self, folder: Path, manifest: Manifest, *, check: bool = True) -> None:
        self.folder, self.manifest = folder, manifest
        self._check_files = check
        self._decode = manifest.layout.decoder()
        self._mapped: OrderedDict[int, tuple[Bytes, ...]] = OrderedDict()

    @classmethod
    def open(cls, path: Path | str, *, check: bool = True) -> LogitStore:
        """Open the store in the folder `path`; VitesseError where there is none, or it is damaged or incomplete."""
        folder = Path(path)
        manifest = Manifest.load(folder)
        if not manifest.complete:
            raise VitesseError(
                f"The store {folder} is not complete. Start the command that writes it once more; it goes on where it was."
            )
        return cls(folder, manifest, check=check)

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(LogitStore, check=self._check_files), (self.folder, self.manifest)

    @property
    def classes(self) -> int:
        """How many classes the teacher tells."""
        return self.manifest.layout.classes

    @property
    def top(self) -> int:
        """How many of them a record holds."""
        return self.manifest.layout.top

    @property
    def samples(self) -> int:
        """Images of an epoch."""
        return self.manifest.samples

    @property
    def epochs(self) -> int:
        """How many epochs are stored."""
        return self.manifest.epochs

    def stored_epoch(self, epoch: int) -> int:
        """The stored epoch that serves an epoch of training: its own, or where fewer are stored, each in turn."""
        return self.manifest.first + epoch % self.manifest.epochs

    def reuse(self, epochs: int) -> str | None:
        """What a person must know who trains for so many epochs; None where each has its own."""
        if epochs <= self.epochs:
            return None
        return (
            f"The store holds {self.epochs} epochs and the training has {epochs}: each stored epoch, with its views and its "
            f"order, is used {epochs // self.epochs} times or once more."
        )

    def read(self, epoch: int, indices: npt.ArrayLike) -> tuple[Ints, Floats]:
        """Read the records of samples `indices` (B,) of a stored epoch: classes (B, K) and probabilities (B, K), descending.

        Raises UsageError where the epoch is not stored or a sample has no record.
        """
        return self._decode(self.rows(epoch, indices))

    def rows(self, epoch: int, indices: npt.ArrayLike) -> Bytes:
        """The same records as bytes, (B, record)."""
        places = np.asarray(indices, np.int64)
        tables = self._tables(epoch)
        # Seen as unsigned, a negative number is a very large one: one look finds both.
        if len(places) and places.view(np.uint64).max() >= self.samples:
            raise UsageError(
                f"The store {self.folder} holds samples 0 to {self.samples - 1}, but samples {places.min()} to {places.max()} "
                "were asked for. Is it of these data?"
            )
        if len(tables) == 1:
            return tables[0].take(places, 0)
        shards, offsets = np.divmod(places, self.manifest.shard)
        found = np.empty((len(places), self.manifest.layout.width), np.uint8)
        for shard in np.unique(shards):
            mine = shards == shard
            found[mine] = tables[shard].take(offsets[mine], 0)
        return found

    def seeds(self, epoch: int, indices: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """The augmentation seeds (B,) of those records, in a store that was converted from a published one."""
        return self.manifest.layout.seeds_of(self.rows(epoch, indices))

    def check(
        self,
        *,
        recipe: Mapping[str, Any] | None = None,
        classes: int | None = None,
        teacher: str | None = None,
        batch: int | None = None,
    ) -> None:
        """Raise UsageError where the store does not fit what a training asks for; None is not looked at.

        recipe: of the training's views, as `views.recipe_of` gives it; it holds the fingerprint of the data. classes: of
        the student. teacher: the fingerprint of its weights. batch: images of a step of all processes together.
        """
        if classes is not None and classes != self.classes:
            raise UsageError(
                f"The store {self.folder} is of a teacher with {self.classes} classes, but the student has {classes}. "
                "Give the student as many, or write a store with a teacher of these classes."
            )
        known = self.manifest.teacher.get("fingerprint")
        if teacher is not None and teacher != known:
            raise UsageError(
                f"The store {self.folder} is of the teacher {self.manifest.teacher.get('name')} with weights {known}, but this "
                f"teacher's are {teacher}. Name that teacher, or write another store."
            )
        if recipe is not None:
            self._check_recipe(recipe)
        mix = self.manifest.recipe.get("mix")
        if batch is not None and mix and batch % 2 and batch < self.samples:
            raise UsageError(
                f"Views that are mixed in pairs need an even batch, but got {batch}: neighbours of the epoch's order must be "
                "in one batch. Choose an even one."
            )

    def _check_recipe(self, asked: Mapping[str, Any]) -> None:
        mine = flat(self.manifest.recipe)
        theirs = flat(asked)
        for key in dict.fromkeys([*mine, *theirs]):
            if mine.get(key) != theirs.get(key):
                raise UsageError(
                    f"The store {self.folder} was written with {key} {mine.get(key)}, but the training has {theirs.get(key)}. "
                    "Take the store's settings, or write a store with these."
                )

    def _tables(self, epoch: int) -> tuple[Bytes, ...]:
        """The records of an epoch, one (samples, record) for each file."""
        tables = self._mapped.get(epoch)
        if tables is None:
            first, last = self.manifest.first, self.manifest.first + self.epochs - 1
            if not first <= epoch <= last:
                raise UsageError(
                    f"The store {self.folder} holds epochs {first} to {last}, but epoch {epoch} was asked for."
                )
            tables = tuple(self._map(shard) for shard in shards_of(self.folder, self.manifest, epoch))
            self._mapped[epoch] = tables
            if len(self._mapped) > _KEPT:
                self._mapped.popitem(last=False)
        return tables

    def _map(self, shard: Shard) -> Bytes:
        rows, size = shard.map(), shard.records.stat().st_size
        wrong = None if size == shard.size else f"{shard.records} must have {shard.size} bytes, but has {size}"
        if wrong is None and self._check_files:
            wrong = next((f"The checksum of {shard.named(number)} does not fit" for number in shard.broken(rows)), None)
        if wrong is not None:
            raise VitesseError(f"{wrong}: the store {self.folder} is damaged. See vitesse logits verify {self.folder}.")
        return rows


def shards_of(folder: Path, manifest: Manifest, epoch: int) -> tuple[Shard, ...]:
    """The files of an epoch, in the order of their samples."""
    return tuple(
        Shard(folder=folder, manifest=manifest, epoch=epoch, number=number) for number in range(manifest.shards)
    )


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one level of dotted keys."""
    pairs: dict[str, Any] = {}
    for key, value in tree.items():
        pairs |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return pairs
