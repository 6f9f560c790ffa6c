from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch

from vitesse.cli import storing
from vitesse.cli.logits import VERBS
from vitesse.cli.main import run
from vitesse.distill.store import LogitStore
from vitesse.distill.store.making import store_size
from vitesse.saved import load_network, save_network

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def store(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "digits"
    assert (
        run(["logits", "write", "--teacher", str(model), "--data", "digits", "--epochs", "2", "--out", str(path)]) == 0
    )
    return path


@pytest.fixture
def copy(store: Path, tmp_path: Path) -> Path:
    """The store once more, to be harmed."""
    for path in store.rglob("*"):
        if path.is_file():
            (tmp_path / "copy" / path.relative_to(store)).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "copy" / path.relative_to(store)).write_bytes(path.read_bytes())
    return tmp_path / "copy"


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_teaches_itself_by_an_example(verb: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as end:
        run(["logits", verb, "--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert f"\n  vitesse logits {verb} " in said and f"usage: vitesse logits {verb} " in said


@pytest.mark.parametrize("arguments", [[], ["wrote"], ["info"], ["write", "--epochs", "3"], ["merge", "a"]])
def test_wrong_arguments_are_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run(["logits", *arguments])
    assert end.value.code == 2


def test_what_is_written_is_told(store: Path, capsys: Captured) -> None:
    assert run(["logits", "info", str(store), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    opened = LogitStore.open(store)
    assert (facts["records"], facts["written"], facts["complete"]) == (2 * opened.samples, 2 * opened.samples, True)
    assert (facts["bytes"], facts["bytes_per_record"]) == (store_size(opened.manifest), 40)
    assert facts["recipe"]["augment"]["rotate"] == 10.0 and facts["error"]["greatest"] < 2.5e-4
    assert run(["logits", "info", str(store)]) == 0
    assert "teacher.fingerprint" in capsys.readouterr().out


def test_it_is_sound_and_says_what_the_teacher_says(store: Path, capsys: Captured) -> None:
    assert run(["logits", "verify", str(store), "--sample", "50", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["faults"] == [] and found["sample"]["samples"] == 50 and found["sample"]["agrees"]


def test_another_teacher_is_named(store: Path, model: Path, tmp_path: Path, capsys: Captured) -> None:
    network = load_network(model)
    with torch.no_grad():
        network.head.classifier.bias[3] += 50
    save_network(network, tmp_path / "other.safetensors")
    teacher = ["--teacher", str(tmp_path / "other.safetensors")]
    assert run(["logits", "verify", str(store), "--sample", "50", *teacher]) == 1
    said = capsys.readouterr().err
    assert "must say what the teacher says" in said and "tolerance 0.0012" in said
    assert "its weights are not those" in said
    assert run(["logits", "verify", str(store), "--sample", "50", "--tolerance", "1", *teacher]) == 0


def test_damage_is_named_and_mended(copy: Path, model: Path, store: Path, capsys: Captured) -> None:
    path = copy / "epoch-00001" / "shard-00000.bin"
    sound = path.read_bytes()
    path.write_bytes(sound[:40_000] + b"?" + sound[40_001:])
    assert run(["logits", "verify", str(copy)]) == 1
    assert "epoch-00001/shard-00000, block 3 (samples 768 to 1023)" in capsys.readouterr().err
    path.unlink()
    assert run(["logits", "write", "--teacher", str(model), "--epochs", "2", "--out", str(copy)]) == 0
    assert path.read_bytes() == sound
    assert (copy / "manifest.json").read_bytes() == (store / "manifest.json").read_bytes()


def test_another_store_is_not_overwritten(copy: Path, model: Path, capsys: Captured) -> None:
    assert run(["logits", "write", "--teacher", str(model), "--epochs", "3", "--out", str(copy)]) == 2
    assert "epochs is 2, but 3 was asked for" in capsys.readouterr().err


@pytest.mark.parametrize(("answer", "code"), [(None, 2), ("n\n", 1), ("\n", 1), ("y\n", 0)])
def test_a_large_store_is_asked_about(
    model: Path, tmp_path: Path, answer: str | None, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return answer is not None

    monkeypatch.setattr(storing, "ASK_ABOVE", 1000)
    monkeypatch.setattr("sys.stdin", Terminal(answer or ""))
    command = [
        "logits",
        "write",
        "--teacher",
        str(model),
        "--epochs",
        "1",
        "--top",
        "2",
        "--out",
        str(tmp_path / "new"),
    ]
    assert run(command) == code
    said = capsys.readouterr().err
    assert "1169 views x 1 epochs x 8 bytes (2 of 10 classes): 9.46 kB" in said
    assert (tmp_path / "new" / "manifest.json").exists() == (code == 0)
    if code == 2:
        assert "Add --yes" in said
        assert run([*command, "--yes"]) == 0


def test_without_a_teacher_nothing_is_written(tmp_path: Path, capsys: Captured) -> None:
    assert run(["logits", "write", "--epochs", "1", "--out", str(tmp_path / "new")]) == 2
    assert "Give --teacher" in capsys.readouterr().err


@pytest.mark.parametrize("epochs", ["0", "x", "3:2", "-1:2", "1:x", ":"])
def test_epochs_are_a_number_or_a_range(epochs: str, tmp_path: Path, capsys: Captured) -> None:
    assert run(["logits", "write", "--teacher", "x", f"--epochs={epochs}", "--out", str(tmp_path / "new")]) == 2
    assert "30:60" in capsys.readouterr().err


def test_machines_write_epochs_of_their_own(model: Path, store: Path, tmp_path: Path, capsys: Captured) -> None:
    parts = [str(tmp_path / "first"), str(tmp_path / "second")]
    for part, epochs in zip(parts, ("0:1", "1:2"), strict=True):
        assert run(["logits", "write", "--teacher", str(model), "--epochs", epochs, "--out", part]) == 0
    assert run(["logits", "merge", *parts, "--out", str(tmp_path / "all")]) == 0
    assert "Next: vitesse logits verify" in capsys.readouterr().err
    for name in ("epoch-00001/shard-00000.bin", "manifest.json"):
        assert (tmp_path / "all" / name).read_bytes() == (store / name).read_bytes()


def test_convert_there_and_back(tmp_path: Path, capsys: Captured) -> None:
    golden = json.loads((Path(__file__).parents[1] / "golden" / "tinyvit_logit_store_A.json").read_text())
    for name, held in golden["files"].items():
        (tmp_path / "published" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "published" / name).write_bytes(bytes.fromhex(held["hex"]))
    there = ["logits", "convert", str(tmp_path / "published"), "--out", str(tmp_path / "store")]
    assert run(there) == 2 and "Give --classes" in capsys.readouterr().err
    assert run([*there, "--classes", "10", "--teacher", "clip"]) == 0
    assert run(["logits", "verify", str(tmp_path / "store")]) == 0
    assert run(["logits", "verify", str(tmp_path / "store"), "--sample", "2"]) == 2
    assert run(["logits", "convert", str(tmp_path / "store"), "--out", str(tmp_path / "back")]) == 0
    for name in golden["files"]:
        assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "published" / name).read_bytes()
    assert run(["logits", "convert", str(tmp_path), "--out", str(tmp_path / "x"), "--classes", "10"]) == 2
