"""Hyperparameters are checked when they are written down, not after an hour of training."""

from __future__ import annotations

from typing import Any

import pytest

from vitesse.train import TrainSettings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", -1),
        ("steps", 0),
        ("batch", 0),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("min_lr", 1.0),
        ("start_lr", -1.0),
        ("warmup", 1.0),
        ("warmup_steps", -1),
        ("weight_decay", -0.1),
        ("layer_decay", 0.0),
        ("layer_decay", 1.1),
        ("clip", -1.0),
        ("clip_mode", "value"),
        ("accumulate", 65),
        ("precision", "fp16"),
        ("drop_path", 1.0),
        ("ema", 1.0),
        ("evaluate_every", 0),
        ("checkpoint_seconds", -1.0),
    ],
)
def test_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} must be .*, but got {value}"):
        TrainSettings(**{field: value})


def test_epochs_follow_from_steps() -> None:
    assert TrainSettings(epochs=7).epochs_of(100) == 7
    assert TrainSettings(steps=2000).epochs_of(100) == 20
    assert TrainSettings(steps=2000).epochs_of(1000) == 10  # never fewer than ten
