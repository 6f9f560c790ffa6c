"""A Mask R-CNN of fixed sizes beside what torchvision's own code makes of the same pictures, in PyTorch and as a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import nms

from vitesse.deploy import OnnxRuntime
from vitesse.deploy.detector_gate import unlike
from vitesse.deploy.detector_onnx import Detections, OnnxDetector, pasted
from vitesse.errors import VitesseError
from vitesse.nets import Network
from vitesse.ops.suppression import likeliest
from vitesse.shrink.detector_file import export_detector_file
from vitesse.tasks.detection import with_backbone
from vitesse.tasks.detection.dense import candidates, torchvision_detections


@pytest.fixture
def detector(four_stages: Network) -> Any:
    """Its scores and boxes are spread out, as those of a trained one."""
    detector: Any = with_backbone(
        four_stages, classes=3, detector="mask_rcnn", width=8, shorter=64, longer=64, rpn_pre_nms_top_n_test=40,
        rpn_post_nms_top_n_test=30, box_detections_per_img=12,
    ).eval()  # fmt: skip
    torch.manual_seed(1)
    for layer, deviation in (
        (detector.rpn.head.cls_logits, 3.0),
        (detector.rpn.head.bbox_pred, 1.0),
        (detector.roi_heads.box_predictor.cls_score, 1.0),
        (detector.roi_heads.box_predictor.bbox_pred, 0.5),
        (detector.roi_heads.mask_predictor.mask_fcn_logits, 1.0),
    ):
        nn.init.normal_(layer.weight, std=deviation)
    detector.class_names = ("circle", "square", "triangle")
    return detector


def test_suppression_is_torchvisions() -> None:
    """In each group by itself, and of those above the least score alone."""
    torch.manual_seed(0)
    corners, scores = torch.rand(3, 50, 2), torch.rand(3, 50)
    boxes = torch.cat([corners, corners + torch.rand(3, 50, 2)], -1)
    kept = likeliest(boxes, scores, 0.3, 0.2)
    for group in range(3):
        rows = torch.arange(50)[scores[group] > 0.2]
        wanted = rows[nms(boxes[group][rows], scores[group][rows], 0.3)]
        assert 1 < len(wanted) < len(rows)
        assert kept[group].nonzero()[:, 0].tolist() == sorted(wanted.tolist())


def test_it_finds_what_torchvision_finds(detector: Any) -> None:
    """On pictures that fill the canvas and that do not."""
    images, sizes = torch.rand(2, 3, 64, 64), [(64, 64), (50, 40)]
    staged = candidates(detector, height=60, width=50)
    assert staged.size == (64, 64)
    with torch.inference_mode():
        boxes, scores, labels, masks, _ = staged(images, torch.tensor(sizes, dtype=torch.float32))
    for place, wanted in enumerate(torchvision_detections(detector, images, sizes)):
        count = len(wanted["scores"])
        assert count > 5 and int((scores[place] > 0).sum()) == count
        torch.testing.assert_close(boxes[place, :count], wanted["boxes"], rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(scores[place, :count], wanted["scores"], rtol=1e-5, atol=1e-6)
        assert torch.equal(labels[place, :count] + 1, wanted["labels"])
        torch.testing.assert_close(masks[place, :count], wanted["masks"][:, 0], rtol=1e-5, atol=1e-5)


def test_small_pictures_do_not_move_the_levels(detector: Any) -> None:
    """torchvision guesses the strides from the first picture, here wrongly: 20 pixels filled up to 32 have 8 places."""
    image = torch.rand(3, 64, 64)
    before = torchvision_detections(detector, image[None], [(64, 64)])[0]
    torchvision_detections(detector, image[None, :, :32], [(20, 64)])
    after = torchvision_detections(detector, image[None], [(64, 64)])[0]
    assert torch.equal(before["scores"], after["scores"])
    assert detector.roi_heads.box_roi_pool.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32]


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in ((64, 64), (100, 70))]


def test_one_file_has_boxes_and_masks(detector: Any, tmp_path: Path) -> None:
    path = tmp_path / "detector.onnx"
    checks = export_detector_file(detector, path, size=None, pictures=pictures(), tolerance=1e-3)
    assert [one.batch for one in checks] == [1, 3] and all(one.detections > 10 for one in checks)
    image = pictures()[1]
    found = OnnxDetector(path).detect(image)
    assert found.masks is not None and found.masks.shape == (len(found.scores), 28, 28)
    assert found.boxes[:, 2].max() <= 70 and found.boxes[:, 3].max() > 64  # in the picture's own pixels
    runtime = OnnxRuntime(path)
    assert runtime.detects and runtime.shape == (None, 3, 64, 64)
    runtime.bind(np.zeros((2, 3, 64, 64), np.float32))()
    with pytest.raises(VitesseError, match="gives no logits"):
        runtime.run(np.zeros((2, 3, 64, 64), np.float32))


def test_another_mask_is_another_detection() -> None:
    masks = np.random.default_rng(0).random((1, 28, 28), np.float32)
    boxes, one = np.array([[1, 2, 9, 8]], np.float32), np.ones(1, np.float32)
    found = Detections(boxes=boxes, scores=one, labels=np.zeros(1, np.int64), masks=masks)
    assert unlike(found, found, span=64, tolerance=1e-3) == 0
    assert unlike(found, replace(found, masks=masks[..., ::-1]), span=64, tolerance=1e-3) == 1


def test_masks_are_pasted_as_torchvision_pastes() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 30, (6, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 20, (6, 2))], 1).astype(np.float32).clip(0, 40)
    masks = rng.random((6, 28, 28), np.float32)
    found = Detections(boxes=boxes, scores=np.ones(6, np.float32), labels=np.zeros(6, np.int64), masks=masks)
    wanted = paste_masks_in_image(torch.from_numpy(masks)[:, None], torch.from_numpy(boxes), (40, 35))[:, 0] > 0.5
    np.testing.assert_array_equal(pasted(found, (40, 35)), wanted.numpy())
