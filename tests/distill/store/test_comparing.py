from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vitesse.data import Augment, DataSettings, Mix, Parts, load_parts
from vitesse.distill.store import LogitStore
from vitesse.distill.store.comparing import compare, default_tolerance
from vitesse.distill.store.writing import TeacherFacts, plan, write
from vitesse.errors import UsageError


class Teacher(nn.Module):
    """`turn` changes what it says; `order` which class is which."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.turn, self.order = nn.Linear(64, 10), 0.0, torch.arange(10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = 4 * self.linear(images.flatten(1))[:, self.order]
        return logits + self.turn * torch.arange(10)


@pytest.fixture(scope="module")
def digits() -> Parts:
    return load_parts(DataSettings(workers=0))


@pytest.fixture(params=["float16", "uint8"])
def store(tmp_path: Path, digits: Parts, request: pytest.FixtureRequest) -> LogitStore:
    teacher = Teacher()
    asked = plan(
        teacher,
        digits,
        facts=TeacherFacts(name="t"),
        epochs=range(2, 5),
        augment=Augment.digits(),
        mix=Mix(mixup=0.2),
        seed=1,
        top=4,
        values=request.param,
    )
    written = write(tmp_path / "store", teacher, digits, plan=asked)
    assert written is not None
    return written


def test_the_same_teacher_says_the_same(store: LogitStore, digits: Parts) -> None:
    found = compare(store, Teacher(), digits, samples=500)
    assert found.agrees and found.samples == 500 and found.same_first == 1.0 and found.same_weights
    assert 0 < found.mean <= found.greatest <= store.manifest.error["greatest"] + 1e-5
    assert found.tolerance == default_tolerance(store)
    assert compare(store, Teacher(), digits, samples=10**9).samples == 3 * store.samples


def test_another_teacher_is_noticed(store: LogitStore, digits: Parts) -> None:
    other = Teacher()
    other.register_buffer("more", torch.zeros(1))
    other.turn = 0.02
    found = compare(store, other, digits, samples=200)
    assert not found.agrees and found.greatest > found.tolerance and not found.same_weights
    assert compare(store, other, digits, samples=200, tolerance=1.0).agrees


def test_a_class_that_should_have_been_stored_is_noticed(store: LogitStore, digits: Parts) -> None:
    """Even where the stored classes alone would tell nothing."""

    class Louder(Teacher):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            least = logits.argmin(1, keepdim=True)
            return logits.scatter(1, least, logits.amax(1, keepdim=True) + 5)

    assert not compare(store, Louder(), digits, samples=50).agrees
    moved = Teacher()
    moved.order = torch.arange(9, -1, -1)
    found = compare(store, moved, digits, samples=50)
    assert not found.agrees and found.same_first < 0.5


def test_other_data_are_refused(store: LogitStore) -> None:
    with pytest.raises(UsageError, match="data"):
        compare(store, Teacher(), load_parts(DataSettings(workers=0, seed=1)), samples=5)
