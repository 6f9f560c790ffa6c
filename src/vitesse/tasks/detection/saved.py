"""A detector as one file: weights (safetensors), and beside them what it takes to build it again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from vitesse.arch import from_json, to_json
from vitesse.data.preprocess import Preprocess
from vitesse.errors import VitesseError
from vitesse.nets import build
from vitesse.runs.files import atomic_path
from vitesse.tasks.detection.detector import Detector, detector_of
from vitesse.tasks.detection.neck import Backbone
from vitesse.tasks.detection.settings import DetectorSettings

FILE = "detector.safetensors"
_FORMAT = "1"


def save(detector: Detector, path: Path | str, *, settings: DetectorSettings) -> None:
    """Write a detector, made with these settings, to `path` (.safetensors), whole or not at all."""
    assert isinstance(detector.backbone, Backbone)
    network = detector.backbone.trunk.network
    colours = {"mean": list(detector.transform.image_mean), "std": list(detector.transform.image_std)}
    words = {
        "vitesse.detector": _FORMAT,
        "arch": to_json(network.arch),
        "settings": json.dumps(asdict(settings)),
        "classes": json.dumps(detector.class_names),
        "colours": json.dumps(colours),
    }
    state = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in detector.state_dict().items()
    }
    with atomic_path(path) as draft:
        save_file(state, draft, metadata=words)


def is_detector(path: Path) -> bool:
    """Whether a file, or the folder of a run, holds a detector, for those who take networks of other kinds too."""
    if path.is_dir():
        return (path / FILE).is_file()
    try:
        with safe_open(path, framework="pt") as opened:
            return "vitesse.detector" in (opened.metadata() or {})
    except (SafetensorError, OSError):
        return False  # whoever reads it says what is wrong


def load(path: Path | str) -> Detector:
    """The detector in a file, or in the folder of a run, in evaluation mode, with its `class_names`.

    VitesseError where the file is missing or damaged, or holds something else.
    """
    file = Path(path) / FILE if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise VitesseError(f"{file} does not exist. Name a run of `vitesse train --task detection`, or its {FILE}.")
    try:
        with safe_open(file, framework="pt") as opened:
            words = opened.metadata() or {}
        state = load_file(file)
    except (SafetensorError, OSError) as error:
        raise VitesseError(f"{file} is damaged, cut short, or no safetensors file ({error}).") from error
    if words.get("vitesse.detector") != _FORMAT:
        raise VitesseError(
            f"{file} must hold a detector of format {_FORMAT}, but holds {words.get('vitesse.detector', 'none')}. "
            "Name another file, or install the Vitesse that wrote it."
        )
    try:
        classes = tuple(json.loads(words["classes"]))
        network = build(from_json(words["arch"]))
        colours = json.loads(words["colours"]) | {"channels": network.arch.stem.channels}
        network.preprocess = Preprocess.from_dict(colours)
        detector: Detector = detector_of(
            network, DetectorSettings(**json.loads(words["settings"])), classes=len(classes)
        )
        detector.load_state_dict(state)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise VitesseError(f"{file} does not hold the detector that it describes: {error}") from error
    detector.class_names = classes
    detector.eval()
    return detector
