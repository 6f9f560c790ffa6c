"""The files of a store: records (`.bin`) and, beside them, a checksum for each block (`.sum`).

A block counts once its checksum is written, which happens after its records are on the disk. So a writer that is killed
at any moment leaves whole blocks, and perhaps a tail that does not count.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from vitesse.distill.store.manifest import Manifest
from vitesse.distill.store.records import Bytes, Floats, Ints
from vitesse.errors import VitesseError
from vitesse.runs.files import explained

MAGIC = b"VITLOGIT"
_HEADER = struct.Struct("<8sIIQ8s")  # magic, epoch, shard, first sample, identity
HEADER_BYTES = _HEADER.size
# Of one block: CRC-32 of its records, greatest and mean error of its values, mean probability that its K classes hold.
ENTRY = np.dtype([("crc32", "<u4"), ("greatest", "<f4"), ("mean", "<f4"), ("mass", "<f4")])
ENTRY_BYTES = ENTRY.itemsize
Entries = npt.NDArray[np.void]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One file of records: a run of samples of one epoch."""

    folder: Path
    manifest: Manifest
    epoch: int
    number: int

    @property
    def name(self) -> str:
        """The file's name without its ending, within the store."""
        return f"epoch-{self.epoch:05d}/shard-{self.number:05d}"

    @property
    def records(self) -> Path:
        """The file of records."""
        return self.folder / f"{self.name}.bin"

    @property
    def sums(self) -> Path:
        """The file of checksums."""
        return self.folder / f"{self.name}.sum"

    @property
    def start(self) -> int:
        """The first sample."""
        return self.number * self.manifest.shard

    @property
    def samples(self) -> int:
        """How many samples."""
        return min(self.manifest.shard, self.manifest.samples - self.start)

    @property
    def blocks(self) -> int:
        """How many blocks; the last may hold fewer records."""
        return -(-self.samples // self.manifest.block)

    @property
    def size(self) -> int:
        """The bytes of the file of records, once it is whole."""
        return self.samples * self.manifest.layout.width

    def block(self, number: int) -> slice:
        """The samples of a block, counted from the shard's first."""
        size = self.manifest.block
        return slice(number * size, min((number + 1) * size, self.samples))

    @property
    def header(self) -> bytes:
        """The beginning of the file of checksums; files of other stores, or of another place, have another."""
        text = json.dumps(self.manifest.identity, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        identity = hashlib.sha256(text.encode()).digest()[:8]
        return _HEADER.pack(MAGIC, self.epoch, self.number, self.start, identity)

    def entries(self) -> Entries:
        """The checksums that are written, (blocks,) or fewer; VitesseError where the file is not of this shard."""
        data = self._summed()
        whole = max(0, len(data) - HEADER_BYTES) // ENTRY_BYTES
        if whole and data[:HEADER_BYTES] != self.header:
            raise VitesseError(
                f"{self.sums} belongs to another store, or to another place in this one. Copy it again, or remove it and write "
                "the store again."
            )
        return np.frombuffer(data, ENTRY, min(whole, self.blocks), HEADER_BYTES if whole else 0)

    def _summed(self) -> bytes:
        try:
            return self.sums.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise VitesseError(f"{self.sums} cannot be read: {error.strerror}.") from error

    def written(self) -> int:
        """The samples that are there."""
        return min(len(self.entries()) * self.manifest.block, self.samples)

    def map(self) -> Bytes:
        """The records that are there, (n, width), mapped into memory; VitesseError where they cannot be read."""
        width = self.manifest.layout.width
        try:
            with self.records.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < width:  # nothing cannot be mapped
                    return np.empty((0, width), np.uint8)
                data = mmap.mmap(file.fileno(), size - size % width, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise VitesseError(
                f"{self.records} cannot be read ({error}). Copy it again, or remove it and write the store again."
            ) from error
        return np.frombuffer(data, np.uint8).reshape(-1, width)

    def broken(self, rows: Bytes) -> Iterator[int]:
        """The numbers of the blocks whose records are not what was written."""
        for number, entry in enumerate(self.entries()["crc32"].tolist()):
            if zlib.crc32(rows[self.block(number)].data) != entry:
                yield number

    def named(self, block: int) -> str:
        """A block, as a person can find it."""
        span = self.block(block)
        return f"{self.name}, block {block} (samples {self.start + span.start} to {self.start + span.stop - 1})"

    def faults(self) -> Iterator[str]:
        """What is wrong with the shard, a line for each block that is lost; reads all of it."""
        try:
            rows, size = self.map(), self.records.stat().st_size
            if size != self.size:
                yield f"{self.name}: it must have {self.size} bytes of records, but has {size}"
            yield from (f"{self.named(number)}: its checksum does not fit" for number in self.broken(rows))
            written = len(self.entries())
            if written < self.blocks:
                yield f"{self.name}: {written} of {self.blocks} blocks are written"
        except VitesseError as error:
            yield f"{self.name}: {error}"

    def digest(self) -> str:
        """The SHA-256 of the file of checksums."""
        return hashlib.sha256(self._summed()).hexdigest()


class ShardWriter:
    """Writes a shard on from where it stands: `append` takes records in order, `commit` makes them count.

    Use as a context; what was appended is committed at its end, unless it ends by an exception.
    """

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self._entries: list[Entries] = []  # of blocks whose records may not be on the disk yet
        shard.records.parent.mkdir(parents=True, exist_ok=True)
        self._blocks = _sound_blocks(shard)
        with contextlib.ExitStack() as stack:
            self._data = stack.enter_context(_opened(shard.records, self.samples * shard.manifest.layout.width))
            kept = HEADER_BYTES + self._blocks * ENTRY_BYTES if self._blocks else 0
            self._sums = stack.enter_context(_opened(shard.sums, kept))
            self._close = stack.pop_all().close

    @property
    def samples(self) -> int:
        """How many samples are written, counted from the shard's first: the next to append."""
        return min(self._blocks * self.shard.manifest.block, self.shard.samples)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.commit()
                _flush_folder(self.shard.records.parent)  # where the files are named, else a power cut could lose them
        finally:
            self._close()

    def append(self, classes: Ints, probabilities: Floats, seeds: npt.ArrayLike | None = None) -> None:
        """Add the records of whole blocks (the shard's last may be short): classes and probabilities, (n, K)."""
        layout = self.shard.manifest.layout
        rows = layout.encode(classes, probabilities, seeds)
        _, stored = layout.decoder()(rows)
        away = np.abs(stored - probabilities)
        starts = np.arange(0, len(rows), self.shard.manifest.block)
        entries = np.zeros(len(starts), ENTRY)
        counts = np.diff(starts, append=len(rows))
        entries["greatest"] = np.maximum.reduceat(away.max(1), starts)
        entries["mean"] = np.add.reduceat(away.mean(1, dtype=np.float64), starts) / counts
        entries["mass"] = np.add.reduceat(probabilities.sum(1, dtype=np.float64), starts) / counts
        self.append_rows(rows, entries)

    def append_rows(self, rows: Bytes, entries: Entries) -> None:
        """Add records as they lie in a file, (n, width), with an entry for each of their blocks; checksums are computed."""
        block, width = self.shard.manifest.block, self.shard.manifest.layout.width
        left = self.shard.samples - self.samples
        if len(rows) > left or (len(rows) % block and len(rows) != left):
            raise ValueError(
                f"{self.shard.name} takes whole blocks of {block} and no more than {left}, not {len(rows)}"
            )
        data = np.ascontiguousarray(rows).data.cast("B")
        entries["crc32"] = [
            zlib.crc32(data[start : start + block * width]) for start in range(0, len(data), block * width)
        ]
        self._write(self._data, data)
        self._entries.append(entries)
        self._blocks += len(entries)

    def commit(self) -> None:
        """Bring the records to the disk, then their checksums: from here on they are kept."""
        if self._entries:
            _flush(self._data)
            header = b"" if self._sums.tell() else self.shard.header
            self._write(self._sums, header + np.concatenate(self._entries).tobytes())
            _flush(self._sums)
            self._entries.clear()

    def _write(self, file: IO[bytes], data: bytes | memoryview) -> None:
        left = memoryview(data)
        try:
            while len(left):  # a write without a buffer may take a part only
                left = left[file.write(left) :]
        except OSError as error:
            raise explained(error, Path(file.name)) from error


def _sound_blocks(shard: Shard) -> int:
    """How many blocks of an unfinished shard are kept: up to the first whose records are not what was written."""
    written = len(shard.entries())
    if not written or not shard.records.exists():
        return 0
    return next(shard.broken(shard.map()), written)


def _opened(path: Path, size: int) -> IO[bytes]:
    """The file, cut to `size` bytes and ready to be written on."""
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(path.open("r+b" if path.exists() else "w+b", buffering=0))
            file.truncate(size)
            file.seek(size)
            stack.pop_all()
            return file
    except OSError as error:
        raise explained(error, path) from error


def _flush(file: IO[bytes]) -> None:
    try:
        os.fsync(file.fileno())
    except OSError as error:
        raise explained(error, Path(file.name)) from error


def _flush_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
