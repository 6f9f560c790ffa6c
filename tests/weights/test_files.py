from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, Stage, to_json
from vitesse.errors import VitesseError
from vitesse.nets import build
from vitesse.weights.files import load_state, read_checkpoint, save_state


def arch_of(classes: int = 3) -> Backbone:
    return Backbone(
        stem=PatchEmbed(image=16, patch=8),
        stages=(Stage(dim=8, depth=1, block=Block(Attention(heads=1, head_dim=8), MLP(ratio=2.0))),),
        head=Head(classes=classes),
    )


ARCH = arch_of()
TEXT = to_json(ARCH)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return build(ARCH).state_dict()


def test_what_is_written_is_read(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_state(tmp_path / "net.safetensors", state, arch_json=TEXT, metadata={"note": "§"})
    found, arch_json, words = load_state(tmp_path / "net.safetensors", expected=TEXT)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    assert (arch_json, words) == (TEXT, {"note": "§"})
    assert os.listdir(tmp_path) == ["net.safetensors"]


def test_tied_tensors_are_stored_once_and_tied_again(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    big = torch.arange(4096.0)
    state |= {"one": big, "two": big, "part": big[:4], "turned": big.view(64, 64).T}
    save_state(tmp_path / "net.safetensors", state, arch_json=TEXT)
    found, *_ = load_state(tmp_path / "net.safetensors")
    assert found["one"].data_ptr() == found["two"].data_ptr()
    assert all(torch.equal(found[name], state[name]) for name in ("two", "part", "turned"))
    assert (tmp_path / "net.safetensors").stat().st_size < 4 * (3 * 4096) + 8192


def test_a_file_without_a_tie_has_no_word_about_it(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    state["empty"], state["empty too"] = torch.zeros(0), torch.zeros(0)
    save_state(tmp_path / "net.safetensors", state, arch_json=TEXT)
    assert load_state(tmp_path / "net.safetensors")[0]["empty too"].shape == (0,)
    assert b"vitesse.tied" not in (tmp_path / "net.safetensors").read_bytes()


def test_weights_of_another_architecture_are_not_written(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    with pytest.raises(VitesseError, match=r"head\.classifier\.weight must be \(5, 8\), but is \(3, 8\)"):
        save_state(tmp_path / "net.safetensors", state, arch_json=to_json(arch_of(5)))
    del state["head.norm.bias"]
    with pytest.raises(VitesseError, match=r"head\.norm\.bias must be \(8,\), but is missing"):
        save_state(tmp_path / "net.safetensors", state, arch_json=TEXT)
    assert os.listdir(tmp_path) == []


def test_another_architecture_than_expected_is_named(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_state(tmp_path / "net.safetensors", state, arch_json=TEXT)
    other = to_json(arch_of(5))
    with pytest.raises(VitesseError) as caught:
        load_state(tmp_path / "net.safetensors", expected=other)
    assert TEXT in str(caught.value) and other in str(caught.value)


def test_damaged_files_are_one_clear_error(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    whole = tmp_path / "net.safetensors"
    save_state(whole, state, arch_json=TEXT)
    data = whole.read_bytes()
    for length in (0, 4, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.safetensors").write_bytes(data[:length])
        with pytest.raises(VitesseError, match="cut short"):
            load_state(tmp_path / "cut.safetensors")
    with pytest.raises(VitesseError, match="does not exist"):
        load_state(tmp_path / "nowhere.safetensors")
    with pytest.raises(VitesseError, match="is a folder"):
        load_state(tmp_path)


def test_foreign_and_newer_files_are_told_apart(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "foreign.safetensors")
    with pytest.raises(VitesseError, match="holds weights but no architecture"):
        load_state(tmp_path / "foreign.safetensors")
    save_file(state, tmp_path / "newer.safetensors", metadata={"vitesse.format": "9", "vitesse.version": "7.0"})
    with pytest.raises(VitesseError, match=r"format 9, but this Vitesse reads 1.*7\.0"):
        load_state(tmp_path / "newer.safetensors")
    save_file(state, tmp_path / "odd.safetensors", metadata={"vitesse.format": "1", "vitesse.arch": "{"})
    with pytest.raises(VitesseError, match="architecture cannot be read"):
        load_state(tmp_path / "odd.safetensors")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_no_network(state: dict[str, torch.Tensor], tmp_path: Path, zipped: bool) -> None:
    torch.save(state, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(VitesseError, match=r"net\.pth is a PyTorch pickle.*convert"):
        load_state(tmp_path / "net.pth")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_foreign_weights_are_read(tmp_path: Path, wrapper: str | None, zipped: bool) -> None:
    weights = {"module.a.weight": torch.ones(2), "module.b": torch.zeros(1)}
    whole = weights if wrapper is None else {wrapper: weights, "epoch": 3, "args": argparse.Namespace(lr=0.1)}
    torch.save(whole, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(tmp_path / "net.pth")
    assert found.keys() == {"a.weight", "b"} and torch.equal(found["a.weight"], torch.ones(2))


def test_foreign_safetensors_are_read(tmp_path: Path) -> None:
    save_file({"module.a": torch.ones(2), "b": torch.ones(1)}, tmp_path / "net.safetensors")
    assert read_checkpoint(tmp_path / "net.safetensors").keys() == {"module.a", "b"}


def test_a_header_whose_length_looks_like_a_pickle_is_none(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    for padding in range(480, 640):
        save_file({"a": torch.ones(1)}, path, metadata={"padding": "x" * padding})
        if path.read_bytes().startswith(b"\x80\x02"):
            break
    else:
        pytest.fail("no header of 640 bytes was made")
    assert torch.equal(read_checkpoint(path)["a"], torch.ones(1))


class Trap:
    """Runs code where it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return Path.touch, (self.path,)


def test_code_in_a_checkpoint_never_runs(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.ones(1)}, "trap": Trap(tmp_path / "sprung")}, tmp_path / "net.pth")
    with pytest.raises(VitesseError, match=r"net\.pth holds more than weights.*torch\.save\(model\.state_dict"):
        read_checkpoint(tmp_path / "net.pth")
    assert not (tmp_path / "sprung").exists()


def test_damaged_checkpoints_are_one_clear_error(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(100)}, tmp_path / "net.pth")
    data = (tmp_path / "net.pth").read_bytes()
    for broken in (data[:50], data[: len(data) // 2], b"\x80\x02", b"\x80\x02garbage"):
        (tmp_path / "cut.pth").write_bytes(broken)
        with pytest.raises(VitesseError, match=r"cut\.pth"):
            read_checkpoint(tmp_path / "cut.pth")
    (tmp_path / "text.pth").write_text("hello, this is no file of weights")
    with pytest.raises(VitesseError, match=r"text\.pth is damaged"):
        read_checkpoint(tmp_path / "text.pth")


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], torch.ones(1)])
def test_a_checkpoint_without_weights_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(VitesseError, match="must hold named tensors"):
        read_checkpoint(tmp_path / "net.pth")
