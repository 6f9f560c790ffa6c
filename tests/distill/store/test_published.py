from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vitesse.data.published_random import PublishedRandom
from vitesse.distill.store import LogitStore
from vitesse.distill.store.keys import load_keys
from vitesse.distill.store.published import from_published, to_published
from vitesse.distill.store.verifying import faults
from vitesse.errors import UsageError, VitesseError

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "tinyvit_logit_store_A.json").read_text())
Files = Callable[[Path], dict[str, bytes]]
Lay = Callable[..., Path]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """What the published code wrote."""
    for name, held in GOLDEN["files"].items():
        path = tmp_path / "published" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes.fromhex(held["hex"]))
    return tmp_path / "published"


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """Write epochs in the published layout: for each epoch, for each rank, the samples in their order."""

    def write(epochs: dict[int, list[list[int]]], *, top: int = 3, classes: int = 10) -> Path:
        root = tmp_path / "laid"
        for epoch, ranks in epochs.items():
            folder = root / f"logits_top{top}_epoch{epoch}"
            folder.mkdir(parents=True)
            for rank, samples in enumerate(ranks):
                names, data = "", b""
                for sample in samples:
                    rng = np.random.default_rng([epoch, sample])
                    values = -np.sort(-rng.dirichlet(np.ones(top)).astype("<f2"))
                    data += np.int32(rng.integers(2**31)).tobytes()
                    data += rng.permutation(classes)[:top].astype("<i2").tobytes() + values.tobytes()
                    names += f"img_{sample}\n"
                (folder / f"rank{rank}-keys.txt").write_text(names)
                (folder / f"rank{rank}-values.bin").write_bytes(data)
        return root

    return write


def test_the_published_records(published: Path, tmp_path: Path) -> None:
    store = from_published(published, tmp_path / "store", classes=10, teacher="clip", licence="mit")
    written = GOLDEN["written"]
    classes, values = store.read(3, np.arange(5))
    assert classes.tolist() == [one["index"] for one in written]
    assert values.tolist() == [one["value"] for one in written]
    assert store.seeds(3, np.arange(5)).tolist() == [one["seed"] for one in written]
    assert load_keys(store.folder, store.manifest) == [one["key"] for one in written]
    assert store.manifest.teacher["licence"] == "mit" and store.manifest.layout.width == GOLDEN["item_size"]
    assert list(faults(store.folder)) == []


def test_there_and_back_is_the_same_to_the_byte(published: Path, tmp_path: Path, files: Files) -> None:
    from_published(published, tmp_path / "store", classes=10)
    to_published(tmp_path / "store", tmp_path / "back")
    assert files(tmp_path / "back") == files(published)


def test_the_stored_seeds_draw_the_published_changes() -> None:
    for number, one in enumerate(GOLDEN["written"]):
        rng = PublishedRandom(one["seed"])
        drawn = [rng.random(), rng.randint(3, 9), rng.gauss(0, 0.5), rng.np_beta(0.8, 0.8), number]
        assert drawn == one["aug_item"]


def test_many_ranks_and_orders_become_one(lay: Lay, tmp_path: Path, files: Files) -> None:
    laid = lay({4: [[0, 1, 2], [3, 4]], 5: [[4, 2], [0, 1, 3]], 6: [[3, 1, 4, 0, 2]]})
    store = from_published(laid, tmp_path / "store", classes=10)
    assert (store.manifest.first, store.epochs, store.samples) == (4, 3, 5)
    to_published(store.folder, tmp_path / "back")
    ordered = lay_again(lay, tmp_path, {epoch: [[0, 1, 2, 3, 4]] for epoch in (4, 5, 6)})
    assert files(tmp_path / "back") == files(ordered)


def lay_again(lay: Lay, tmp_path: Path, epochs: dict[int, list[list[int]]]) -> Path:
    (tmp_path / "laid").rename(tmp_path / "before")
    return lay(epochs)


def test_the_first_of_two_records_counts(lay: Lay, tmp_path: Path) -> None:
    """A published sampler pads its last round with images that are there already."""
    laid = lay({0: [[0, 1], [2, 0]]})
    store = from_published(laid, tmp_path / "store", classes=10)
    assert store.samples == 3


def test_class_numbers_beyond_int16_come_through(lay: Lay, tmp_path: Path, files: Files) -> None:
    laid = lay({0: [[0, 1]]}, classes=60_000)
    store = from_published(laid, tmp_path / "store", classes=60_000)
    assert store.read(0, [0, 1])[0].min() >= 0
    with pytest.raises(UsageError, match="at most 32768 classes"):
        to_published(store.folder, tmp_path / "back")


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda folder: (folder / "rank0-values.bin").write_bytes(b"x" * 17), "cut off"),
        (lambda folder: (folder / "rank0-values.bin").write_bytes(b"\0" * 32), "name for each record"),
        (lambda folder: (folder / "rank0-values.bin").write_bytes(b"\xff" * 80), "Is the number of classes right"),
        (lambda folder: (folder / "rank0-keys.txt").unlink(), "cannot be read"),
        (lambda folder: (folder / "rank0-keys.txt").write_bytes(b"\xff\n" * 5), "cannot be read"),
        (lambda folder: (folder / "rank0-keys.txt").write_text("img_0\n" * 5), "lacks 4"),
        (lambda folder: (folder / "rank0-keys.txt").write_text("other\n" * 5), "names 'other'"),
        (lambda folder: (folder / "rank0-values.bin").rename(folder / "rank1-values.bin"), "ranks"),
        (lambda folder: folder.rename(folder.with_name("logits_top3_epoch7")), "follow each other"),
        (lambda folder: folder.rename(folder.with_name("logits_top4_epoch1")), "one number of classes"),
    ],
)
def test_damaged_files_are_refused(lay: Lay, tmp_path: Path, damage: Callable[[Path], object], word: str) -> None:
    laid = lay({0: [[0, 1, 2, 3, 4]], 1: [[4, 3, 2, 1, 0]]})
    damage(laid / "logits_top3_epoch1")
    with pytest.raises(VitesseError, match=word):
        from_published(laid, tmp_path / "store", classes=10)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(VitesseError, match="logits_topK_epochE"):
        from_published(tmp_path, tmp_path / "store", classes=10)


def test_a_store_of_ours_has_no_seeds_to_give(make: Callable[..., LogitStore], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="seeds: False"):
        to_published(make().folder, tmp_path / "back")
