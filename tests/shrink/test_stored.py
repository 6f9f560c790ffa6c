"""A store in place of a teacher: the same views, the same words, the same end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.shrink.conftest import BRIEF, Listener, brief, opened
from torch import nn

from vitesse.arch import MLP, Attention, Backbone, Block, Budget, Head, PatchEmbed, Stage
from vitesse.data import DataSettings, Mix, load_parts
from vitesse.data.augment import Augment
from vitesse.data.load import Parts
from vitesse.distill.store import LogitStore
from vitesse.distill.store.writing import TeacherFacts, plan, write
from vitesse.errors import UsageError
from vitesse.nets import Network, build
from vitesse.saved import save_network
from vitesse.shrink.distilling import distill
from vitesse.shrink.job import Job
from vitesse.shrink.run import shrink
from vitesse.shrink.settings import ShrinkSettings, TeacherSettings
from vitesse.shrink.stored import Stored
from vitesse.shrink.teacher import teaching_of
from vitesse.tasks.settings import DistillSettings

MIX, AUGMENT = Mix(mixup=0.8, smoothing=0.1), Augment.digits()
ARCH = Backbone(
    stem=PatchEmbed(image=8, patch=4, channels=1),
    stages=(Stage(dim=8, depth=1, block=Block(Attention(heads=1, head_dim=8), MLP(ratio=1.0))),),
    head=Head(classes=10, pool="mean"),
)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return load_parts(DataSettings(workers=0))


@pytest.fixture(scope="module")
def teacher(parts: Parts) -> Network:
    torch.manual_seed(0)
    network = build(replace(ARCH, stages=(replace(ARCH.stages[0], dim=12),)))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    network.preprocess, network.class_names = parts.preprocess, parts.classes
    return network.eval()


@pytest.fixture(scope="module", params=[10, 3], ids=["whole", "top3"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, teacher: Network, parts: Parts
) -> Path:
    folder = tmp_path_factory.mktemp("store") / "store"
    facts = TeacherFacts(name="the big one", licence="mit")
    planned = plan(teacher, parts, facts=facts, epochs=range(2), augment=AUGMENT, mix=MIX, seed=5, top=request.param)
    write(folder, teacher, parts, plan=planned)
    return folder


def asked(store: Path, **teacher: str) -> ShrinkSettings:
    return brief(
        budget=Budget(), teacher=TeacherSettings(store=str(store), **teacher), mix=MIX, finish=replace(BRIEF, epochs=3)
    )


def test_stored_words_are_the_live_teachers(store: Path, teacher: Network, parts: Parts) -> None:
    """In every epoch, also in those for which the stored ones serve in turn."""
    stored = Stored(store, smoothing=0.1)
    stored.require(parts)
    steps = parts.learn.steps(128)
    answers = stored.answers(steps)
    for epoch in (0, 1, 2):
        batch = next(stored.batches(parts, batch=128, epoch=epoch, start=2, rank=0, world=1))
        with torch.no_grad():
            live = teacher(batch.images).softmax(-1)
        found = answers(batch, epoch * steps + 2).softmax(-1)
        top = stored.store.top
        torch.testing.assert_close(found.topk(top).values, live.topk(top).values, atol=1e-3, rtol=1e-3)
        rest = live.topk(10 - top, largest=False).values.sum(-1)
        torch.testing.assert_close(found.topk(10 - top, largest=False).values.sum(-1), rest, atol=2e-3, rtol=1e-2)
    first, third = (next(stored.batches(parts, batch=8, epoch=e, start=0, rank=0, world=1)) for e in (0, 2))
    assert torch.equal(first.images, third.images) and torch.equal(first.indices, third.indices)


def test_a_whole_store_teaches_as_the_teacher_does(store: Path, teacher: Network, parts: Parts, tmp_path: Path) -> None:
    settings = asked(store)
    with opened(tmp_path, settings) as folder:
        job = Job(settings, folder, voice=Listener().voice)
        teaching = teaching_of(job, None, train=settings.finish)
        whole = LogitStore.open(store).top == 10
        assert teaching.temperature == (2.0 if whole else 1.0)
        batch = next(job.store.batches(job.parts, batch=128, epoch=1, start=0, rank=0, world=1))  # type: ignore[union-attr]
        student = build(ARCH)
        step = parts.learn.steps(128)
        found = teaching.loss(teaching.look(student, batch.images), batch, teaching.told(batch, step))
        live = type(teaching)(teacher, DistillSettings())
        wanted = live.loss(live.look(student, batch.images), batch, live.told(batch, step))
        if whole:
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_distil_from_a_store_alone(store: Path, tmp_path: Path) -> None:
    listener = Listener()
    with opened(tmp_path, asked(store)) as folder:
        result = distill(asked(store), folder, student=ARCH, voice=listener.voice)
    assert (result["teacher_name"], result["teacher_licence"]) == ("the big one", "mit")
    assert any("holds 2 epochs and the training has 3" in remark for remark in listener.said)
    assert result.get("teacher_test_accuracy") is None and "teacher" not in listener.stages


def test_a_store_of_another_teacher_or_other_data_is_refused(store: Path, teacher: Network, tmp_path: Path) -> None:
    other = build(teacher.arch)
    other.preprocess, other.class_names = teacher.preprocess, teacher.class_names
    save_network(other, tmp_path / "other.safetensors")
    settings = asked(store, model=str(tmp_path / "other.safetensors"))
    with opened(tmp_path / "a", settings) as folder, pytest.raises(UsageError, match="Name that teacher"):
        distill(settings, folder, student=ARCH, voice=Listener().voice)
    settings = replace(asked(store), data=DataSettings(seed=1))
    with opened(tmp_path / "b", settings) as folder, pytest.raises(UsageError, match="written with data"):
        distill(settings, folder, student=ARCH, voice=Listener().voice)


@pytest.mark.parametrize("store", [10], indirect=True)
def test_shrink_reads_one_store_for_supernet_and_finish(store: Path, teacher: Network, tmp_path: Path) -> None:
    save_network(teacher, tmp_path / "teacher.safetensors")
    settings = brief(
        budget=Budget(max_params=3000),
        teacher=TeacherSettings(store=str(store), model=str(tmp_path / "teacher.safetensors")),
        mix=MIX,
    )
    asked_of: list[int] = []
    listener = Listener()
    with pytest.MonkeyPatch.context() as patch, opened(tmp_path / "run", settings) as folder:
        read = LogitStore.read
        patch.setattr(
            LogitStore, "read", lambda self, epoch, rows: (asked_of.append(epoch), read(self, epoch, rows))[1]
        )
        result = shrink(settings, folder, voice=listener.voice)
        assert folder.outputs("teacher")["trained"] is False
    assert result["params"] <= 3000 and result["teacher_test_accuracy"] is not None
    assert set(asked_of) == {0} and len(asked_of) == 2 * 9  # an epoch each, of 9 steps
