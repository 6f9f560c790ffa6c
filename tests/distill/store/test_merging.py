from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitesse.distill.store import LogitStore
from vitesse.distill.store.merging import merge
from vitesse.errors import UsageError, VitesseError

Make = Callable[..., LogitStore]
Files = Callable[[Path], dict[str, bytes]]


def test_parts_become_the_whole_to_the_byte(make: Make, files: Files, tmp_path: Path) -> None:
    whole = make("whole", first=0, epochs=5)
    parts = [make("late", first=3, epochs=2).folder, make("early", first=0, epochs=3).folder]
    merged = merge(parts, tmp_path / "merged")
    assert files(merged.folder) == files(whole.folder)
    assert files(merge(parts, tmp_path / "merged").folder) == files(whole.folder), "once more does nothing"


def test_parts_may_be_cut_differently(make: Make, tmp_path: Path) -> None:
    parts = [make("one", writers=3), make("two", first=2, epochs=1, writers=1)]
    merged = merge([part.folder for part in parts], tmp_path / "merged")
    assert (merged.epochs, merged.manifest.shards) == (3, 3)
    for part in parts:
        for epoch in range(part.manifest.first, part.manifest.first + part.epochs):
            for mine, theirs in zip(merged.read(epoch, np.arange(100)), part.read(epoch, np.arange(100)), strict=True):
                assert np.array_equal(mine, theirs)
    greatest = max(part.manifest.error["greatest"] for part in parts)
    assert merged.manifest.error["greatest"] == greatest


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"first": 1}, "in both"),
        ({"first": 3}, "missing"),
        ({"first": 2, "top": 4}, "top is 5"),
        ({"first": 2, "teacher": {"name": "owl", "fingerprint": "xyz"}}, "teacher is abc"),
        ({"first": 2, "recipe": {"seed": 9}}, "recipe.seed is 0"),
        ({"first": 2, "samples": 99}, "samples is 100"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    make: Make, tmp_path: Path, changes: dict[str, Any], word: str
) -> None:
    parts = [make("one").folder, make("two", **changes).folder]
    with pytest.raises(UsageError, match=word):
        merge(parts, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_one_is_no_merger(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Two stores"):
        merge([make().folder], tmp_path / "merged")


def test_damage_is_not_carried_over(make: Make, tmp_path: Path) -> None:
    parts = [make("one").folder, make("two", first=2).folder]
    path = parts[1] / "epoch-00003" / "shard-00000.bin"
    data = bytearray(path.read_bytes())
    data[900] ^= 4
    path.write_bytes(data)
    with pytest.raises(VitesseError, match="epoch-00003/shard-00000, block 5"):
        merge(parts, tmp_path / "merged")
    with pytest.raises(VitesseError, match="not complete"):
        LogitStore.open(tmp_path / "merged")
