"""`vitesse predict`: what is on an image, by an exported file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vitesse.errors import UsageError

if TYPE_CHECKING:
    from vitesse.deploy.runtime import FileRuntime


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Say what is on images, by the exported file of a run; of a detector's, where it is.

    Examples:
      vitesse predict runs/digits seven.png
      vitesse predict runs/detector street.jpg --top 10
      vitesse predict flowers.onnx garden/*.jpg --top 1 --json
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder of a run, or a file that Vitesse exported: .onnx, .xml, .pt2 or .pte."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...")]
    """Image files."""
    top: int = 3
    """How many classes, or objects, to name for each image."""
    json: bool = False
    """Print the result as JSON, for another program."""

    def run(self) -> None:
        """Do it."""
        if self.top < 1 or not self.images:
            raise UsageError(
                f"At least one image and one class are needed, but got {len(self.images)} images and --top {self.top}."
            )
        from vitesse.cli.console import result_json, result_table
        from vitesse.deploy.onnx_runtime import OnnxRuntime
        from vitesse.deploy.opening import opened

        runtime = opened(self.model)
        if isinstance(runtime, OnnxRuntime) and runtime.detects:
            return _show_objects(runtime.path, self.images, top=self.top, as_json=self.json)
        found = [(str(image), _likeliest(runtime, image, self.top)) for image in self.images]
        if self.json:
            return result_json([{"image": image, "classes": classes} for image, classes in found])
        rows = [
            ["" if place else image, guess["name"], f"{guess['probability']:.1%}"]
            for image, classes in found
            for place, guess in enumerate(classes)
        ]
        return result_table({"Image": "<", "Class": "<", "Probability": ">"}, rows)


def _show_objects(file: Path, images: tuple[Path, ...], *, top: int, as_json: bool) -> None:
    """The objects on images, the likeliest first."""
    from vitesse.cli.console import result_json, result_table
    from vitesse.data import open_image
    from vitesse.deploy.detector_onnx import OnnxDetector

    detector = OnnxDetector(file)
    told = []
    for image in images:
        found = detector.detect(open_image(image))
        objects = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
        named = [{"name": detector.classes[label], "score": score, "box": box} for label, score, box in objects]
        told.append((str(image), named[:top]))
    if as_json:
        return result_json([{"image": image, "objects": objects} for image, objects in told])
    rows = [
        ["" if place else image, one["name"], f"{one['score']:.1%}", " ".join(f"{side:.0f}" for side in one["box"])]
        for image, objects in told
        for place, one in enumerate(objects)
    ]
    return result_table({"Image": "<", "Class": "<", "Score": ">", "Box (x1 y1 x2 y2)": ">"}, rows)


def _likeliest(runtime: FileRuntime, image: Path, top: int) -> list[dict[str, Any]]:
    """The likeliest classes of an image, the likeliest first."""
    from vitesse.data import open_image, to_pixels
    from vitesse.deploy.answers import description, likeliest, to_input, to_shares

    about = description(runtime)
    pixels = to_pixels(open_image(image), about.preprocess).numpy()  # (C, H, W), 0 to 255
    logits = runtime.run(to_input(pixels[None]))  # (1, classes)
    return likeliest(to_shares(logits)[0], about.classes, top)
