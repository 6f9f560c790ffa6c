from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
import torch

from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, Stage
from vitesse.data.preprocess import Preprocess
from vitesse.errors import VitesseError
from vitesse.nets import Network, build
from vitesse.zoo import from_pretrained, push_to_hub, save_pretrained


@pytest.fixture
def network() -> Network:
    arch = Backbone(
        stem=PatchEmbed(image=16, patch=8),
        stages=(Stage(dim=8, depth=1, block=Block(Attention(heads=1, head_dim=8), MLP(ratio=2.0))),),
        head=Head(classes=3),
    )
    network = build(arch).eval()
    network.preprocess, network.class_names = Preprocess(size=(16, 16), crop=0.5), ("a", "b", "c")
    return network


def assert_equal(found: Network, network: Network) -> None:
    assert (found.arch, found.preprocess, found.class_names) == (network.arch, network.preprocess, network.class_names)
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found(images), network(images))
    assert not found.training


def test_a_folder_gives_the_network_back(network: Network, tmp_path: Path) -> None:
    folder = save_pretrained(network, tmp_path / "net")
    assert_equal(from_pretrained(folder), network)
    assert_equal(from_pretrained(folder / "model.safetensors"), network)
    config = json.loads((folder / "config.json").read_text())
    assert config["arch"]["type"] == "Backbone" and config["classes"] == ["a", "b", "c"]


def test_a_repository_is_fetched(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_pretrained(network, tmp_path)
    asked: list[object] = []

    def download(repo: str, name: str, *, revision: str | None, library_name: str) -> str:
        asked.append((repo, name, revision))
        return str(folder / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert_equal(from_pretrained("somebody/net", revision="v1"), network)
    assert asked == [("somebody/net", "model.safetensors", "v1")]


def test_what_cannot_be_fetched_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> str:
        raise OSError("no route")

    with pytest.raises(VitesseError, match="neither a file"):
        from_pretrained("no/such/folder")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(VitesseError, match="could not be fetched"):
        from_pretrained("somebody/net")


def test_a_folder_is_uploaded(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []

    class Api:
        def __init__(self, *, library_name: str) -> None: ...

        def create_repo(self, repo: str, *, private: bool, exist_ok: bool) -> str:
            done.append((repo, private, exist_ok))
            return f"https://hub/{repo}"

        def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
            done.append((repo_id, sorted(file.name for file in folder_path.iterdir())))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert push_to_hub(network, "me/net", folder=tmp_path, private=True) == "https://hub/me/net"
    assert done == [("me/net", True, True), ("me/net", ["config.json", "model.safetensors"])]


def test_an_upload_that_fails_leaves_the_folder(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError("no route")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    with pytest.raises(VitesseError, match="is written, but could not be uploaded to me/net"):
        push_to_hub(network, "me/net", folder=tmp_path)
    assert_equal(from_pretrained(tmp_path), network)
