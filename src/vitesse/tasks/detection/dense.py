"""The part of a RetinaNet that a file can hold: from pictures of one size to the likeliest boxes of every level."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from vitesse.tasks.detection.anchors import Anchors, decoded
from vitesse.tasks.detection.detector import Detector, RetinaNet
from vitesse.tasks.detection.staged import Staged


class Candidates(nn.Module):
    """Images (B, C, H, W) in 0..1, of the size that the anchors were laid on, to boxes (B, N, 4), scores and labels (B, N).

    N counts the `most` likeliest of each level, likeliest first within it. What remains for whoever reads them: to cut boxes
    to the picture, drop low scores, and keep of overlapping boxes of one class the likeliest.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, detector: RetinaNet, *, size: tuple[int, int], channels: int, most: int) -> None:
        super().__init__()
        detector = copy.deepcopy(detector).cpu().float().eval()
        self.backbone, self.head, self.most, self.size = detector.backbone, detector.head, most, size
        transform, coder = detector.transform, detector.box_coder
        self.longest = float(coder.bbox_xform_clip)  # of the logarithm of a side over its anchor's
        self.register_buffer("mean", torch.tensor(transform.image_mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(transform.image_std).view(-1, 1, 1))
        assert isinstance(detector.anchor_generator, Anchors)
        with torch.inference_mode():
            maps = list(self.backbone(torch.zeros(1, channels, *size)).values())
        for place, anchors in enumerate(detector.anchor_generator.on(maps)):
            self.register_buffer(f"anchors_{place}", anchors.clone(), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, H, W) to (B, N, 4), (B, N), (B, N)."""
        maps = list(self.backbone((images - self.mean) / self.std).values())
        boxes, scores, labels = [], [], []
        for place, one in enumerate(maps):
            logits = self.head.classification_head([one])  # (B, A, classes)
            deltas = self.head.regression_head([one])  # (B, A, 4)
            classes = logits.shape[-1]
            count = min(self.most, logits.shape[1] * classes)
            best, where = logits.flatten(1).sigmoid().topk(count)  # (B, n)
            anchor = torch.div(where, classes, rounding_mode="floor")
            chosen = deltas.gather(1, anchor[..., None].expand(-1, -1, 4))
            boxes.append(decoded(chosen, getattr(self, f"anchors_{place}")[anchor], longest=self.longest))
            scores.append(best)
            labels.append(where % classes)
        return torch.cat(boxes, 1), torch.cat(scores, 1), torch.cat(labels, 1)


def candidates(detector: Detector, *, height: int, width: int) -> Candidates | Staged:
    """What of a detector is exported, for pictures of this size, rounded up as the detector fills up pictures: of a RetinaNet
    its candidates, of a Mask R-CNN everything."""
    step, channels = detector.transform.size_divisible, len(detector.transform.image_mean)
    size = -(-height // step) * step, -(-width // step) * step
    if isinstance(detector, RetinaNet):
        return Candidates(detector, size=size, channels=channels, most=detector.topk_candidates).eval()
    return Staged(detector, size=size, channels=channels).eval()


@torch.inference_mode()
def torchvision_detections(detector: Detector, canvas: Tensor, sizes: list[tuple[int, int]]) -> list[dict[str, Tensor]]:
    """What torchvision's own code finds on pictures (B, C, H, W) in 0..1 of which `sizes` (height, width) are shown.

    It is what an exported file is held against; the canvas is not resized. Labels count from `detector.first_label`, and masks
    (n, 1, m, m) lie over their boxes.
    """
    normal = torch.stack([detector.transform.normalize(one) for one in canvas])
    found: list[dict[str, Tensor]]
    if not isinstance(detector, RetinaNet):
        levels, shown = detector.backbone(normal), ImageList(normal, sizes)
        found, _ = detector.roi_heads(levels, detector.rpn(shown, levels)[0], sizes)
        return found
    maps = list(detector.backbone(normal).values())
    answers = detector.head(maps)
    anchors = [list(detector.anchor_generator.on(maps)) for _ in sizes]
    counts = [len(one) for one in anchors[0]]
    by_level = {name: list(answer.split(counts, dim=1)) for name, answer in answers.items()}
    found = detector.postprocess_detections(by_level, anchors, sizes)
    return found
