"""A detector as a file: it comes back as it was, and whatever is no such file is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from vitesse.errors import VitesseError
from vitesse.nets import Network
from vitesse.tasks.detection import DetectorSettings, load, save
from vitesse.tasks.detection.detector import detector_of

SETTINGS = DetectorSettings(width=16, shorter=64, longer=96, score=0.01, most=7)


@pytest.fixture
def detector(four_stages: Network) -> Any:
    detector = detector_of(four_stages, SETTINGS, classes=2).eval()
    detector.class_names = ("cat", "dog")
    return detector


def test_there_and_back(detector: Any, tmp_path: Path) -> None:
    save(detector, tmp_path / "detector.safetensors", settings=SETTINGS)
    again: Any = load(tmp_path)
    assert again.class_names == ("cat", "dog") and not again.training
    assert (again.detections_per_img, again.score_thresh) == (7, 0.01)
    assert again.transform.image_mean == detector.transform.image_mean
    images = [torch.rand(3, 64, 80)]
    one, other = detector(images)[0], again(images)[0]
    assert len(one["boxes"]) and all(torch.equal(one[name], other[name]) for name in ("boxes", "scores", "labels"))


def test_what_is_no_detector(detector: Any, tmp_path: Path) -> None:
    with pytest.raises(VitesseError, match="does not exist"):
        load(tmp_path)
    file = tmp_path / "detector.safetensors"
    save(detector, file, settings=SETTINGS)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VitesseError, match="damaged, cut short"):
        load(file)
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(VitesseError, match="must hold a detector of format 1, but holds none"):
        load(file)
    words = {"vitesse.detector": "1", "classes": "[]"}
    save_file({"a": torch.zeros(1)}, file, metadata=words)
    with pytest.raises(VitesseError, match="does not hold the detector that it describes"):
        load(file)
