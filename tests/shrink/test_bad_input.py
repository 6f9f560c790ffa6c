"""What a user may get wrong: each ends with the right exit code and one clear message, and breaks nothing."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import save_file
from torch import zeros

from vitesse.cli.main import run

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of four images each."""
    for kind, shade in (("dark", 40), ("light", 200)):
        (tmp_path / "images" / kind).mkdir(parents=True)
        for number in range(4):
            Image.new("L", (12, 12), shade + number).save(tmp_path / "images" / kind / f"{number}.png")
    return tmp_path / "images"


def refused(capsys: Captured, *words: object, out: Path, code: int) -> str:
    """What `vitesse shrink` says to these words; the exit code is checked."""
    assert run(["shrink", *map(str, words), "--out", str(out)]) == code
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.partition("vitesse: ")[2]


def empty(images: Path) -> None:
    for file in images.rglob("*.png"):
        file.unlink()


def one_class(images: Path) -> None:
    (images / "dark").rename(images.parent / "dark")


def too_few(images: Path) -> None:
    for number in range(2):
        (images / "dark" / f"{number}.png").unlink()


def unreadable(images: Path) -> None:
    (images / "dark" / "0.png").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (empty, "image"),
        (one_class, "one class only (light)"),
        (too_few, "at least 3 different images, but class 'dark'"),
        (unreadable, os.path.join("dark", "0.png") + " is no readable image"),
    ],
)
def test_images_that_cannot_be_used(spoil: object, word: str, folder: Path, tmp_path: Path, capsys: Captured) -> None:
    spoil(folder)  # type: ignore[operator]
    assert word in refused(capsys, "--data", folder, "--max-params", "60k", out=tmp_path / "run", code=1)


def test_data_that_are_not_there(tmp_path: Path, capsys: Captured) -> None:
    said = refused(capsys, "--data", tmp_path / "nowhere", "--max-params", "60k", out=tmp_path / "run", code=1)
    assert "nowhere does not exist" in said


@pytest.mark.parametrize("limit", ["12 parsecs", "-5", "0", "nan", "inf", "", "1e999"])
def test_a_limit_that_is_none(limit: str, tmp_path: Path, capsys: Captured) -> None:
    said = refused(capsys, f"--max-params={limit}", out=tmp_path / "run", code=2)
    assert said.startswith("--max-params: ") and repr(limit) in said
    assert not (tmp_path / "run").exists()


def test_a_budget_too_small_names_the_least_and_leaves_the_folder_free(tmp_path: Path, capsys: Captured) -> None:
    for limit in ("100", "200"):  # the second is no other run: the first came to nothing
        said = refused(capsys, "--max-params", limit, out=tmp_path / "run", code=2)
        assert f"params <= {limit}" in said and "the least is params" in said
        assert f"max_params = {limit}" in (tmp_path / "run" / "run.toml").read_text()


def pickled_code(path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(path.parent / "it ran"),)

    path.write_bytes(pickle.dumps(Code()))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (pickled_code, "could run code"),
        (lambda path: path.write_text("hello, this is text"), "no safetensors file"),
        (lambda path: path.write_bytes(b""), "damaged, cut short"),
        (lambda path: save_file({"a": zeros(2)}, path), "no architecture"),
    ],
)
def test_a_file_that_is_no_teacher(make: object, word: str, tmp_path: Path, capsys: Captured) -> None:
    make(tmp_path / "t.safetensors")  # type: ignore[operator]
    teacher = ("--teacher", tmp_path / "t.safetensors", "--max-params", "60k")
    assert word in refused(capsys, *teacher, out=tmp_path / "run", code=1)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    ("name", "word"),
    [("deit_tini_patch16_224", "deit_tiny_patch16_224"), ("./nowhere/model.safetensors", "does not exist")],
)
def test_a_teacher_that_is_not_there(name: str, word: str, tmp_path: Path, capsys: Captured) -> None:
    assert word in refused(capsys, "--teacher", name, "--max-params", "60k", out=tmp_path / "run", code=1)


def test_weights_that_cannot_be_fetched_are_asked_for_once(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    asked = []
    create = timm.create_model

    def offline(name: str, *, pretrained: bool = False, **given: Any) -> object:
        if pretrained:
            asked.append(name)
            raise OSError("no connection")
        return create(name, pretrained=False, **given)

    monkeypatch.setattr(timm, "create_model", offline)
    said = refused(capsys, "--teacher", "resnet18", "--max-params", "60k", out=tmp_path / "run", code=1)
    assert "could not be loaded: no connection" in said
    assert asked == ["resnet18"]


@pytest.mark.parametrize("text", [b"{no json", b"[1, 2]", b"\xff\xfe", b'{"type": "Backbone"}'])
def test_a_file_that_is_no_space(text: bytes, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "space.json").write_bytes(text)
    space = ("--space", tmp_path / "space.json", "--max-params", "60k")
    assert "space.json" in refused(capsys, *space, out=tmp_path / "run", code=2)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_no_generator_takes(seed: int, tmp_path: Path, capsys: Captured) -> None:
    said = refused(capsys, f"--seed={seed}", "--max-params", "60k", out=tmp_path / "run", code=2)
    assert f"but got {seed}" in said


def test_all_wrong_settings_are_named_at_once(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "s.toml").write_text('effrt = 1.0\nseed = "one"\n[search]\nstrategy = "magic"\n')
    words = ("--settings", tmp_path / "s.toml", "--set", "nonsense", "--set", "serch.z=3")
    said = refused(capsys, *words, out=tmp_path / "run", code=2)
    for word in ("effrt", "seed", "search.strategy", "nonsense", "serch"):
        assert word in said
    assert all(len(line) < 300 for line in said.splitlines())


def test_a_place_that_holds_something_else_is_left_alone(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    before = sorted(folder.rglob("*"))
    assert "folder of its own" in refused(capsys, "--max-params", "60k", out=folder, code=2)
    assert sorted(folder.rglob("*")) == before
    file = folder / "dark" / "0.png"
    content = file.read_bytes()
    assert "cannot be written" in refused(capsys, "--max-params", "60k", out=file, code=1)
    assert file.read_bytes() == content
