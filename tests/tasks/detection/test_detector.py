"""Both detectors: anchors as published, losses in training, boxes in evaluation, options that reach torchvision."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from vitesse.nets import Network
from vitesse.tasks.detection import DetectorSettings, with_backbone
from vitesse.tasks.detection.anchors import Anchors
from vitesse.tasks.detection.detector import RETINANET_STRIDES, detector_of

Kind = Literal["retinanet", "mask_rcnn"]


def small(network: Network, kind: Kind, **options: Any) -> Any:
    return with_backbone(network, classes=3, detector=kind, width=16, shorter=64, longer=96, **options)


def targets(detector: Any, sizes: list[tuple[int, int]]) -> list[dict[str, Tensor]]:
    box = torch.tensor([[8.0, 8.0, 40.0, 44.0]])
    masks = [torch.zeros(1, *size, dtype=torch.uint8) for size in sizes]
    for mask in masks:
        mask[:, 8:44, 8:40] = 1
    return [{"boxes": box, "labels": torch.tensor([detector.first_label + 2]), "masks": mask} for mask in masks]


@pytest.mark.parametrize("stages", ["four_stages", "three_stages"])
@pytest.mark.parametrize("kind", ["retinanet", "mask_rcnn"])
def test_learns_and_finds(stages: str, kind: Kind, request: pytest.FixtureRequest) -> None:
    detector = small(request.getfixturevalue(stages), kind).train()
    sizes = [(64, 64), (48, 80)]
    images = [torch.rand(3, *size) for size in sizes]
    losses = detector(images, targets(detector, sizes))
    assert len(losses) == (2 if kind == "retinanet" else 5)
    torch.stack(list(losses.values())).sum().backward()
    silent = [name for name, one in detector.backbone.named_parameters() if one.grad is None]
    assert silent == []
    (found, _) = detector.eval()(images)
    assert found["boxes"].shape == (len(found["scores"]), 4)
    assert ("masks" in found) == (kind == "mask_rcnn")
    assert (found["labels"] >= detector.first_label).all() and (found["labels"] < detector.first_label + 3).all()


def test_anchors_as_published() -> None:
    """Octave base 4, three scales, three proportions; at a level's first places, by hand."""
    anchors = Anchors((8, 16), base=4, scales=(1.0, 2 ** (1 / 3), 2 ** (2 / 3)))
    one, two = anchors.on([torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 2, 2)])
    assert one.shape == (3 * 4 * 9, 4) and two.shape == (2 * 2 * 9, 4)
    first = one[:9]
    areas = ((first[:, 2:] - first[:, :2]).prod(1)).sqrt()
    torch.testing.assert_close(areas, 32.0 * torch.tensor([1.0, 2 ** (1 / 3), 2 ** (2 / 3)]).repeat(3))
    sides = first[:, 2:] - first[:, :2]
    torch.testing.assert_close(sides[:, 1] / sides[:, 0], torch.tensor([0.5, 1.0, 2.0]).repeat_interleave(3))
    torch.testing.assert_close(first[3], torch.tensor([-16.0, -16.0, 16.0, 16.0]))
    torch.testing.assert_close(one[9 + 3] - first[3], torch.tensor([8.0, 0.0, 8.0, 0.0]))  # the next column
    torch.testing.assert_close(two[2 * 9 + 3] - two[3], torch.tensor([0.0, 16.0, 0.0, 16.0]))  # the next row


def test_strides_do_not_depend_on_the_padding() -> None:
    """A map of 13 rows at stride 64 comes of 800 pixels: their quotient is 61."""
    anchors = Anchors((64,), base=4, scales=(1.0,))
    images = ImageList(torch.zeros(2, 3, 800, 800), [(800, 800)] * 2)
    found = anchors(images, [torch.zeros(2, 1, 13, 13)])
    assert len(found) == 2
    torch.testing.assert_close(found[0][-2] - found[0][1], torch.tensor([768.0] * 4))


def test_the_published_configuration(three_stages: Network) -> None:
    retinanet = with_backbone(three_stages, classes=80)
    assert retinanet.anchor_generator.num_anchors_per_location() == [9] * 5
    assert retinanet.anchor_generator.strides == RETINANET_STRIDES
    assert retinanet.head.classification_head.cls_logits.out_channels == 9 * 80
    assert retinanet.head.classification_head.cls_logits.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert len(retinanet.head.regression_head.conv) == 4
    assert (retinanet.transform.min_size, retinanet.transform.max_size) == ((800,), 1333)
    assert (retinanet.proposal_matcher.high_threshold, retinanet.proposal_matcher.low_threshold) == (0.5, 0.4)
    mask_rcnn = with_backbone(three_stages, classes=80, detector="mask_rcnn")
    assert mask_rcnn.rpn.anchor_generator.num_anchors_per_location() == [3] * 5
    assert mask_rcnn.rpn.anchor_generator.sizes == ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))
    assert mask_rcnn.roi_heads.box_predictor.cls_score.out_features == 81
    assert mask_rcnn.roi_heads.box_roi_pool.output_size == (7, 7)
    assert mask_rcnn.roi_heads.mask_roi_pool.output_size == (14, 14)
    assert mask_rcnn.roi_heads.box_coder.weights == (10.0, 10.0, 5.0, 5.0)


def test_a_narrow_head_starts_with_the_gain_of_a_wide_one(three_stages: Network) -> None:
    head = small(three_stages, "retinanet").head.classification_head
    assert head.cls_logits.weight.std().item() == pytest.approx(0.04, rel=0.05)


def test_colours_and_decay_are_the_networks(four_stages: Network) -> None:
    detector = small(four_stages, "retinanet")
    assert tuple(detector.transform.image_mean) == (0.4, 0.5, 0.6)
    undecayed, names = detector.no_weight_decay(), {name for name, _ in detector.named_parameters()}
    assert any(name.endswith("offset_bias") for name in undecayed)
    assert {name for name in undecayed if "offset_bias" in name} <= names


def test_options_and_settings_reach_torchvision(four_stages: Network) -> None:
    assert small(four_stages, "retinanet", score_thresh=0.3).score_thresh == 0.3
    assert small(four_stages, "mask_rcnn", box_nms_thresh=0.3).roi_heads.nms_thresh == 0.3
    settings = DetectorSettings(kind="mask_rcnn", width=16, score=0.2, overlap=0.4, most=7)
    heads = detector_of(four_stages, settings, classes=3).roi_heads
    assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.2, 0.4, 7)
    detector = detector_of(four_stages, DetectorSettings(width=16, score=0.2, overlap=0.4, most=7), classes=3)
    assert (detector.score_thresh, detector.nms_thresh, detector.detections_per_img) == (0.2, 0.4, 7)


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "yolo"}, {"width": 0}, {"shorter": 0}, {"longer": 10}, {"score": 1.0}, {"overlap": 0.0}, {"most": 0}],
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must be"):
        DetectorSettings(**wrong)
