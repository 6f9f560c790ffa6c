from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from vitesse.data import Augment, DataSettings, Mix, Parts, load_parts
from vitesse.distill.store import LogitStore
from vitesse.distill.store import views as module
from vitesse.distill.store.views import check_views, recipe_of, views_of
from vitesse.distill.store.writing import TeacherFacts, fingerprint, plan, write
from vitesse.errors import UsageError, VitesseError

Files = Callable[[Path], dict[str, bytes]]
AUGMENTS = [Augment(), Augment.digits(), Augment.photos(), Augment(erase=1.0, flip=0.5)]
MIXES = [Mix(), Mix(mixup=0.8, smoothing=0.1), Mix(cutmix=1.0), Mix(mixup=0.2, cutmix=1.0, probability=0.7)]


class Spy(nn.Module):
    """A teacher that remembers what it saw."""

    def __init__(self, pixels: int = 64, classes: int = 10) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(pixels, classes)
        nn.init.normal_(self.linear.weight)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        logits: Tensor = self.linear(images.flatten(1))
        return logits


def written(path: Path, teacher: nn.Module, parts: Parts, *, batch: int = 64, **given: Any) -> LogitStore:
    """A store of two epochs by `teacher`."""
    asked: dict[str, Any] = {"epochs": range(2), "augment": Augment(), "mix": Mix(), "seed": 5} | given
    store = write(path, teacher, parts, plan=plan(teacher, parts, facts=TeacherFacts(name="spy"), **asked), batch=batch)
    assert store is not None
    return store


@pytest.fixture(scope="module")
def digits() -> Parts:
    return load_parts(DataSettings(workers=0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that hold something, in two classes."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(40):
        place = root / "ab"[number % 2]
        place.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 28, 3), dtype=np.uint8)).save(place / f"{number}.png")
    return root


def photos(folder: Path, *, workers: int = 0, cache_bytes: int = 0) -> Parts:
    return load_parts(DataSettings(source=str(folder), size=16, workers=workers, cache_bytes=cache_bytes))


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("augment", AUGMENTS)
def test_a_student_sees_what_the_teacher_saw(digits: Parts, tmp_path: Path, augment: Augment, mix: Mix) -> None:
    """To the bit, and the store says what the teacher says of it."""
    spy = Spy()
    store = written(tmp_path / "store", spy, digits, augment=augment, mix=mix)
    seen = torch.cat(spy.seen[-2 * -(-len(digits.learn) // 64) :]).view(2, len(digits.learn), 1, 8, 8)
    seed, again, mixing, _ = views_of(store.manifest.recipe, smoothing=mix.smoothing)
    store.check(
        recipe=recipe_of(digits, augment=again, mix=mixing, seed=seed), classes=10, batch=48, teacher=fingerprint(spy)
    )
    check_views(store, digits)
    for epoch in range(2):
        for batch in digits.learn.train_batches(epoch=epoch, batch=48, seed=seed, augment=again, mix=mixing):
            assert torch.equal(batch.images, seen[epoch][batch.indices])
            classes, values = map(torch.from_numpy, store.read(epoch, batch.indices.numpy()))
            live = spy(batch.images).softmax(-1)
            stored = torch.zeros_like(live).scatter_(1, classes, values)
            assert functional.cosine_similarity(stored, live).min() >= 0.9999


@pytest.mark.parametrize("cache_bytes", [0, 2**30])
@pytest.mark.parametrize("mix", [Mix(), Mix(mixup=0.2, cutmix=1.0)])
def test_whatever_number_of_workers(folder: Path, tmp_path: Path, files: Files, mix: Mix, cache_bytes: int) -> None:
    """Pictures that are decoded anew in each epoch, changed by timm's policy; and those that are kept."""
    held = []
    for workers in (0, 2):
        parts = photos(folder, workers=workers, cache_bytes=cache_bytes)
        assert parts.learn.kept == (cache_bytes > 0)
        spy = Spy(3 * 16 * 16, 2)
        store = written(tmp_path / f"{workers}", spy, parts, augment=Augment.photos(), mix=mix, epochs=range(1, 3))
        held.append({name: data for name, data in files(store.folder).items() if name.startswith("epoch")})
        for batch in parts.learn.train_batches(epoch=2, batch=8, seed=5, augment=Augment.photos(), mix=mix):
            classes, values = store.read(2, batch.indices.numpy())
            live = np.take_along_axis(spy(batch.images).softmax(-1).detach().numpy(), classes, 1)
            np.testing.assert_allclose(values, live, atol=3e-4)
    assert held[0] == held[1]


def test_the_batch_does_not_matter_but_for_rounding(digits: Parts, tmp_path: Path) -> None:
    stores = [
        written(tmp_path / str(size), Spy(), digits, batch=size, augment=Augment.digits()) for size in (1000, 100, 1)
    ]
    reads = [store.read(1, np.arange(store.samples))[1] for store in stores]
    np.testing.assert_allclose(reads[1], reads[0], atol=1e-3)
    np.testing.assert_allclose(reads[2], reads[0], atol=1e-3)


@pytest.mark.parametrize("values", ["float16", "uint8"])
def test_a_part_of_the_classes(digits: Parts, tmp_path: Path, values: Any) -> None:
    spy = Spy()
    store = written(tmp_path / "store", spy, digits, top=3, values=values)
    batch = next(digits.learn.train_batches(epoch=0, batch=32, seed=5, augment=Augment(), mix=Mix()))
    live = spy(batch.images).softmax(-1).topk(3)
    classes, stored = store.read(0, batch.indices.numpy())
    assert np.array_equal(classes, live.indices.numpy())
    np.testing.assert_allclose(stored, live.values.detach().numpy(), atol=store.manifest.error["greatest"] + 1e-6)
    assert 0.5 < store.manifest.error["mass"] <= 1


def test_a_view_that_comes_out_otherwise_is_noticed(
    digits: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a library draws other numbers in a later version."""
    store = written(tmp_path / "store", Spy(), digits, augment=Augment.digits())
    original = module.probe
    monkeypatch.setattr(module, "probe", lambda *given, **ways: original(*given, **ways | {"seed": 6}))
    with pytest.raises(VitesseError, match="differ by"):
        check_views(store, digits)


def test_what_was_written_otherwise_is_refused(digits: Parts, folder: Path, tmp_path: Path) -> None:
    store = written(tmp_path / "store", Spy(), digits, augment=Augment.digits(), mix=Mix(mixup=0.2))
    fits: dict[str, Any] = {"augment": Augment.digits(), "mix": Mix(mixup=0.2, smoothing=0.3), "seed": 5}
    store.check(recipe=recipe_of(digits, **fits))
    for change, word in [
        ({"augment": Augment()}, "augment.zoom"),
        ({"mix": Mix()}, "mix.mixup"),
        ({"mix": Mix(mixup=0.3)}, "mix.mixup"),
        ({"seed": 6}, "seed 5"),
    ]:
        with pytest.raises(UsageError, match=word):
            store.check(recipe=recipe_of(digits, **fits | change))
    with pytest.raises(UsageError, match="data"):
        store.check(recipe=recipe_of(photos(folder), **fits))
    other = Spy()
    with torch.no_grad():
        other.linear.bias[0] += 1e-3
    with pytest.raises(UsageError, match="teacher is"):
        written(tmp_path / "store", other, digits, **fits)


def test_teachers_that_cannot_teach(digits: Parts) -> None:
    def ask(teacher: nn.Module, **given: Any) -> None:
        facts = TeacherFacts(name="x")
        ways: dict[str, Any] = {"epochs": range(1), "augment": Augment(), "mix": Mix(), "seed": 0} | given
        plan(teacher, digits, facts=facts, **ways)

    with pytest.raises(UsageError, match=r"gave shape \(2, 1, 8, 8\)"):
        ask(nn.Identity())
    wrong = Spy()
    wrong.class_names = tuple("9876543210")  # type: ignore[assignment]
    with pytest.raises(UsageError, match=r"same order.*\('9', '0'\)"):
        ask(wrong)
    for epochs in (range(0), range(0, 4, 2), range(-1, 2)):
        with pytest.raises(UsageError, match="range"):
            ask(Spy(), epochs=epochs)
    with pytest.raises(UsageError, match="top 11 of 10"):
        ask(Spy(), top=11)


def test_a_fingerprint_is_of_all_weights() -> None:
    one, two = Spy(), Spy()
    assert fingerprint(one) == fingerprint(two)
    two.register_buffer("more", torch.tensor(1.0, dtype=torch.bfloat16))
    assert fingerprint(one) != fingerprint(two)


COMMON = """
import os, signal, sys
from pathlib import Path
import torch
from torch import nn
from vitesse.data import Augment, DataSettings, Mix, load_parts
from vitesse.distill.store.writing import TeacherFacts, plan, write

class Teacher(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.left = nn.Linear(64, 10), None
    def forward(self, images):
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.linear(images.flatten(1))

torch.set_num_threads(1)
place, parts, teacher = Path(sys.argv[1]), load_parts(DataSettings(workers=0)), Teacher()
"""
KILLED = """
def go(name, left, commit_seconds):
    asked = plan(teacher, parts, facts=TeacherFacts(name="t"), epochs=range(2), augment=Augment.digits(),
                 mix=Mix(mixup=0.2, cutmix=1.0), seed=3)
    teacher.left = left
    write(place / name, teacher, parts, plan=asked, commit_seconds=commit_seconds)

go("whole", None, 10.0)
for name, commit_seconds in (("often", 0.0), ("seldom", 1e6)):
    for left in (1, 4, 5, 13, 18, 22, 8):
        child = os.fork()
        if child == 0:
            go(name, left, commit_seconds)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        # What is committed is not asked for again, so that the last ones find little left to do.
        print(name, os.WTERMSIG(status) if os.WIFSIGNALED(status) else "done")
    go(name, None, commit_seconds)
"""
RANKS = """
from vitesse.train.processes import processes
rank = processes()
asked = plan(teacher, parts, facts=TeacherFacts(name="t"), epochs=range(3), augment=Augment.digits(),
             mix=Mix(mixup=0.2, cutmix=1.0), seed=3, writers=rank.num_processes)
store = write(place / "many", teacher, parts, plan=asked)
assert (store is None) == (rank.process_index > 0)
"""


def test_killed_in_the_middle_it_ends_in_the_same_bytes(tmp_path: Path, files: Files) -> None:
    script = tmp_path / "script.py"
    script.write_text(COMMON + KILLED, encoding="utf-8")
    command = [sys.executable, "-W", "ignore", str(script), str(tmp_path)]
    child = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr[-3000:]
    ends = child.stdout.split("\n")
    assert ends.count("often 9") >= 4 and ends.count("seldom 9") >= 6
    whole = files(tmp_path / "whole")
    assert len(whole) == 5
    assert files(tmp_path / "often") == whole == files(tmp_path / "seldom")


def test_two_processes_write_what_one_writes(tmp_path: Path, digits: Parts) -> None:
    script = tmp_path / "script.py"
    script.write_text(COMMON + RANKS, encoding="utf-8")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launch, str(script), str(tmp_path)]
    child = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr[-3000:]
    many = LogitStore.open(tmp_path / "many")
    assert many.manifest.shards == 2
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    one = written(
        tmp_path / "one",
        teacher,
        digits,
        epochs=range(3),
        augment=Augment.digits(),
        mix=Mix(mixup=0.2, cutmix=1.0),
        seed=3,
    )
    for epoch in range(3):
        for mine, theirs in zip(
            one.read(epoch, np.arange(one.samples)), many.read(epoch, np.arange(one.samples)), strict=True
        ):
            assert np.array_equal(mine, theirs)
