from __future__ import annotations

import shlex
import sys

import pytest

from vitesse.runs.facts import run_facts, versions


def test_the_command_can_be_typed_again() -> None:
    facts = run_facts("shrink", seed=3, arguments=["shrink", "--data", "my pets"])
    assert shlex.split(str(facts["command"])) == ["vitesse", "shrink", "--data", "my pets"]
    assert (facts["verb"], facts["seed"]) == ("shrink", 3)
    assert str(facts["created"]).endswith("+00:00")


def test_without_arguments_it_is_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "models"])
    assert run_facts("models", seed=0)["command"] == "vitesse models"


def test_versions_name_what_is_installed() -> None:
    found = versions()
    assert {"python", "torch", "numpy"} <= found.keys()
