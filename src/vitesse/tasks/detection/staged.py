"""A Mask R-CNN as a file can hold it: both stages and the masks, with a fixed number of proposals and of detections."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign, roi_align

from vitesse.ops.suppression import likeliest
from vitesse.tasks.detection.anchors import Anchors, decoded
from vitesse.tasks.detection.detector import MaskRCNN


class Staged(nn.Module):
    """Images (B, C, H, W) in 0..1, of the size that the anchors were laid on, and `sizes` (B, 2), the height and width of the
    picture that each shows, to what is found on them.

    boxes (B, n, 4), cut to the picture; scores, labels (B, n), likeliest first, labels from 0; masks (B, n, m, m),
    probabilities over each box; and objectness (B, N), of the candidates of the first stage before any of them is suppressed.
    n is the most that is reported; where less is found, scores are 0. Suppressed boxes stay too, with scores of 0, so that
    nothing has a size that depends on the picture.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, detector: MaskRCNN, *, size: tuple[int, int], channels: int) -> None:
        super().__init__()
        detector = copy.deepcopy(detector).cpu().float().eval()
        self.backbone, self.rpn, self.roi, self.size = detector.backbone, detector.rpn, detector.roi_heads, size
        self.register_buffer("mean", torch.tensor(detector.transform.image_mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(detector.transform.image_std).view(-1, 1, 1))
        assert isinstance(detector.rpn.anchor_generator, Anchors)
        with torch.inference_mode():
            maps = list(self.backbone(torch.zeros(1, channels, *size)).values())
        for place, anchors in enumerate(detector.rpn.anchor_generator.on(maps)):
            self.register_buffer(f"anchors_{place}", anchors.clone(), persistent=False)

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(B, C, H, W), (B, 2) to (B, n, 4), (B, n), (B, n), (B, n, m, m), (B, N)."""
        maps = list(self.backbone((images - self.mean) / self.std).values())
        edges = sizes.flip(-1).repeat(1, 2)[:, None]  # (B, 1, 4): width, height, width, height
        proposals, worth, objectness = self._proposals(maps, edges)
        boxes, scores, labels = self._detections(maps, proposals, worth, edges)
        return boxes, scores, labels, self._masks(maps, boxes, labels), objectness

    def _proposals(self, maps: Sequence[Tensor], edges: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (B, P, 4), their scores (B, P), 0 of those that were suppressed, and of all candidates (B, N)."""
        boxes, scores, objectness = [], [], []
        for place, (logits, shifts) in enumerate(zip(*self.rpn.head(list(maps)), strict=True)):
            each = logits.permute(0, 2, 3, 1).flatten(1)  # (B, h * w * A)
            deltas = shifts.unflatten(1, (logits.shape[1], 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)  # (B, h * w * A, 4)
            best, where = each.topk(min(self.rpn.pre_nms_top_n(), each.shape[1]))
            chosen = deltas.gather(1, where[..., None].expand(-1, -1, 4))
            coder = self.rpn.box_coder
            found = _cut(
                decoded(chosen, getattr(self, f"anchors_{place}")[where], longest=coder.bbox_xform_clip), edges
            )
            worth = torch.where(_large(found, self.rpn.min_size), best.sigmoid(), 0.0)
            kept = likeliest(found, worth, self.rpn.nms_thresh, 0.0)
            boxes.append(found)
            scores.append(torch.where(kept, worth, 0.0))
            objectness.append(best.sigmoid())
        together = torch.cat(scores, 1)
        best, where = together.topk(min(self.rpn.post_nms_top_n(), together.shape[1]))
        return torch.cat(boxes, 1).gather(1, where[..., None].expand(-1, -1, 4)), best, torch.cat(objectness, 1)

    def _detections(
        self, maps: Sequence[Tensor], proposals: Tensor, worth: Tensor, edges: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The likeliest boxes (B, n, 4) of all classes, with scores and labels (B, n)."""
        count = proposals.shape[1]
        logits, shifts = self.roi.box_predictor(self.roi.box_head(_pooled(maps, proposals, self.roi.box_roi_pool)))
        shares = logits.softmax(-1).reshape(-1, count, logits.shape[-1])[..., 1:].transpose(1, 2)  # (B, classes, P)
        classes = shares.shape[1]
        coder = self.roi.box_coder
        deltas = shifts.reshape(-1, count, classes + 1, 4)[:, :, 1:].transpose(1, 2) / torch.tensor(coder.weights)
        boxes = _cut(decoded(deltas, proposals[:, None], longest=coder.bbox_xform_clip), edges[:, None])
        shares = torch.where(_large(boxes, 1e-2) & (worth > 0)[:, None], shares, 0.0)
        kept = likeliest(boxes.flatten(0, 1), shares.flatten(0, 1), self.roi.nms_thresh, self.roi.score_thresh)
        likely = torch.where(kept.reshape(-1, classes, count), shares, 0.0).flatten(1)  # (B, classes * P)
        scores, where = likely.topk(min(self.roi.detections_per_img, classes * count))
        chosen = boxes.flatten(1, 2).gather(1, where[..., None].expand(-1, -1, 4))
        return chosen, scores, torch.div(where, count, rounding_mode="floor")

    def _masks(self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """(B, n, 4), (B, n) to the probabilities of each box's own class, (B, n, m, m)."""
        logits = self.roi.mask_predictor(self.roi.mask_head(_pooled(maps, boxes, self.roi.mask_roi_pool)))
        side = logits.shape[-1]
        own = (labels.reshape(-1, 1, 1, 1) + 1).expand(-1, 1, side, side)  # 0 is the background
        masks: Tensor = logits.gather(1, own).sigmoid().reshape(-1, boxes.shape[1], side, side)
        return masks


def _pooled(maps: Sequence[Tensor], boxes: Tensor, pool: MultiScaleRoIAlign) -> Tensor:
    """(B, n, 4) to what lies in each box on the map of its size, (B * n, C, s, s).

    On every other map stands an empty box in its place, which costs next to nothing, and is left out of the sum.
    """
    flat = boxes.flatten(0, 1)
    picture = torch.arange(boxes.shape[0], device=boxes.device)[:, None].expand(-1, boxes.shape[1]).reshape(-1, 1)
    levels = pool.map_levels([flat])[:, None]  # (B * n, 1)
    total = flat.new_zeros(())
    for place, scale in enumerate(pool.scales):
        here = levels == place
        rois = torch.cat([picture.to(flat.dtype), torch.where(here, flat, 0.0)], 1)
        part = roi_align(maps[place], rois, pool.output_size, scale, pool.sampling_ratio)
        total = total + torch.where(here[..., None, None], part, 0.0)
    return total


def _cut(boxes: Tensor, edges: Tensor) -> Tensor:
    return boxes.clamp(min=0).minimum(edges)


def _large(boxes: Tensor, least: float) -> Tensor:
    """Whether both sides have this length, (..., 4) to (...)."""
    return ((boxes[..., 2:] - boxes[..., :2]) >= least).all(-1)
