"""The candidates of a RetinaNet beside what torchvision's own code makes of the same pictures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms

from vitesse.nets import Network
from vitesse.tasks.detection import with_backbone
from vitesse.tasks.detection.dense import candidates, torchvision_detections


@pytest.fixture
def detector(four_stages: Network) -> Any:
    """Its scores and boxes are spread out, as those of a trained one."""
    detector = with_backbone(four_stages, classes=3, width=16, shorter=128, longer=128, topk_candidates=50).eval()
    torch.manual_seed(1)
    nn.init.normal_(detector.head.classification_head.cls_logits.weight, std=3.0)
    nn.init.normal_(detector.head.regression_head.bbox_reg.weight, std=3.0)
    return detector


def test_candidates_are_torchvisions(detector: Any) -> None:
    """Cut, limited and suppressed by hand, they are what torchvision's postprocessing reports, and in the same order."""
    images, sizes = torch.rand(2, 3, 128, 128), [(128, 128), (100, 90)]
    dense = candidates(detector, height=100, width=120)
    assert dense.size == (128, 128)
    with torch.inference_mode():
        boxes, scores, labels = dense(images)
    assert boxes.shape == (2, 3 * 50 + 36 + 9 * 3, 4) or boxes.shape[1] <= 5 * 50
    wanted = torchvision_detections(detector, images, sizes)
    for place, (high, wide) in enumerate(sizes):
        likely = scores[place] > detector.score_thresh
        cut: Tensor = boxes[place][likely].clamp(min=0).minimum(torch.tensor([wide, high] * 2))
        kept = batched_nms(cut, scores[place][likely], labels[place][likely], detector.nms_thresh)[:100]
        assert len(kept) > 20
        torch.testing.assert_close(cut[kept], wanted[place]["boxes"], rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(scores[place][likely][kept], wanted[place]["scores"], rtol=1e-5, atol=1e-6)
        assert torch.equal(labels[place][likely][kept], wanted[place]["labels"])


def test_the_canvas_is_what_the_detector_sees(detector: Any) -> None:
    """A picture that fills the canvas: the detector itself finds the same."""
    image = torch.rand(3, 128, 128)
    (itself,), (held,) = detector([image]), torchvision_detections(detector, image[None], [(128, 128)])
    torch.testing.assert_close(itself["boxes"], held["boxes"], rtol=1e-5, atol=1e-4)
