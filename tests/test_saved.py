"""A network as one file: what is written is what is read, and whatever else is read is refused in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import vitesse
from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, Stage, to_json
from vitesse.data.preprocess import Preprocess
from vitesse.errors import VitesseError
from vitesse.nets import Network, build
from vitesse.saved import load_network, save_network


def arch(dim: int = 16, classes: int = 3) -> Backbone:
    return Backbone(
        stem=PatchEmbed(image=(16, 16), patch=(8, 8)),
        stages=(Stage(dim=dim, depth=2, block=Block(Attention(heads=2, head_dim=8), MLP(ratio=2.0))),),
        head=Head(classes=classes),
    )


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    network = build(arch())
    network.preprocess = Preprocess(size=(16, 16), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), crop=0.9)
    network.class_names = ("null", "eins", "zwölf")
    return network


@pytest.fixture
def file(network: Network, tmp_path: Path) -> Path:
    save_network(network, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def rewritten(file: Path, **words: str) -> None:
    """The same file with other words beside the weights."""
    with safe_open(file, framework="pt") as old:
        metadata = old.metadata()
    save_file(load_file(file), file, metadata=metadata | words)


def test_round_trip(network: Network, file: Path) -> None:
    images = torch.randn(2, 3, 16, 16)
    for place in (file, str(file), file.parent):  # a file, or the folder of a run
        found = load_network(place)
        assert not found.training and found.arch == network.arch
        assert found.preprocess == network.preprocess and found.class_names == network.class_names
        assert torch.equal(found(images), network.eval()(images))
    assert torch.equal(vitesse.load(file)(images), network(images))
    assert list(file.parent.iterdir()) == [file]


def test_a_network_is_loaded_without_what_serves_it(file: Path) -> None:
    serving = {"onnx", "onnxruntime", "openvino"}
    script = f"import sys, vitesse; vitesse.load({str(file)!r}); print(*({serving} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_without_preprocess_and_names(tmp_path: Path) -> None:
    save_network(build(arch()), tmp_path / "model.safetensors")
    found = load_network(tmp_path)
    assert found.preprocess is None and found.class_names == ()


@pytest.mark.parametrize("length", [0, 4, 100, 3000, -1])
def test_a_file_cut_short(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(VitesseError, match=r"model.safetensors"):
        load_network(file)


class Trap:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.place),)


def test_a_pickle_is_not_read(file: Path, tmp_path: Path) -> None:
    torch.save({"weights": Trap(tmp_path / "sprung")}, file)
    with pytest.raises(VitesseError, match=r"is a PyTorch pickle, which could run code"):
        load_network(file)
    assert not (tmp_path / "sprung").exists()


def test_weights_of_another_architecture(file: Path) -> None:
    rewritten(file, **{"vitesse.arch": to_json(arch(dim=24))})
    with pytest.raises(VitesseError, match=r"the weights are not those of the architecture. .* must be \(24,"):
        load_network(file)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"vitesse.arch": "{"}, "the architecture cannot be read"),
        ({"vitesse.arch": to_json(arch()).replace('"dim":16', '"dim":-1')}, "Stage.dim must"),
        ({"classes": "["}, "does not hold the network that it describes"),
        ({"classes": "3"}, "does not hold the network that it describes"),
        ({"preprocess": "[]"}, "does not hold the network that it describes"),
        ({"preprocess": json.dumps({"size": 5})}, "does not hold the network that it describes"),
        ({"preprocess": json.dumps({"size": [16, 16], "colour": 1})}, "has no field colour"),
    ],
)
def test_words_that_make_no_sense(file: Path, words: dict[str, str], message: str) -> None:
    rewritten(file, **words)
    with pytest.raises(VitesseError, match=message):
        load_network(file)


def test_more_tensors_than_the_architecture_has(file: Path) -> None:
    with safe_open(file, framework="pt") as old:
        metadata = old.metadata()
    save_file(load_file(file) | {"stages.0.blocks.9.0.norm.bias": torch.zeros(16)}, file, metadata=metadata)
    with pytest.raises(VitesseError, match="does not hold the network that it describes"):
        load_network(file)


def test_somebody_elses_file(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(VitesseError, match="holds weights but no architecture"):
        load_network(tmp_path)
    with pytest.raises(VitesseError, match=r"nowhere.safetensors does not exist"):
        load_network(tmp_path / "nowhere.safetensors")


def test_a_network_that_is_not_its_architecture_is_not_written(network: Network, tmp_path: Path) -> None:
    network.arch = arch(dim=24)
    with pytest.raises(VitesseError, match="the weights are not those of the architecture"):
        save_network(network, tmp_path / "model.safetensors")
    assert not any(tmp_path.iterdir())
