"""The reader of an exported detector against torchvision, and the gate, which must be able to refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms

from vitesse.data import Preprocess
from vitesse.deploy import OnnxRuntime
from vitesse.deploy.detector_gate import Detect, export_checked
from vitesse.deploy.detector_onnx import Detections, Limits, OnnxDetector, choose, laid_out
from vitesse.errors import VitesseError

PREPROCESS = Preprocess(size=(32, 64), mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2), interpolation="bilinear", crop=1.0)
LIMITS = Limits(shorter=32, longer=64, score=0.3, overlap=0.5, most=10)


class Corners(nn.Module):
    """Two candidates an image, whose places and scores follow its brightness; `off` makes it another detector."""

    def __init__(self, off: float = 0.0) -> None:
        super().__init__()
        self.off = off

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        light = images.mean((1, 2, 3))[:, None]  # (B, 1)
        base = torch.tensor([[0.0, 0.0, 20.0, 20.0], [30.0, 0.0, 70.0, 20.0]])
        scores = torch.cat([0.4 + light / 2, 0.9 - light / 2], 1) + self.off
        return base + light[..., None] + self.off, scores, torch.tensor([[0, 1]]).expand(images.shape[0], 2)


def own(module: nn.Module) -> Detect:
    def detect(canvas: np.ndarray, sizes: list[tuple[int, int]]) -> list[Detections]:  # type: ignore[type-arg]
        boxes, scores, labels = (one.numpy() for one in module(torch.from_numpy(canvas)))
        return [choose(boxes[i], scores[i], labels[i], size=size, limits=LIMITS) for i, size in enumerate(sizes)]

    return detect  # type: ignore[return-value]


def picture(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def test_choosing_is_torchvisions() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(-10, 60, (200, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 30, (200, 2))], 1).astype(np.float32)
    scores, labels = rng.uniform(0, 1, 200).astype(np.float32), rng.integers(0, 3, 200)
    found = choose(
        boxes, scores, labels, size=(50, 60), limits=Limits(shorter=50, longer=60, score=0.2, overlap=0.4, most=25)
    )
    likely = torch.from_numpy(scores) > 0.2
    cut = torch.from_numpy(boxes)[likely].clamp(min=0).minimum(torch.tensor([60.0, 50.0, 60.0, 50.0]))
    kept = batched_nms(cut, torch.from_numpy(scores)[likely], torch.from_numpy(labels)[likely], 0.4)[:25]
    assert len(found.scores) == 25
    np.testing.assert_allclose(found.boxes, cut[kept].numpy())
    np.testing.assert_array_equal(found.labels, labels[likely.numpy()][kept.numpy()])


def test_a_picture_is_not_larger_than_the_detector_asks_for() -> None:
    small = replace(LIMITS, shorter=16, longer=20)
    assert laid_out(picture(0, (40, 30)), PREPROCESS, small)[1] == (15, 20)
    assert laid_out(picture(0, (40, 40)), PREPROCESS, small)[1] == (16, 16)


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (200, 50)])
def test_a_picture_lies_in_the_corner_of_the_canvas(size: tuple[int, int]) -> None:
    """Resized as torch does without smoothing; beside it there is the mean colour, which becomes zero."""
    image = picture(0, size)
    canvas, (high, wide) = laid_out(image, PREPROCESS, LIMITS)
    assert canvas.shape == (3, 32, 64) and (high == 32 or wide == 64)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    wanted = functional.interpolate(pixels, (high, wide), mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(canvas[:, :high, :wide], wanted.numpy(), atol=1e-5)
    beside = canvas[:, high:] if high < 32 else canvas[:, :, wide:]
    assert (beside == np.array(PREPROCESS.mean, np.float32)[:, None, None]).all()


def export(path: Path, written: nn.Module, network: nn.Module) -> Path:
    export_checked(
        written.eval(), path, preprocess=PREPROCESS, classes=("cat", "dog"), limits=LIMITS, network=own(network),
        pictures=[picture(seed) for seed in range(2)], tolerance=1e-3,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("detector") / "detector.onnx", Corners(), Corners())


def test_boxes_come_back_in_the_pictures_pixels(file: Path) -> None:
    detector = OnnxDetector(file)
    assert detector.classes == ("cat", "dog") and detector.limits == LIMITS
    image = picture(3, (80, 64))  # half as large on the canvas
    found = detector.detect(image)
    canvas, size = laid_out(image, PREPROCESS, LIMITS)
    assert size == (32, 40)
    light = float(canvas.mean())
    boxes = found.boxes[np.argsort(found.labels)]
    np.testing.assert_allclose(boxes[0], 2 * np.array([light, light, 20 + light, 20 + light]), rtol=1e-4)
    np.testing.assert_allclose(boxes[1, 2], 80.0)  # cut to the picture
    assert found.scores[0] >= found.scores[1]


def test_the_file_says_what_it_is(file: Path, tmp_path: Path) -> None:
    assert OnnxRuntime(file).detects
    with pytest.raises(VitesseError, match="does not exist"):
        OnnxDetector(tmp_path / "none.onnx")


def test_the_gate_refuses_another_detector(tmp_path: Path) -> None:
    path = tmp_path / "detector.onnx"
    with pytest.raises(VitesseError, match=r"must find what the network finds.*\n  batch 1: scores differ"):
        export(path, Corners(), Corners(off=0.01))
    assert list(tmp_path.iterdir()) == []
