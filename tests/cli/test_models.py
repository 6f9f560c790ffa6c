from __future__ import annotations

import json

import pytest

from vitesse.cli.main import run
from vitesse.zoo.published import models


def test_the_table_names_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line]
    assert set(names) >= {model["name"] for model in models()}


def test_json_is_the_list_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == models()
