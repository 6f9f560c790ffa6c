"""`vitesse train --task detection`: from made shapes to a run folder, killed and gone on, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from vitesse.arch import to_json
from vitesse.cli.main import run
from vitesse.data.boxed import BoxAugment
from vitesse.data.coco import CocoSettings
from vitesse.data.shapes import make_shapes
from vitesse.deploy.detector_gate import DetectorCheck
from vitesse.errors import UsageError
from vitesse.runs.folder import RunFolder
from vitesse.shrink.detecting import train_detector
from vitesse.shrink.job import Voice
from vitesse.tasks.detection import DetectionSettings, DetectorSettings, load
from vitesse.tasks.detection.settings import published_training
from vitesse.train.settings import TrainSettings
from vitesse.zoo.tinyvit import tiny_vit

pytest.importorskip("pycocotools")

ARCH = tiny_vit(
    dims=(16, 32, 48, 64), depths=(1, 1, 1, 1), heads=(1, 1, 2, 2), windows=(4, 4, 4, 2), classes=3, image=(64, 64)
)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same sixteen pictures to learn from and to be examined on."""
    root = tmp_path_factory.mktemp("shapes")
    for part in ("train", "val"):
        make_shapes(root / part, count=16, side=64)
    return root


def asked(shapes: Path, **train: Any) -> DetectionSettings:
    return DetectionSettings(
        data=CocoSettings(source=str(shapes), workers=0),
        augment=BoxAugment(flip=0.0),
        detector=DetectorSettings(width=32, shorter=64, longer=64),
        train=TrainSettings(**{"batch": 8, "lr": 3e-3, "evaluate_every": 100, "seed": 0} | train),
    )


class Spoken:
    """A voice that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.voice = Voice(stage=self.stage, say=self.said.append)

    def stage(self, name: str) -> Any:
        from contextlib import nullcontext

        return nullcontext(lambda done, total, note: None)


@pytest.fixture(scope="module")
def trained(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One training by the command line: 80 steps of all sixteen pictures."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "arch.json").write_text(to_json(ARCH))
    (folder / "settings.toml").write_text(
        "[train]\nbatch = 16\nlr = 3e-3\nstart_lr = 1e-5\nclip = 0.0\nevaluate_every = 40\nwarmup_steps = 5\ndrops = [0.85]\n"
        "weight_decay = 0.01\n"
        "[detector]\nwidth = 32\nshorter = 64\nlonger = 64\n[augment]\nflip = 0.0\n[data]\nworkers = 0\n"
    )
    command = [
        "train",
        "--task",
        "detection",
        "--model",
        str(folder / "arch.json"),
        "--data",
        str(shapes),
        "--epochs",
        "80",
    ]
    assert run([*command, "--settings", str(folder / "settings.toml"), "--out", str(folder / "out")]) == 0
    return folder / "out"


def test_it_learns_what_it_is_shown(trained: Path) -> None:
    result = json.loads((trained / "result.json").read_text())
    assert result["detection"]["AP50"] >= 0.8, result
    assert result["detection"]["pictures"] == 16
    readings = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [one["epoch"] for one in readings if "mAP" in one] == [40, 80]
    assert readings[-1]["mAP"] == pytest.approx(result["detection"]["mAP"])


def test_the_detector_comes_back_and_the_file_finds_the_same(trained: Path, shapes: Path) -> None:
    from vitesse.data import open_image
    from vitesse.deploy.detector_onnx import OnnxDetector

    image = open_image(shapes / "val" / "images" / "00002.png")
    file = OnnxDetector(trained / "detector.onnx")
    found = file.detect(image)
    assert file.classes == ("circle", "square", "triangle") and file.preprocess.size == (64, 64)
    detector: Any = load(trained)
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(64, 64, 3).permute(2, 0, 1)
    with torch.inference_mode():
        (wanted,) = detector([pixels.float() / 255])
    assert len(found.scores) == len(wanted["scores"]) >= 1
    torch.testing.assert_close(torch.from_numpy(found.boxes), wanted["boxes"], rtol=1e-4, atol=1e-2)
    assert found.labels.tolist() == wanted["labels"].tolist()


def test_the_report_shows_it(trained: Path) -> None:
    page = (trained / "report.html").read_text()
    assert 'id="detection"' in page and "AP50" in page and "last mAP" in page


def test_predict_shows_objects(trained: Path, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = shapes / "val" / "images" / "00002.png"
    assert run(["predict", str(trained), str(image), "--json", "--top", "2"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert len(told["objects"]) <= 2 and {"name", "score", "box"} == set(told["objects"][0])


def test_it_is_exported_again_and_timed(
    trained: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "wide.onnx"
    assert run(["export", str(trained), "--data", str(shapes), "--out", str(out), "--size", "40", "64"]) == 0
    shown = capsys.readouterr().out
    assert "It finds what the network finds:" in shown and "0 without a like" in shown
    assert run(["bench", str(trained), str(out), "--rounds", "2", "--batch", "2", "--json"]) == 0
    timed = json.loads(capsys.readouterr().out)["models"]
    assert [one["shape"] for one in timed] == [[2, 3, 64, 64]] * 2  # 40 pixels are filled up to 64
    assert [one["source"] for one in timed] == ["run folder", "onnx file"]


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        (["export", "--data", "{shapes}", "--int8"], "in float32 and for one size"),
        (["export", "--data", "{shapes}", "--to", "openvino"], "A detector is exported to onnx"),
        (["export", "--data", "{shapes}", "--size", "0", "5"], "--size must be a height and a width"),
        (["bench", "--runtime", "onnxruntime"], "Leave --runtime out"),
        (["serve"], "The service names classes"),
    ],
)
def test_what_a_detector_cannot_is_said(
    verb: list[str], words: str, trained: Path, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [one.format(shapes=shapes) for one in verb[1:]]
    assert run([verb[0], str(trained), *options]) == 2
    assert words in capsys.readouterr().err


def test_killed_and_gone_on_it_ends_in_the_same_bits(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = asked(shapes, epochs=2, batch=4, checkpoint_seconds=0.0, drop_path=0.2, ema=0.9)
    settings = replace(settings, detector=replace(settings.detector, width=8))
    monkeypatch.setattr("vitesse.shrink.detecting.DetectorWork.export", lambda self, progress: {})
    from vitesse.shrink import detecting

    steps = 0
    real = detecting.losses

    def dying(network: Any, batch: Any, step: int) -> Any:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise KeyboardInterrupt
        return real(network, batch, step)

    spoken = Spoken()
    train_detector(settings, RunFolder(tmp_path / "whole"), arch=ARCH, voice=spoken.voice)
    monkeypatch.setattr(detecting, "losses", dying)
    with pytest.raises(KeyboardInterrupt):
        train_detector(settings, RunFolder(tmp_path / "killed"), arch=ARCH, voice=spoken.voice)
    assert not (tmp_path / "killed" / "detector.safetensors").exists()
    train_detector(settings, RunFolder(tmp_path / "killed"), arch=ARCH, voice=spoken.voice)
    one, other = (load_file(tmp_path / name / "detector.safetensors") for name in ("whole", "killed"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_mask_rcnn_learns_and_is_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step, one picture to be examined on. What is asked of its file; tests/tasks/detection/test_staged.py writes one."""
    asked_for: dict[str, Any] = {}

    def written(detector: Any, path: Path, **more: Any) -> list[DetectorCheck]:
        asked_for.update(more)
        path.touch()
        return [DetectorCheck(batch=1, scores=0.0, detections=2, unmatched=0)]

    monkeypatch.setattr("vitesse.shrink.detecting.export_detector_file", written)
    settings = asked(make_shapes(tmp_path / "few", count=4, side=64), epochs=1, batch=3, frozen_statistics=True)
    settings = replace(settings, detector=replace(settings.detector, kind="mask_rcnn", width=8, most=2))
    spoken = Spoken()
    folder = tmp_path / "run"
    folder.mkdir()
    found = train_detector(settings, RunFolder(folder), arch=ARCH, voice=spoken.voice)
    assert {"mAP", "mask_mAP"} <= found["detection"].keys()
    assert asked_for["size"] is None and len(asked_for["pictures"]) == 1
    assert any("starts from nothing" in said for said in spoken.said)
    assert (folder / "detector.safetensors").exists()


def test_what_is_missing_is_said_at_once(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> Any:
        raise UsageError(f"no {name}")

    monkeypatch.setattr("vitesse.shrink.detecting.coco_tool", gone)
    with pytest.raises(UsageError, match="no cocoeval"):
        train_detector(asked(shapes), RunFolder(tmp_path), arch=ARCH, voice=Spoken().voice)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--detector", "retinanet"], "--detector is for --task detection"),
        (["--task", "detection", "--teacher", "x"], "A detector has no --teacher"),
        (["--task", "detection", "--recipe", "distill_digits"], "Leave --teacher and --recipe out"),
        (["--task", "detection", "--data", "nowhere"], "nowhere is none"),
        (["--task", "detection", "--set", "detector.shoter=3"], "Did you mean detector.shorter"),
    ],
)
def test_wrong_requests(options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--arch", "tiny_vit_5m_224", "--out", str(tmp_path / "out"), *options]) == 2
    assert words in capsys.readouterr().err


def test_the_published_schedule() -> None:
    """On COCO: 117,266 pictures with objects, 16 a step, 12 passes."""
    settings = published_training()
    steps = 12 * (117_266 // 16)
    assert settings.warmup_of(steps) == 500
    assert settings.start_lr == pytest.approx(1e-3 * settings.lr)
