from __future__ import annotations

from pathlib import Path

import pytest

from vitesse.distill.licence import licence_of, warning_about


def test_licences_are_known_by_name(tmp_path: Path) -> None:
    assert licence_of("vit_small_patch14_dinov2.lvd142m") == "apache-2.0"
    assert licence_of("no_such_model") is None
    assert licence_of(f"hf:{tmp_path}") is None  # a folder without a card
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\nA card.\n")
    assert licence_of(f"hf:{tmp_path}") == "cc-by-nc-4.0"


@pytest.mark.parametrize(
    ("name", "licence", "words"),
    [
        ("vit_small_patch16_dinov3", "dinov3-license", "DINOv3 licence"),
        ("hf:facebook/dinov3-vits16", None, "DINOv3 licence"),
        ("convnextv2_tiny", "cc-by-nc-4.0", "not for commercial use"),
    ],
)
def test_terms_that_travel_are_said(name: str, licence: str | None, words: str) -> None:
    assert words in (warning_about(name, licence) or "")


@pytest.mark.parametrize("licence", [None, "apache-2.0", "mit"])
def test_free_weights_need_no_word(licence: str | None) -> None:
    assert warning_about("deit_tiny_patch16_224", licence) is None
