"""Any teacher into any student: labelled and not, killed and gone on with, with projections that are trained and dropped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.shrink.conftest import BRIEF, Killed, Listener, brief, opened
from torch import Tensor, nn

from vitesse.arch import MLP, Attention, Backbone, Block, Budget, Head, PatchEmbed, Stage, to_json
from vitesse.data import DataSettings, Preprocess
from vitesse.errors import UsageError, VitesseError
from vitesse.nets import build
from vitesse.saved import load_network, save_network
from vitesse.shrink.distilling import distill
from vitesse.shrink.settings import ExportSettings, ShrinkSettings, TeacherSettings
from vitesse.shrink.student import student_named
from vitesse.tasks.settings import DistillSettings

WEIGHTS = "model.safetensors"


def vit(dim: int, *, classes: int = 10, channels: int = 1, image: int = 8, depth: int = 2) -> Backbone:
    return Backbone(
        stem=PatchEmbed(image=image, patch=4, channels=channels),
        stages=(Stage(dim=dim, depth=depth, block=Block(Attention(heads=2, head_dim=dim // 2), MLP(ratio=1.0))),),
        head=Head(classes=classes, pool="mean"),
    )


def asked(**changes: Any) -> ShrinkSettings:
    return brief(budget=Budget(), **changes)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that knows the digits by name, at another size and in other colours than they are."""
    torch.manual_seed(0)
    network = build(vit(16, channels=3, image=16))
    network.preprocess = Preprocess(size=(16, 16))
    network.class_names = tuple("0123456789")
    path = tmp_path_factory.mktemp("teacher") / WEIGHTS
    save_network(network, path)
    return path


def same_bits(a: Path, b: Path) -> bool:
    first, second = load_file(a), load_file(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_an_encoder_teaches_by_features_with_labels(tmp_path: Path) -> None:
    """A module of one's own, without classes; the student starts from weights that name other classes."""
    torch.manual_seed(1)
    encoder = build(vit(12, classes=0))
    start = build(vit(8, classes=3))
    start.preprocess, start.class_names = Preprocess(size=(8, 8), channels=1, mean=(0.5,), std=(0.5,)), ("a", "b", "c")
    kept = {name: value.clone() for name, value in start.state_dict().items()}
    settings = asked(finish=replace(BRIEF, lr=1e-9, min_lr=0.0, start_lr=0.0, ema=0.0, weight_decay=0.0))
    with opened(tmp_path, settings) as folder:
        result = distill(settings, folder, student=start, teacher=encoder, voice=Listener().voice)
    network = load_network(tmp_path)
    assert network.arch.head.classes == 10 and result.get("teacher_test_accuracy") is None
    for name, value in network.state_dict().items():
        if not name.startswith("head.classifier"):
            torch.testing.assert_close(value, kept[name], rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images without classes, some deeper down, and a file that is none."""
    root = tmp_path_factory.mktemp("pile")
    (root / "deeper").mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        place = root / ("deeper" if number % 3 == 0 else ".") / f"{number}.png"
        Image.fromarray(rng.integers(0, 255, (10, 10, 3), np.uint8)).save(place)
    (root / "notes.txt").write_text("none")
    return root


def test_killed_with_projections_it_ends_in_the_same_bits(teacher: Path, pile: Path, tmp_path: Path) -> None:
    data = DataSettings(source=str(pile), labels=False, size=8, channels=1, workers=0)
    terms, train = DistillSettings(hidden_form="l2", hidden=0.5, layers=(1,)), replace(BRIEF, batch=8, epochs=3)
    named = TeacherSettings(model=str(teacher), role="encoder")
    settings = asked(data=replace(data, size=16), teacher=named, distill=terms, finish=train)
    student, ends = vit(8, image=16), []
    for kill in (None, ("finish", 2)):
        out = tmp_path / str(kill is None)
        if kill:
            with pytest.raises(Killed), opened(out, settings) as folder:
                distill(settings, folder, student=student, voice=Listener(die=kill).voice)
            held = torch.load(out / "checkpoints/finish.pt")["network"]
            assert {"projections.features.weight", "projections.hidden_0.bias"} < held.keys()
        with opened(out, settings) as folder:
            ends.append(distill(settings, folder, student=student, voice=Listener().voice))
            assert folder.outputs("teacher")["trained"] is False
    assert same_bits(tmp_path / "True" / WEIGHTS, tmp_path / "False" / WEIGHTS)
    assert ends[0]["agreement"] == ends[1]["agreement"]
    assert load_network(tmp_path / "True").arch == vit(8, classes=0, image=16)  # strictly: no projection is left


@pytest.mark.parametrize(
    "terms", [DistillSettings(), DistillSettings(features=0.0, hidden=1.0, layers=(1,))], ids=["features", "hidden"]
)
def test_images_without_labels_end_in_an_encoder(pile: Path, tmp_path: Path, terms: DistillSettings) -> None:
    torch.manual_seed(2)
    encoder = build(vit(12, classes=7, channels=3))  # that it has classes does not matter
    data = DataSettings(source=str(pile), labels=False, size=8, workers=0)
    settings = asked(data=data, distill=terms, finish=replace(BRIEF, batch=8, epochs=3))
    listener = Listener()
    with opened(tmp_path, settings) as folder:
        result = distill(settings, folder, student=vit(8, channels=3), teacher=encoder, voice=listener.voice)
    network = load_network(tmp_path)
    assert network.arch.head.classes == 0 and network(torch.zeros(2, 3, 8, 8)).shape == (2, 8)
    assert 0 < result["agreement"] <= 1 and result["classes"] == [] and "exam" not in listener.stages
    assert any("1 files are no images" in note for note in result["data_notes"])
    assert "agreement" in (tmp_path / "metrics.jsonl").read_text()


def test_a_teacher_that_knows_other_classes_is_tuned(teacher: Path, tmp_path: Path) -> None:
    network = load_network(teacher)
    network.class_names = tuple("abcdefghij")
    save_network(network, tmp_path / "other.safetensors")
    settings = asked(
        teacher=TeacherSettings(model=str(tmp_path / "other.safetensors"), tune=BRIEF),
        export=ExportSettings(rounds=10, accuracy_tolerance=0.02),
    )
    (tmp_path / "student.json").write_text(to_json(vit(8)))
    with opened(tmp_path / "run", settings) as folder:
        result = distill(settings, folder, student=str(tmp_path / "student.json"), voice=Listener().voice)
        assert folder.outputs("teacher")["trained"] is True
    assert load_network(tmp_path / "run").arch == vit(8)
    assert json.loads((tmp_path / "run/result.json").read_text())["params"] == result["params"]
    assert result["teacher_test_accuracy"] is not None and result["teacher_latency_ms"] is None  # a view of its own
    tuned = load_network(tmp_path / "run/teacher" / WEIGHTS)
    assert tuned.class_names == tuple("0123456789") and tuned.preprocess == Preprocess(size=(16, 16))


class Plain(nn.Module):
    """Logits and nothing else."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :10]


def test_requests_that_cannot_be_met(tmp_path: Path, teacher: Path, pile: Path) -> None:
    cases = (
        (asked(data=DataSettings(source=str(pile), labels=False)), {"student": vit(8)}, UsageError, "Give --teacher"),
        (asked(distill=DistillSettings(hidden=1.0)), {"student": vit(8), "teacher": Plain()}, VitesseError, "has none"),
        (
            asked(distill=DistillSettings(features=1.0)),
            {"student": vit(8), "teacher": Plain()},
            VitesseError,
            "neither",
        ),
        (asked(), {"student": "deit_tny", "teacher": Plain()}, UsageError, "deit_tiny"),
        (asked(data=DataSettings(size=13)), {"student": str(teacher), "teacher": Plain()}, VitesseError, "multiple of"),
    )
    for number, (settings, given, error, words) in enumerate(cases):
        with opened(tmp_path / str(number), settings) as folder, pytest.raises(error, match=words):
            distill(settings, folder, voice=Listener().voice, **given)


def test_students_by_name(teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "arch.json").write_text(to_json(vit(8)))
    assert student_named(str(tmp_path / "arch.json")) == vit(8)
    assert student_named(str(teacher)).arch == student_named(str(teacher.parent)).arch  # type: ignore[union-attr]
    assert student_named("deit_tiny_patch16_224").stages[0].dim == 192  # type: ignore[union-attr]
