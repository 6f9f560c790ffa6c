"""Which runtimes there are, and what is said of one that cannot be used."""

from __future__ import annotations

import pytest

from vitesse.deploy import runtime
from vitesse.deploy.runtime import RUNTIMES, missing, require_runtime
from vitesse.errors import UsageError


def test_what_the_project_needs_itself_is_never_missing() -> None:
    assert missing("onnxruntime") is None and missing("eager") is None


@pytest.mark.parametrize("name", ["openvino", "executorch"])
def test_an_extra_says_how_to_install_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "find_spec", lambda module: None)
    assert f"pip install 'vitesse-ml[{name}]'" in (missing(name) or "")
    with pytest.raises(UsageError, match="not installed"):
        require_runtime(name)


def test_without_a_compiler_nothing_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler is not found" in (missing("compile") or "")


def test_an_unknown_one_is_named() -> None:
    with pytest.raises(UsageError, match=r"one of onnxruntime, .*, but got 'tensorrt'"):
        missing("tensorrt")
    assert len(RUNTIMES) == 5
