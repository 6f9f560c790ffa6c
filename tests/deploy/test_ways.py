"""Which runtime has which precision."""

from __future__ import annotations

import pytest

from vitesse.deploy import ways as module
from vitesse.deploy.runtime import RUNTIMES
from vitesse.deploy.ways import SOUND, Way, usable, ways
from vitesse.errors import UsageError


def test_every_runtime_has_float32() -> None:
    assert tuple(SOUND) == RUNTIMES
    assert all(sound[0] == "fp32" for sound in SOUND.values())


def test_float32_is_always_tried_and_what_there_is_not_is_left_out() -> None:
    found = ways(["eager", "onnxruntime", "eager"], ["bf16", "int8"])
    assert [way.label for way in found] == ["onnxruntime fp32", "onnxruntime int8", "eager fp32", "eager bf16"]


def test_a_pair_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="got 'eager int8'.*openvino: fp32, bf16, fp16, int8"):
        Way("eager", "int8")


def test_a_runtime_that_is_missing_is_left_out_of_all_and_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str) -> str | None:
        return "Install it." if name in ("openvino", "executorch") else None

    def refuse(name: str) -> None:
        if (why := without(name)) is not None:
            raise UsageError(why)

    monkeypatch.setattr(module, "missing", without)
    monkeypatch.setattr(module, "require_runtime", refuse)
    assert usable(["all"]) == ["onnxruntime", "compile", "eager"]
    assert usable() == ["onnxruntime"]
    assert usable(["eager"]) == ["eager"]
    with pytest.raises(UsageError, match="Install it"):
        usable(["eager", "openvino"])
