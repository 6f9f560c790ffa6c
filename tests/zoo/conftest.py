"""The golden records: what the published code computed, with random weights."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(__file__).parents[1] / "golden"


class Record:
    """One record: `facts` from its JSON, tensors from its safetensors."""

    def __init__(self, name: str) -> None:
        self.facts: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
        path = GOLDEN / f"{name}.safetensors"
        self.tensors: dict[str, Tensor] = load_file(path) if path.is_file() else {}

    @property
    def state(self) -> dict[str, Tensor]:
        return {key.removeprefix("state."): value for key, value in self.tensors.items() if key.startswith("state.")}

    @property
    def config(self) -> dict[str, Any]:
        beside = ("choices", "activation", "arch_def")
        return {**self.facts["constructor"], **{name: self.facts[name] for name in beside if name in self.facts}}


@pytest.fixture(scope="session")
def golden() -> type[Record]:
    return Record


@pytest.fixture(scope="session")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recipe", GOLDEN / "recipe.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
