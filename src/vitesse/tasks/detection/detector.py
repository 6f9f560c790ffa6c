"""A network of ours in torchvision's detectors, with the published configuration of EfficientViT."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import nn
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from vitesse.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from vitesse.nets import Network
from vitesse.tasks.detection.anchors import Anchors
from vitesse.tasks.detection.neck import Backbone, Neck, Trunk
from vitesse.tasks.detection.settings import DetectorSettings

RETINANET_STRIDES, MASK_RCNN_STRIDES = (8, 16, 32, 64, 128), (4, 8, 16, 32, 64)
_PADDED_TO = 32  # pixels


class RetinaNet(TorchvisionRetinaNet):  # type: ignore[misc]
    """torchvision's RetinaNet around a network of ours; its labels count from 0."""

    first_label = 0
    class_names: tuple[str, ...] = ()

    def no_weight_decay(self) -> set[str]:
        """As of the network."""
        return _undecayed(self.backbone)


class MaskRCNN(TorchvisionMaskRCNN):  # type: ignore[misc]
    """torchvision's Mask R-CNN around a network of ours; its labels count from 1, since 0 is the background."""

    first_label = 1
    class_names: tuple[str, ...] = ()

    def no_weight_decay(self) -> set[str]:
        """As of the network."""
        return _undecayed(self.backbone)


Detector = RetinaNet | MaskRCNN


def with_backbone(
    network: Network,
    *,
    classes: int,
    detector: Literal["retinanet", "mask_rcnn"] = "retinanet",
    width: int = 256,
    shorter: int = 800,
    longer: int = 1333,
    frozen_statistics: bool = True,
    drop_path: float = 0.0,
    **options: Any,
) -> Detector:
    """A torchvision detector of so many classes whose backbone is a copy of the network, with its weights and colours.

    It is used as any of torchvision's: `detector(images, targets)` gives losses in training, `detector(images)` boxes. Labels
    count from `detector.first_label`: 0 for RetinaNet, 1 for Mask R-CNN. `width`: channels of the neck. `shorter`, `longer`:
    the size to which pictures are brought. `frozen_statistics`: batch normalization of the backbone keeps its running
    statistics. `options` go to torchvision's class. UsageError where the network's strides fit no level.
    """
    levels = RETINANET_STRIDES if detector == "retinanet" else MASK_RCNN_STRIDES
    trunk = Trunk(network, finest=levels[0], drop_path=drop_path, frozen_statistics=frozen_statistics)
    neck = Neck(trunk.widths, trunk.strides, levels=levels, width=width)
    channels, known = network.arch.stem.channels, network.preprocess
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,) * channels, (0.5,) * channels)
    common = {
        "min_size": shorter,
        "max_size": longer,
        "image_mean": list(mean if known is None else known.mean),
        "image_std": list(std if known is None else known.std),
        "size_divisible": max(_PADDED_TO, trunk.strides[0]),  # no less than a patch
        **options,
    }
    make = _retinanet if detector == "retinanet" else _mask_rcnn
    return make(Backbone(trunk, neck, width=width), classes, common)


def detector_of(
    network: Network,
    settings: DetectorSettings,
    *,
    classes: int,
    frozen_statistics: bool = True,
    drop_path: float = 0.0,
) -> Detector:
    """The detector that the settings ask for. It does not resize in training: pictures come in the size they are to have."""
    prefix = "" if settings.kind == "retinanet" else "box_"
    names = ("score_thresh", "nms_thresh", "detections_per_img")
    limits = zip(names, (settings.score, settings.overlap, settings.most), strict=True)
    return with_backbone(
        network,
        classes=classes,
        detector=settings.kind,
        width=settings.width,
        shorter=settings.shorter,
        longer=settings.longer,
        frozen_statistics=frozen_statistics,
        drop_path=drop_path,
        _skip_resize=True,  # torchvision's own name for it
        **{f"{prefix}{name}": value for name, value in limits},
    )


def _retinanet(backbone: Backbone, classes: int, options: dict[str, Any]) -> RetinaNet:
    scales = tuple(2 ** (third / 3) for third in range(3))
    anchors = Anchors(RETINANET_STRIDES, base=4, scales=scales)
    detector = RetinaNet(backbone, classes, anchor_generator=anchors, **{"detections_per_img": 100, **options})
    # The published deviation of the head's weights, 0.01, is for 256 channels; of fewer the sums would be smaller.
    for layer in detector.head.modules():
        if isinstance(layer, nn.Conv2d):
            with torch.no_grad():
                layer.weight.mul_((256 / backbone.out_channels) ** 0.5)
    return detector


def _mask_rcnn(backbone: Backbone, classes: int, options: dict[str, Any]) -> MaskRCNN:
    return MaskRCNN(
        backbone,
        classes + 1,
        rpn_anchor_generator=Anchors(MASK_RCNN_STRIDES, base=8, scales=(1.0,)),
        box_roi_pool=_pool(7),
        mask_roi_pool=_pool(14),
        **options,
    )


def _pool(side: int) -> MultiScaleRoIAlign:
    """RoIAlign on all levels but the coarsest, which is for proposals alone.

    torchvision guesses the strides from the first pictures that it sees, and takes a wrong one where these are small.
    """
    strides = MASK_RCNN_STRIDES[:-1]
    pool = MultiScaleRoIAlign([str(place) for place in range(len(strides))], side, 0)
    pool.scales = [1 / stride for stride in strides]
    pool.map_levels = initLevelMapper(*(int(math.log2(stride)) for stride in (strides[0], strides[-1])))
    return pool


def _undecayed(backbone: nn.Module) -> set[str]:
    assert isinstance(backbone, Backbone)
    return {f"backbone.trunk.network.{name}" for name in backbone.trunk.network.no_weight_decay()}
