"""Small stores that the tests make themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitesse.distill.store import LogitStore
from vitesse.distill.store.making import begin, finish, shard_size, shards_to_write
from vitesse.distill.store.manifest import Manifest
from vitesse.distill.store.records import Layout
from vitesse.distill.store.shards import ShardWriter

Answers = tuple[np.ndarray, np.ndarray]


def draw(manifest: Manifest, epoch: int) -> Answers:
    """Classes and descending probabilities of every sample of an epoch, the same at each call."""
    rng = np.random.default_rng(epoch)
    layout = manifest.layout
    logits = rng.normal(size=(manifest.samples, layout.classes)) * 3
    chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    classes = np.argsort(-chance, 1)[:, : layout.top]
    return classes, np.take_along_axis(chance, classes, 1).astype(np.float32)


def fill(folder: Path, manifest: Manifest, *, rank: int = 0, world: int = 1) -> None:
    """Write a process's share of a store."""
    for shard in shards_to_write(folder, manifest, rank=rank, world=world):
        classes, values = draw(manifest, shard.epoch)
        with ShardWriter(shard) as writer:
            while writer.samples < shard.samples:
                low = shard.start + writer.samples
                high = min(low + manifest.block, shard.start + shard.samples)
                writer.append(classes[low:high], values[low:high])


def planned(**changes: Any) -> Manifest:
    """A small store: 100 samples of 2 epochs in blocks of 8, all of an epoch in one file."""
    given = {
        "samples": 100,
        "epochs": 2,
        "block": 8,
        "writers": 1,
        "classes": 20,
        "top": 5,
        "values": "float16",
    } | changes
    layout = Layout(classes=given.pop("classes"), top=given.pop("top"), values=given.pop("values"))
    given.setdefault("shard", shard_size(given["samples"], block=given["block"], writers=given.pop("writers")))
    given.setdefault("teacher", {"name": "owl", "licence": "mit", "fingerprint": "abc"})
    given.setdefault("recipe", {"seed": 0, "augment": {"flip": 0.5}})
    return Manifest(layout=layout, **given)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., LogitStore]:
    """Make a store: `make("name", samples=..., top=...)`."""

    def made(name: str = "store", **changes: Any) -> LogitStore:
        manifest = begin(tmp_path / name, planned(**changes))
        fill(tmp_path / name, manifest)
        return finish(tmp_path / name, manifest)

    return made


@pytest.fixture
def files() -> Callable[[Path], dict[str, bytes]]:
    """What a store's files hold, by name."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            str(one.relative_to(folder)): one.read_bytes()
            for one in sorted(folder.rglob("*"))
            if one.is_file() and one.name != ".lock"
        }

    return read
