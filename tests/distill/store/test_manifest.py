from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vitesse.distill.store import LogitStore
from vitesse.distill.store.manifest import FILE, Manifest
from vitesse.errors import UsageError, VitesseError

Make = Callable[..., LogitStore]
quickly = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def rewrite(folder: Path, tree: Any) -> None:
    """A manifest with a checksum that fits, whatever it says."""
    body = json.dumps(tree, indent=2).removesuffix("\n}") + ",\n"
    (folder / FILE).write_text(f'{body}  "crc32": {zlib.crc32(body.encode())}\n}}\n')


def test_it_comes_back(make: Make) -> None:
    store = make(recipe={"seed": 3, "text": "ä\n"})
    assert Manifest.load(store.folder) == store.manifest
    assert store.manifest.complete and len(store.manifest.sums) == 2


@quickly
@given(data=st.data())
def test_no_change_of_a_byte_goes_unseen(make: Make, data: st.DataObject) -> None:
    store = make()
    path = store.folder / FILE
    sound = path.read_bytes()
    place = data.draw(st.integers(0, len(sound) - 1))
    path.write_bytes(sound[:place] + bytes([sound[place] ^ data.draw(st.integers(1, 255))]) + sound[place + 1 :])
    with pytest.raises(VitesseError):
        Manifest.load(store.folder)
    path.write_bytes(sound[:place])
    with pytest.raises(VitesseError):
        Manifest.load(store.folder)
    path.write_bytes(sound)


@quickly
@given(data=st.data())
def test_whatever_a_manifest_says_is_read_or_refused(make: Make, data: st.DataObject) -> None:
    """Even where its checksum fits."""
    store = make()
    path = store.folder / FILE
    sound = path.read_bytes()
    tree = json.loads(sound)
    del tree["crc32"]
    for name in data.draw(st.lists(st.sampled_from(sorted(tree)), min_size=1, max_size=3)):
        tree[name] = data.draw(VALUES | st.integers(0, 300))
    rewrite(store.folder, tree)
    with contextlib.suppress(VitesseError):
        changed = LogitStore.open(store.folder)
        for epoch in range(changed.manifest.first, changed.manifest.first + min(changed.epochs, 3)):
            changed.read(epoch, [0, changed.samples - 1])
    path.write_bytes(sound)


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "\xff", "[" * 100_000, '{"format": "vitesse-logit-store"}'])
def test_other_files_are_no_manifests(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(VitesseError, match=FILE):
        Manifest.load(tmp_path)


def test_a_folder_without_one(tmp_path: Path) -> None:
    with pytest.raises(VitesseError, match="no store"):
        LogitStore.open(tmp_path)


def test_a_later_version_is_named(make: Make) -> None:
    store = make()
    tree = json.loads((store.folder / FILE).read_text())
    rewrite(store.folder, tree | {"version": 2})
    with pytest.raises(VitesseError, match="newer Vitesse"):
        Manifest.load(store.folder)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"samples": 0}, "samples"),
        ({"epochs": 0}, "epochs"),
        ({"shard": 12}, "whole blocks"),
        ({"samples": 10**9, "shard": 8}, "at most"),
        ({"sums": ("a",)}, "names 1"),
    ],
)
def test_impossible_stores_are_refused(make: Make, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        make(**changes)
