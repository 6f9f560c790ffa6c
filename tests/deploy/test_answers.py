"""From pixels to a file's input, and from logits to classes in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vitesse.deploy import OnnxRuntime
from vitesse.deploy.answers import description, likeliest, to_input, to_shares
from vitesse.errors import UsageError


def test_pixels_become_floats_in_place_or_not() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    expected = pixels.astype(np.float32) / np.float32(255)
    assert to_input(pixels).dtype == np.float32 and (to_input(pixels) == expected).all()
    place = np.empty(256, np.float32)
    assert to_input(pixels, out=place) is place and (place == expected).all()


def test_shares_add_up_however_large_the_logits() -> None:
    shares = to_shares(np.array([[1e4, 1e4, -1e4], [0, 0, 0]], np.float32))
    assert shares == pytest.approx(np.array([[0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]]))


def test_the_likeliest_come_first_and_equals_in_order() -> None:
    found = likeliest(np.array([0.2, 0.3, 0.3, 0.2]), ("a", "b", "c", "d"), 3)
    assert [(one["name"], one["probability"]) for one in found] == [("b", 0.3), ("c", 0.3), ("a", 0.2)]
    assert len(likeliest(np.array([0.4, 0.6]), ("a", "b"), 9)) == 2


def test_a_file_that_says_nothing_of_itself_is_refused(foreign: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Vitesse did not write it"):
        description(OnnxRuntime(foreign(tmp_path / "foreign.onnx")))
