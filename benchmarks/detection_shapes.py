"""What a RetinaNet around a small hierarchical network finds on pictures that it did not learn from.

    python benchmarks/detection_shapes.py --out FOLDER [--quick] [--json FILE]

The made set of `vitesse.data.shapes`: circles, squares and triangles on noise, 64 pixels a side, 600 pictures to learn from
and 150 to be examined on, seed 0. The backbone, of the TinyViT kind, starts from nothing. The schedule is a cosine, not the
published one, which is made for COCO. The figures are COCO's, by pycocotools, of what is kept at the end.
"""

from __future__ import annotations

import time
from contextlib import nullcontext

from showing import conditions, end, options, show, unseen

from vitesse.data.boxed import BoxAugment
from vitesse.data.coco import CocoSettings
from vitesse.data.shapes import make_shapes
from vitesse.runs.folder import RunFolder
from vitesse.shrink.detecting import train_detector
from vitesse.shrink.job import Voice
from vitesse.tasks.detection import DetectionSettings, DetectorSettings
from vitesse.train.settings import TrainSettings
from vitesse.zoo.tinyvit import tiny_vit

SIDE = 64
BACKBONE = tiny_vit(
    dims=(16, 32, 48, 64), depths=(1, 1, 2, 1), heads=(1, 1, 2, 2), windows=(4, 4, 4, 2), classes=3, image=(SIDE, SIDE)
)


def main() -> None:
    """Make the pictures, train, examine, show."""
    args = options(__doc__, folder=True)
    before = conditions()
    shapes = args.out / "shapes"
    if not (shapes / "train" / "annotations.json").exists():
        make_shapes(shapes / "train", count=600, side=SIDE, seed=0)
    if not (shapes / "val" / "annotations.json").exists():
        make_shapes(shapes / "val", count=150, side=SIDE, seed=1)
    settings = DetectionSettings(
        data=CocoSettings(source=str(shapes), workers=0),
        augment=BoxAugment(flip=0.5, scale=(0.9, 1.25)),
        detector=DetectorSettings(width=48, shorter=SIDE, longer=SIDE),
        train=TrainSettings(
            epochs=2 if args.quick else 50, batch=16, lr=3e-3, weight_decay=0.05, clip=1.0, ema=0.99, evaluate_every=10
        ),
    )
    folder = args.out / "run"
    folder.mkdir(parents=True, exist_ok=True)
    voice = Voice(stage=lambda name: nullcontext(unseen), say=lambda text: None)
    begun = time.process_time()
    found = train_detector(settings, RunFolder(folder), arch=BACKBONE, voice=voice)
    rows = [{name: value for name, value in found["detection"].items() if value is not None}]
    show("RetinaNet on made shapes", rows, notes=[f"{found['params']} parameters, {time.process_time() - begun:.0f} s"])
    end(args, before, {"rows": rows})


if __name__ == "__main__":
    main()
