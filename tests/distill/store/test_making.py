from __future__ import annotations

import collections
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.distill.store.conftest import fill, planned

from vitesse.distill.store import LogitStore
from vitesse.distill.store.making import begin, finish, shard_size, shards_to_write, size_text, store_size
from vitesse.errors import UsageError, VitesseError

Make = Callable[..., LogitStore]
Files = Callable[[Path], dict[str, bytes]]
Usage = collections.namedtuple("Usage", "total used free")


@pytest.mark.parametrize(("samples", "writers"), [(1, 1), (100, 1), (100, 3), (7, 4), (10**6, 1000)])
def test_each_writer_has_files_of_its_own(samples: int, writers: int) -> None:
    size = shard_size(samples, block=8, writers=writers)
    files = -(-samples // size)
    assert size % 8 == 0 and 1 <= files <= min(writers, 64)
    assert files == min(writers, 64) or size - 8 < samples / min(writers, 64)


@pytest.mark.parametrize("world", [2, 3, 5])
def test_ranks_share_the_files(tmp_path: Path, files: Files, world: int) -> None:
    changes: dict[str, Any] = {"epochs": 3, "writers": 2}
    for name, ranks in (("one", [(0, 1)]), ("many", [(rank, world) for rank in range(world)])):
        manifest = begin(tmp_path / name, planned(**changes))
        shares = [[one.name for one in shards_to_write(tmp_path / name, manifest, rank=r, world=w)] for r, w in ranks]
        every = [one.name for one in shards_to_write(tmp_path / name, manifest)]
        assert sorted(itertools.chain(*shares)) == sorted(every)
        for rank, of in reversed(ranks):
            fill(tmp_path / name, manifest, rank=rank, world=of)
        finish(tmp_path / name, manifest)
    assert files(tmp_path / "one") == files(tmp_path / "many")


def test_however_it_is_cut_it_reads_the_same(make: Make) -> None:
    one, two = make("one", writers=1), make("two", writers=3)
    assert (one.manifest.shards, two.manifest.shards) == (1, 3)
    for epoch in range(2):
        for mine, theirs in zip(one.read(epoch, np.arange(100)), two.read(epoch, np.arange(100)), strict=True):
            assert np.array_equal(mine, theirs)


def test_gone_on_with_by_another_number_of_processes(tmp_path: Path, make: Make, files: Files) -> None:
    whole = files(make("whole", writers=2).folder)
    manifest = begin(tmp_path / "part", planned(writers=2))
    fill(tmp_path / "part", manifest, rank=1, world=3)
    again = begin(tmp_path / "part", planned(writers=5))
    assert again == manifest, "its files are cut as they were"
    fill(tmp_path / "part", again)
    finish(tmp_path / "part", again)
    assert files(tmp_path / "part") == whole


def test_a_teacher_may_lie_elsewhere_now(make: Make) -> None:
    store = make()
    moved = planned(teacher={"name": "elsewhere/owl", "licence": None, "fingerprint": "abc"})
    assert begin(store.folder, moved) == store.manifest


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"top": 6}, "top is 5, but 6"),
        ({"epochs": 3}, "epochs is 2, but 3"),
        ({"first": 1}, "first is 0, but 1"),
        ({"teacher": {"name": "owl", "licence": "mit", "fingerprint": "xyz"}}, "teacher is abc, but xyz"),
        ({"recipe": {"seed": 1, "augment": {"flip": 0.5}}}, "recipe.seed is 0, but 1"),
    ],
)
def test_another_store_is_not_overwritten(make: Make, files: Files, changes: dict[str, Any], word: str) -> None:
    store = make()
    before = files(store.folder)
    with pytest.raises(UsageError, match=word):
        begin(store.folder, planned(**changes))
    assert files(store.folder) == before


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"x")
    with pytest.raises(UsageError, match="something else"):
        begin(tmp_path, planned())


def test_the_size_is_known_before_and_must_fit(
    tmp_path: Path, make: Make, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make(writers=3)
    written = sum(len(data) for name, data in files(store.folder).items() if name != "manifest.json")
    assert store_size(store.manifest) == written
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 10))
    begin(store.folder, planned(writers=3))  # nothing is left to write
    with pytest.raises(VitesseError, match=f"{size_text(written)} more, but .* 10 B free"):
        begin(tmp_path / "new", planned(writers=3))
    assert not (tmp_path / "new").exists()


def test_what_is_not_whole_is_not_closed(tmp_path: Path) -> None:
    manifest = begin(tmp_path / "part", planned(writers=2))
    fill(tmp_path / "part", manifest, rank=0, world=2)
    with pytest.raises(VitesseError, match=r"epoch-00000/shard-00001 .* not whole"):
        finish(tmp_path / "part", manifest)


def test_sizes_in_words() -> None:
    assert [size_text(n) for n in (0, 999, 56_371_000, 481 * 10**9, 2 * 10**15)] == [
        "0 B",
        "999 B",
        "56.4 MB",
        "481 GB",
        "2e+03 TB",
    ]
