from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitesse.cli.main import run
from vitesse.data import normalise, to_batch
from vitesse.saved import load_network

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "[digit].png")
    return tmp_path / "[digit].png"


def test_it_says_what_the_network_says(exported: Path, model: Path, image: Path, capsys: Captured) -> None:
    assert run(["predict", str(exported.parent), str(image), str(image), "--top", "10", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    network = load_network(model)
    assert network.preprocess is not None
    with torch.inference_mode():
        logits = network(normalise(to_batch([Image.open(image)], network.preprocess), network.preprocess))
    expected = logits.softmax(-1)[0]
    found = torch.tensor([one["probability"] for one in sorted(first["classes"], key=lambda one: one["name"])])
    torch.testing.assert_close(found.float(), expected, atol=1e-5, rtol=1e-4)
    shares = [one["probability"] for one in first["classes"]]
    assert shares == sorted(shares, reverse=True)
    assert first == second == {"image": str(image), "classes": first["classes"]}


def test_the_table_names_the_likeliest(exported: Path, image: Path, capsys: Captured) -> None:
    assert run(["predict", str(exported), str(image), "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(str(image))
    assert [len(line.split()) for line in lines] == [3, 3, 2]


@pytest.mark.parametrize(
    ("more", "code", "word"),
    [
        ([], 2, "At least one image"),
        (["missing.png"], 1, "missing.png is missing"),
        (["a.png", "--top", "0"], 2, "--top 0"),
    ],
)
def test_what_is_wrong_is_said(more: list[str], code: int, word: str, exported: Path, capsys: Captured) -> None:
    assert run(["predict", str(exported), *more]) == code
    assert word in capsys.readouterr().err


def test_a_folder_without_an_exported_file_is_named(tmp_path: Path, image: Path, capsys: Captured) -> None:
    assert run(["predict", str(tmp_path), str(image)]) == 1
    assert "model.onnx does not exist" in capsys.readouterr().err
