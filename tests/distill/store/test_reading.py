from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.distill.store.conftest import draw

from vitesse.distill.store import LogitStore
from vitesse.errors import UsageError, VitesseError

Make = Callable[..., LogitStore]


@pytest.mark.parametrize(
    "changes", [{}, {"writers": 3}, {"values": "uint8"}, {"classes": 70_000, "top": 3, "samples": 20}]
)
def test_what_was_written_is_read(make: Make, changes: dict[str, Any]) -> None:
    store = make(**changes)
    rng = np.random.default_rng(0)
    for epoch in range(store.epochs):
        classes, values = draw(store.manifest, epoch)
        for indices in (rng.permutation(store.samples), rng.integers(0, store.samples, 300), np.empty(0, int), [3]):
            got, stored = store.read(epoch, indices)
            indices = np.asarray(indices, int)
            assert got.dtype == np.int64 and stored.dtype == np.float32
            assert np.array_equal(got, classes[indices])
            np.testing.assert_allclose(stored, values[indices], atol=store.manifest.error["greatest"] + 1e-7)
    assert (store.classes, store.top) == (store.manifest.layout.classes, store.manifest.layout.top)


def test_the_error_that_is_stored_is_the_one_that_was_made(make: Make) -> None:
    for kind in ("float16", "uint8"):
        store = make(kind, values=kind, writers=2)
        away, mass = [], []
        for epoch in range(store.epochs):
            values = draw(store.manifest, epoch)[1]
            away.append(np.abs(store.read(epoch, np.arange(store.samples))[1] - values))
            mass.append(values.sum(1))
        error = store.manifest.error
        assert error["greatest"] == pytest.approx(np.max(away), rel=1e-6)
        assert error["mean"] == pytest.approx(np.mean(away), rel=1e-5)
        assert error["mass"] == pytest.approx(np.mean(mass), rel=1e-5)


@pytest.mark.parametrize("indices", [[-1], [100], [0, 10**12]])
def test_samples_that_are_not_there(make: Make, indices: list[int]) -> None:
    with pytest.raises(UsageError, match="samples 0 to 99"):
        make().read(0, indices)


def test_epochs_in_turn(make: Make) -> None:
    store = make(first=5, epochs=3)
    assert [store.stored_epoch(epoch) for epoch in range(7)] == [5, 6, 7, 5, 6, 7, 5]
    assert store.reuse(3) is None
    assert "3 epochs" in (said := store.reuse(8) or "") and "8" in said
    for epoch in (0, 4, 8):
        with pytest.raises(UsageError, match="epochs 5 to 7"):
            store.read(epoch, [0])


# The store goes to the workers, as with a data loader's.
WORKERS = """
import multiprocessing, sys
import numpy as np
from vitesse.distill.store import LogitStore

if __name__ == "__main__":
    store = LogitStore.open(sys.argv[1])
    asked = [(epoch, np.arange(store.samples)) for epoch in range(store.epochs)]
    mine = [store.read(*one) for one in asked]
    with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
        for theirs, ours in zip(pool.starmap(store.read, 2 * asked, chunksize=1), 2 * mine, strict=True):
            assert np.array_equal(theirs[0], ours[0]) and np.array_equal(theirs[1], ours[1])
    print("the same")
"""


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_workers_read_the_same(make: Make, way: str, tmp_path: Path) -> None:
    """In a process of its own: one that other tests have filled with threads is not to be forked."""
    script = tmp_path / "script.py"
    script.write_text(WORKERS, encoding="utf-8")
    child = subprocess.run(
        [sys.executable, str(script), str(make().folder), way], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0 and child.stdout == "the same\n", child.stderr[-3000:]


def test_a_copy_keeps_its_promise(make: Make) -> None:
    store = LogitStore.open(make().folder, check=False)
    copy = pickle.loads(pickle.dumps(store))
    assert (copy.manifest, copy._check_files) == (store.manifest, False)


def test_reading_needs_no_torch() -> None:
    code = "import sys, vitesse.distill.store; print({'torch', 'timm', 'accelerate'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_few_files_stay_open(make: Make) -> None:
    store = make(epochs=6)
    for epoch in range(6):
        store.read(epoch, [0])
    assert len(store._mapped) == 2


def test_a_store_that_does_not_fit_is_refused(make: Make) -> None:
    store = make(recipe={"seed": 0, "augment": {"flip": 0.5, "zoom": [1, 1]}, "mix": {"mixup": 0.2}, "data": "abc"})
    recipe = dict(store.manifest.recipe)
    store.check(recipe=recipe, classes=20, teacher="abc", batch=64)
    store.check()
    for given, words in [
        ({"classes": 10}, ["20 classes", "student has 10"]),
        ({"teacher": "xyz"}, ["owl", "abc", "xyz"]),
        ({"recipe": recipe | {"seed": 1}}, ["seed 0", "has 1"]),
        ({"recipe": recipe | {"augment": {"flip": 0.0, "zoom": [1, 1]}}}, ["augment.flip 0.5", "has 0.0"]),
        ({"recipe": recipe | {"data": "xyz"}}, ["data abc", "has xyz"]),
        ({"recipe": recipe | {"more": 1}}, ["more None", "has 1"]),
        ({"recipe": recipe | {"mix": None}}, ["mix.mixup 0.2"]),
        ({"batch": 63}, ["even batch", "63"]),
    ]:
        with pytest.raises(UsageError) as caught:
            store.check(**given)  # type: ignore[arg-type]
        assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)
    store.check(batch=101)  # the whole part at once: only the very last has no partner
    make("plain", recipe={"mix": None}).check(batch=63)


def test_an_incomplete_store_is_not_read(make: Make, tmp_path: Path) -> None:
    from tests.distill.store.conftest import planned

    from vitesse.distill.store.making import begin

    begin(tmp_path / "begun", planned())
    with pytest.raises(VitesseError, match="not complete"):
        LogitStore.open(tmp_path / "begun")
