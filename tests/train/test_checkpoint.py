"""Checkpoints: whole or not at all, and what was written is what is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vitesse.errors import VitesseError
from vitesse.train.checkpoint import load_checkpoint, save_checkpoint

CPU = torch.device("cpu")


def test_round_trip(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "checkpoint.pt"
    state = {"step": 3, "loss": float("nan"), "weights": {"a": torch.randn(3)}, "none": None, "list": [1, 2.5]}
    save_checkpoint(place, state)
    found = load_checkpoint(place, device=CPU)
    assert found["step"] == 3 and found["none"] is None and found["list"] == [1, 2.5] and found["loss"] != found["loss"]
    assert torch.equal(found["weights"]["a"], state["weights"]["a"])  # type: ignore[index]


def test_a_failed_write_leaves_the_old_one(tmp_path: Path) -> None:
    place = tmp_path / "checkpoint.pt"
    save_checkpoint(place, {"step": 1})
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(place, {"step": 2, "bad": lambda: None})
    assert load_checkpoint(place, device=CPU) == {"step": 1} and list(tmp_path.iterdir()) == [place]


def test_no_damage_is_read_as_something_else(tmp_path: Path) -> None:
    """Any byte wrong: refused, or the same state (the byte was one of those that mean nothing)."""
    place = tmp_path / "checkpoint.pt"
    state = {"step": 3, "weights": torch.arange(40.0)}
    save_checkpoint(place, state)
    whole, refused = place.read_bytes(), 0
    for at in range(0, len(whole), 7):
        place.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        try:
            found = load_checkpoint(place, device=CPU)
        except VitesseError:
            refused += 1
            continue
        assert found["step"] == 3 and torch.equal(found["weights"], torch.arange(40.0)), at
    assert refused > 20
