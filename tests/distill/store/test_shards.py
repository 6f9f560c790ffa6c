from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.distill.store.conftest import fill, planned

from vitesse.distill.store import LogitStore
from vitesse.distill.store import shards as module
from vitesse.distill.store.making import begin, finish, shards_to_write
from vitesse.distill.store.shards import ENTRY_BYTES, HEADER_BYTES, Shard, ShardWriter
from vitesse.distill.store.verifying import faults
from vitesse.errors import VitesseError

Make = Callable[..., LogitStore]
Files = Callable[[Path], dict[str, bytes]]
SHAPE = {"samples": 100, "epochs": 2, "writers": 2}  # 4 files of 7 and 6 blocks, the last block short


class Kill(BaseException):
    """The process ends here."""


def calls_of(folder: Path, monkeypatch: pytest.MonkeyPatch, *, kill_at: int | None = None) -> int:
    """Write the store, counting what is asked of the system; the call of number `kill_at` writes half and is the last."""
    calls = 0

    def counted(self: ShardWriter, file: IO[bytes], data: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            file.write(memoryview(data)[: len(data) // 2])
            raise Kill
        file.write(data)

    def synced(file: IO[bytes]) -> None:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            raise Kill
        os.fsync(file.fileno())

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "_write", counted)
        patch.setattr(module, "_flush", synced)
        try:
            fill_often(folder)
        except Kill:
            assert calls == kill_at
    return calls


def fill_often(folder: Path) -> None:
    """As `fill`, with a commit after every second block."""
    commit = ShardWriter.append

    def append(self: ShardWriter, *given: Any) -> None:
        commit(self, *given)
        if len(self._entries) == 2:
            self.commit()

    ShardWriter.append = append  # type: ignore[method-assign]
    try:
        fill(folder, begin(folder, planned(**SHAPE)))
    finally:
        ShardWriter.append = commit  # type: ignore[method-assign]


def test_killed_anywhere_and_gone_on_it_is_the_same_to_the_byte(
    tmp_path: Path, make: Make, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = files(make("whole", **SHAPE).folder)
    total = calls_of(tmp_path / "counted", monkeypatch)
    assert total > 60
    for kill_at in range(1, total + 1):
        folder = tmp_path / "killed"
        assert calls_of(folder, monkeypatch, kill_at=kill_at) == kill_at
        with pytest.raises(VitesseError):
            LogitStore.open(folder)
        fill(folder, begin(folder, planned(**SHAPE)))
        finish(folder, begin(folder, planned(**SHAPE)))
        assert files(folder) == whole, kill_at
        shutil.rmtree(folder)


def test_a_second_kill_does_no_harm(tmp_path: Path, make: Make, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, folder = files(make("whole", **SHAPE).folder), tmp_path / "killed"
    for kill_at in (20, 7, 1, 13, 30):
        calls_of(folder, monkeypatch, kill_at=kill_at)
    fill_often(folder)
    finish(folder, begin(folder, planned(**SHAPE)))
    assert files(folder) == whole


def test_no_block_is_written_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counted before a kill is not touched again."""
    folder = tmp_path / "killed"
    calls_of(folder, monkeypatch, kill_at=12)
    shard = next(shards_to_write(folder, planned(**SHAPE)))
    kept = shard.written()
    assert 0 < kept < shard.samples
    with ShardWriter(shard) as writer:
        assert writer.samples == kept


def test_records_that_are_not_what_was_written_are_written_again(
    tmp_path: Path, make: Make, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut may lose records whose checksums were kept; they do not count."""
    whole, folder = files(make("whole", **SHAPE).folder), tmp_path / "killed"
    calls_of(folder, monkeypatch, kill_at=25)
    shard = next(shards_to_write(folder, planned(**SHAPE)))
    with shard.records.open("r+b") as file:
        file.seek(shard.manifest.layout.width * 9)
        file.write(b"\0" * 20)
    with ShardWriter(shard) as writer:
        assert writer.samples == 8, "the first block is whole, the second is not"
    fill_often(folder)
    finish(folder, begin(folder, planned(**SHAPE)))
    assert files(folder) == whole


quickly = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quickly
@given(data=st.data())
def test_damage_is_found_and_named(make: Make, data: st.DataObject) -> None:
    """A flipped bit, a cut or a longer file, a file in another's place."""
    store = make("damaged", **SHAPE)
    assert list(faults(store.folder)) == []
    paths = sorted(store.folder.glob("epoch-*/*"))
    path = data.draw(st.sampled_from(paths))
    sound = path.read_bytes()
    place = data.draw(st.integers(0, len(sound) - 1))
    way = data.draw(st.sampled_from(["flip", "cut", "append", "remove", "swap"]))
    if way == "flip":
        flipped = sound[place] ^ (1 << data.draw(st.integers(0, 7)))
        path.write_bytes(sound[:place] + bytes([flipped]) + sound[place + 1 :])
    elif way == "cut":
        path.write_bytes(sound[:place])
    elif way == "append":
        path.write_bytes(sound + b"x")
    elif way == "remove":
        path.unlink()
    else:
        others = [one.read_bytes() for one in paths if one.suffix == path.suffix and one != path]
        path.write_bytes(data.draw(st.sampled_from(others)))
    found = list(faults(store.folder))
    name = str(path.relative_to(store.folder).with_suffix(""))
    assert found and any(name in line for line in found)
    if way == "flip" and path.suffix == ".bin":
        block = place // store.manifest.layout.width // store.manifest.block
        assert any(f"{name}, block {block} " in line for line in found) and len(found) == 1
    for epoch in range(store.epochs):
        with contextlib.suppress(VitesseError):
            LogitStore.open(store.folder).read(epoch, np.arange(store.samples))
    path.write_bytes(sound)


def test_a_damaged_record_reaches_nobody(make: Make) -> None:
    store = make()
    shard = Shard(folder=store.folder, manifest=store.manifest, epoch=1, number=0)
    data = bytearray(shard.records.read_bytes())
    data[50 * store.manifest.layout.width] ^= 1
    shard.records.write_bytes(data)
    LogitStore.open(store.folder).read(0, [50])
    with pytest.raises(VitesseError, match="epoch-00001/shard-00000, block 6 "):
        LogitStore.open(store.folder).read(1, [3])
    LogitStore.open(store.folder, check=False).read(1, [3])


def test_a_lost_file_is_written_again(make: Make, files: Files) -> None:
    store = make(**SHAPE)
    whole = files(store.folder)
    (store.folder / "epoch-00001" / "shard-00000.bin").unlink()
    manifest = begin(store.folder, planned(**SHAPE))
    assert not manifest.complete
    fill(store.folder, manifest)
    finish(store.folder, manifest)
    assert files(store.folder) == whole


def test_sizes_are_as_specified(make: Make) -> None:
    store = make(**SHAPE)
    for number, samples in enumerate((56, 44)):
        shard = Shard(folder=store.folder, manifest=store.manifest, epoch=0, number=number)
        assert shard.records.stat().st_size == samples * (5 * 2 + 5 * 2)
        assert shard.sums.stat().st_size == HEADER_BYTES + -(-samples // 8) * ENTRY_BYTES


def test_blocks_are_whole(make: Make, tmp_path: Path) -> None:
    manifest = begin(tmp_path / "new", planned())
    with ShardWriter(next(shards_to_write(tmp_path / "new", manifest))) as writer:
        for count in (7, 9, 101):
            with pytest.raises(ValueError, match="whole blocks"):
                writer.append(np.zeros((count, 5), np.int64), np.zeros((count, 5), np.float32))


def test_a_write_that_takes_a_part_is_gone_on_with(
    tmp_path: Path, make: Make, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a nearly full disk does, and every system with more than 2 GiB at once."""
    whole = files(make("whole", **SHAPE).folder)
    opened = module._opened

    class Slow:
        def __init__(self, file: IO[bytes]) -> None:
            self._file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def __enter__(self) -> Slow:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def write(self, data: Any) -> int:
            return self._file.write(data[:33])

    monkeypatch.setattr(module, "_opened", lambda path, size: Slow(opened(path, size)))
    assert files(make("slow", **SHAPE).folder) == whole
