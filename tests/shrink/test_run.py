from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from tests.shrink.conftest import BRIEF, ONE_PATH, Killed, Listener, brief, opened, whole_settings

import vitesse
from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Budget,
    Choice,
    Head,
    PatchEmbed,
    Stage,
    contains,
    cost,
    from_json,
    to_json,
)
from vitesse.data.load import DataSettings, Parts, load_parts
from vitesse.data.preprocess import Preprocess
from vitesse.deploy.onnx_runtime import OnnxRuntime
from vitesse.errors import UsageError, VitesseError
from vitesse.measure import Latency
from vitesse.nets import build
from vitesse.runs.files import read_json
from vitesse.saved import load_network, save_network
from vitesse.shrink import costing
from vitesse.shrink import job as job_module
from vitesse.shrink import teacher as teacher_module
from vitesse.shrink.run import search_supernet, shrink, train, train_supernet
from vitesse.shrink.settings import SearchSettings, SupernetSettings, TeacherSettings
from vitesse.shrink.supernet import trained_space
from vitesse.zoo import autoformer_tiny, from_timm, tiny_vit

WEIGHTS = "model.safetensors"
SPACE = Backbone(
    stem=PatchEmbed(image=16, patch=8),
    stages=(Stage(dim=Choice(16, 24), depth=Choice(1, 2), block=Block(Attention(heads=1, head_dim=8), MLP())),),
    head=Head(pool="mean"),
)


def assert_same_bits(a: Path, b: Path) -> None:
    """Whether two files hold the same tensors (the order of a file's own notes is not fixed)."""
    first, second = load_file(a), load_file(b)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


class PretendProbe:
    """Latencies that follow from the parameters, so that no network needs to be exported."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.asked = 0

    def __call__(self, archs: Sequence[Backbone], **kwargs: Any) -> list[Latency]:
        self.asked += len(archs)
        return [Latency(samples_ms=(cost(arch).params / 10_000,) * 3) for arch in archs]


def test_a_run_leaves_a_network_within_its_budget(whole: tuple[Path, dict[str, Any]]) -> None:
    path, result = whole
    network = load_network(path)
    counted = sum(parameter.numel() for parameter in network.parameters())
    assert counted == result["params"] == cost(network.arch).params <= 60_000
    assert result["teacher_params"] >= 5 * 60_000
    assert result["teacher_latency_ms"] > 0
    assert network.class_names == tuple(str(digit) for digit in range(10))
    assert json.loads((path / "result.json").read_text()) == json.loads(json.dumps(result))
    assert contains(trained_space(path), from_json((path / "arch.json").read_text()))
    for name in ("run.toml", "study.db", "candidates.jsonl", "metrics.jsonl", "gate.json", "speed.json"):
        assert (path / name).stat().st_size > 0


def test_the_exported_file_says_what_the_network_says(whole: tuple[Path, dict[str, Any]]) -> None:
    path, result = whole
    parts = load_parts(DataSettings())
    batch = next(parts.test.batches(len(parts.test)))
    images = (batch.images * 0.5 + 0.5).clamp(0, 1)
    logits = torch.from_numpy(OnnxRuntime(path / "model.onnx").run(images.numpy()))
    with torch.inference_mode():
        wanted = load_network(path)(batch.images)
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)
    right = (wanted.argmax(-1) == batch.labels).float().mean().item()
    assert result["test_accuracy"] == pytest.approx(right)


def test_a_finished_run_is_not_done_again(whole: tuple[Path, dict[str, Any]]) -> None:
    path, result = whole
    listener = Listener()
    with opened(path, whole_settings()) as folder:
        again = shrink(whole_settings(), folder, voice=listener.voice)
    assert again == result
    assert set(listener.stages) <= {"data"}


@pytest.mark.parametrize(
    "moments",
    [
        (("teacher", 1), ("supernet", 0), ("search", 1), ("finish", 1), ("speed", 1)),
        (("teacher", 0), ("supernet", 1), ("search", 2), ("finish", 0), ("exam", 0)),
    ],
)
def test_killed_again_and_again_it_ends_in_the_same_bits(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path, moments: tuple[tuple[str, int], ...]
) -> None:
    for moment in moments:
        with pytest.raises(Killed), opened(tmp_path, brief()) as folder:
            shrink(brief(), folder, voice=Listener(die=moment).voice)
    with opened(tmp_path, brief()) as folder:
        result = shrink(brief(), folder, voice=Listener().voice)
    path, wanted = whole
    for name in ("arch.json", "candidates.jsonl", "metrics.jsonl"):
        assert (tmp_path / name).read_bytes() == (path / name).read_bytes(), name
    for name in (WEIGHTS, f"teacher/{WEIGHTS}", f"supernet/{WEIGHTS}"):
        assert_same_bits(tmp_path / name, path / name)
    assert result["test_accuracy"] == wanted["test_accuracy"]


def test_the_test_part_is_out_of_reach_until_the_exam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[str] = []
    listener = Listener()

    class Watched:
        def __init__(self, part: Any) -> None:
            self.part = part

        def __getattr__(self, name: str) -> Any:
            touched.append(listener.stages[-1])
            return getattr(self.part, name)

        def __len__(self) -> int:
            return len(self.part)

    def watched(*args: Any, **kwargs: Any) -> Parts:
        parts = load_parts(*args, **kwargs)
        return replace(parts, test=Watched(parts.test))  # type: ignore[arg-type]

    monkeypatch.setattr(job_module, "load_parts", watched)
    with opened(tmp_path, brief()) as folder:
        shrink(brief(), folder, voice=listener.voice)
    assert set(touched) == {"exam"}


def test_a_budget_below_the_smallest_is_refused_at_once(tmp_path: Path) -> None:
    asked = brief(budget=Budget(max_params=500))
    listener = Listener()
    with opened(tmp_path, asked) as folder, pytest.raises(UsageError, match=r"params <= 500.*least is params 5,578"):
        shrink(asked, folder, voice=listener.voice)
    assert "teacher" not in listener.stages


def test_a_teacher_of_ones_own_is_not_trained_again(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    path, _ = whole
    asked = brief(teacher=TeacherSettings(model=str(path / f"teacher/{WEIGHTS}"), train=BRIEF))
    with opened(tmp_path, asked) as folder:
        shrink(asked, folder, voice=Listener().voice)
        assert folder.outputs("teacher")["trained"] is False
        assert folder.outputs("supernet")["elastic"] is True
    for name in (WEIGHTS, f"supernet/{WEIGHTS}"):
        assert_same_bits(tmp_path / name, path / name)


def test_a_latency_budget_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costing, "LatencyProbe", PretendProbe)
    asked = brief(
        budget=Budget(max_params=60_000, max_latency_ms=5.0),
        search=SearchSettings(population=4, generations=1, measured=8),
        supernet=ONE_PATH,
    )
    listener = Listener()
    with opened(tmp_path, asked) as folder:
        result = shrink(asked, folder, voice=listener.voice)
    assert 0 < result["latency_ms"] <= 5.0
    assert result["params"] / 10_000 <= costing.MARGIN * 5.0
    assert any("mean error" in remark for remark in listener.said)
    lines = (tmp_path / "candidates.jsonl").read_text().splitlines()
    assert all(json.loads(line)["costs"]["latency_ms"] <= 5.0 for line in lines)


def test_an_impossible_latency_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costing, "LatencyProbe", PretendProbe)
    asked = brief(budget=Budget(max_latency_ms=0.1))
    listener = Listener()
    with opened(tmp_path, asked) as folder, pytest.raises(UsageError, match=r"latency_ms <= 0.1.*latency_ms 1.198"):
        shrink(asked, folder, voice=listener.voice)
    assert "teacher" not in listener.stages


def test_supernet_then_search_gives_a_network(tmp_path: Path) -> None:
    asked = brief(
        supernet=SupernetSettings(space="autoformer_tiny", rule="single", train=BRIEF), data=DataSettings(size=16)
    )
    small = replace(asked, supernet=replace(asked.supernet, space=str(tmp_path / "space.json")))
    (tmp_path / "space.json").write_text(to_json(SPACE))
    with opened(tmp_path / "supernet", small) as folder:
        train_supernet(small, folder, voice=Listener().voice)
    found = trained_space(tmp_path / "supernet")
    assert found.head.classes == 10 and found.stem.channels == 1
    for finishing in (False, True):
        out = tmp_path / f"search-{finishing}"
        with opened(out, small) as folder:
            result = search_supernet(
                small, folder, source=tmp_path / "supernet", finishing=finishing, voice=Listener().voice
            )
        assert result["params"] <= 60_000
        assert contains(found, load_network(out).arch)


def test_a_teacher_that_knows_the_classes_teaches_a_supernet_as_it_is(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    asked = brief(teacher=TeacherSettings(model=str(whole[0] / f"teacher/{WEIGHTS}"), tune=BRIEF))
    with opened(tmp_path, asked) as folder:
        train_supernet(asked, folder, voice=Listener().voice)
        assert folder.outputs("teacher")["trained"] is False
    assert_same_bits(tmp_path / f"supernet/{WEIGHTS}", whole[0] / f"supernet/{WEIGHTS}")


def test_one_network_is_trained_without_search(tmp_path: Path) -> None:
    arch = Backbone(
        stem=PatchEmbed(image=8, patch=4, channels=1),
        stages=(Stage(dim=16, depth=1, block=Block(Attention(heads=1, head_dim=8), MLP())),),
        head=Head(classes=3),
    )
    with opened(tmp_path, brief()) as folder:
        result = train(brief(), folder, arch=arch, voice=Listener().voice)
    assert load_network(tmp_path).arch.head.classes == 10
    assert result.get("teacher_params") is None


def test_ways_to_serve_are_tried_where_that_is_asked_for(tmp_path: Path) -> None:
    arch = Backbone(
        stem=PatchEmbed(image=8, patch=4, channels=1),
        stages=(Stage(dim=16, depth=1, block=Block(Attention(heads=1, head_dim=8), MLP())),),
        head=Head(classes=10),
    )
    export = replace(brief().export, fp16=True, runtime="eager", runtimes=("onnxruntime", "eager"))
    settings, listener = brief(export=export), Listener()
    with opened(tmp_path, settings) as folder:
        train(settings, folder, arch=arch, voice=listener.voice)
    assert listener.stages[-2:] == ["serving", "exam"]  # and so it cannot have seen the test part
    found = read_json(tmp_path / "serving.json")
    tried = [(one["runtime"], one["precision"]) for one in found["tried"]]
    assert tried == [("onnxruntime", "fp32"), ("onnxruntime", "fp16"), ("eager", "fp32")]
    assert found["tolerance"] == settings.export.accuracy_tolerance and len(found["fastest"]) == 1
    assert vitesse.load(tmp_path).runtime().run(np.zeros((2, 1, 8, 8), np.float32)).shape == (2, 10)


def test_a_space_whose_patches_do_not_fit_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path, brief()) as folder, pytest.raises(UsageError, match="multiple of the space's patch"):
        train(brief(), folder, arch=autoformer_tiny(), voice=Listener().voice)


def tiny_timm(name: str, **kwargs: Any) -> torch.nn.Module:
    """timm's smallest models instead of downloads: weights that say nothing, of 3 classes."""
    size = {"img_size": 16} if name == "test_vit" else {}
    made: Any = timm.create_model(name, num_classes=kwargs.get("classes") or 3, in_chans=1, **size)
    made.pretrained_cfg = {**made.pretrained_cfg, "input_size": (1, 16, 16), "mean": (0.5,), "std": (0.5,)}
    return made


def test_a_timm_teacher_is_tuned_and_made_elastic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_module, "from_timm", lambda name: from_timm(tiny_timm(name)))
    teacher = TeacherSettings(model="test_vit", tune=BRIEF)
    asked = brief(budget=Budget(max_params=30_000), teacher=teacher, supernet=ONE_PATH)
    with opened(tmp_path, asked) as folder:
        result = shrink(asked, folder, voice=Listener().voice)
        assert folder.outputs("teacher")["trained"] is True
        assert folder.outputs("supernet")["elastic"] is True
    assert result["params"] <= 30_000 < result["teacher_params"]
    assert result["teacher_name"] == "test_vit"
    assert from_json((tmp_path / "teacher/arch.json").read_text()).head.classes == 10


def test_a_hierarchical_teacher_is_contracted(tmp_path: Path) -> None:
    """Each candidate gathers running statistics of its own, and the result is such a network, too."""
    arch = tiny_vit(dims=(16, 48), depths=(1, 2), heads=(1, 4), windows=(1, 2), classes=10, image=(8, 8), channels=1)
    torch.manual_seed(0)
    teacher = build(arch)
    teacher.preprocess = Preprocess(size=(8, 8), channels=1, mean=(0.5,), std=(0.5,), crop=1.0)
    teacher.class_names = tuple(str(digit) for digit in range(10))
    save_network(teacher, tmp_path / "teacher.safetensors")
    settings = brief(
        budget=Budget(max_params=30_000),
        teacher=TeacherSettings(model=str(tmp_path / "teacher.safetensors")),
        search=SearchSettings(strategy="contraction", population=4, generations=2),
        supernet=ONE_PATH,
    )
    with opened(tmp_path / "small", settings) as folder:
        result = shrink(settings, folder, voice=Listener().voice)
    network = load_network(tmp_path / "small")
    assert result["params"] == cost(network.arch).params <= 30_000
    assert len(network.arch.stages) == 2 and contains(trained_space(tmp_path / "small"), network.arch)
    lines = (tmp_path / "small" / "candidates.jsonl").read_text().splitlines()
    assert {json.loads(line)["origin"] for line in lines} <= {"contraction", "exchange", "random"}


def test_another_kind_of_teacher_needs_a_named_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_module, "foreign_teacher", tiny_timm)

    def refused(name: str) -> None:
        raise VitesseError("It is no plain ViT.")

    monkeypatch.setattr(teacher_module, "from_timm", refused)
    asked = brief(teacher=TeacherSettings(model="test_resnet", tune=BRIEF))
    with opened(tmp_path / "auto", asked) as folder, pytest.raises(UsageError, match="Name a space"):
        shrink(asked, folder, voice=Listener().voice)
    (tmp_path / "space.json").write_text(to_json(SPACE))
    asked = replace(asked, supernet=replace(ONE_PATH, space=str(tmp_path / "space.json")))
    with opened(tmp_path / "named", asked) as folder:
        result = shrink(asked, folder, voice=Listener().voice)
    assert result["params"] <= 60_000
    assert result["teacher_test_accuracy"] is not None


def test_without_a_budget_there_is_nothing_to_do(tmp_path: Path) -> None:
    asked = brief(budget=Budget())
    with opened(tmp_path, asked) as folder, pytest.raises(UsageError, match="--max-params"):
        shrink(asked, folder, voice=Listener().voice)
