from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vitesse.errors import VitesseError
from vitesse.runs.files import atomic_path, read_json, write_json, write_text


def test_a_file_appears_whole(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a" / "model.onnx") as draft:
        assert draft.suffix == ".onnx"
        draft.write_text("x")
        assert not (tmp_path / "a" / "model.onnx").exists()
    assert [item.name for item in (tmp_path / "a").iterdir()] == ["model.onnx"]


def fail(draft: Path) -> None:
    draft.write_text("half")
    raise OSError(errno.EIO, "gone")


def test_after_a_failure_the_old_file_stands(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(OSError, match="gone"), atomic_path(tmp_path / "a") as draft:
        fail(draft)
    assert (tmp_path / "a").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("code", "word"), [(errno.ENOSPC, "No space"), (errno.EROFS, "cannot be written")])
def test_what_a_user_can_mend_is_said(code: int, word: str, tmp_path: Path) -> None:
    with pytest.raises(VitesseError, match=word), atomic_path(tmp_path / "a"):
        raise OSError(code, "reason")


def test_other_errors_stay_themselves(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="reason"), atomic_path(tmp_path / "a"):
        raise OSError(errno.EIO, "reason")


def test_json_goes_there_and_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, "ü"]})
    assert read_json(tmp_path / "a.json") == {"b": [1, "ü"]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert read_json(tmp_path / "a.json") == {"b": [1, "ü"]}


def test_a_missing_or_damaged_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(VitesseError, match="does not exist"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(VitesseError, match="cannot be read as JSON"):
        read_json(tmp_path / "a.json")


def test_a_full_disk_is_told_in_whatever_words_a_writer_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitesse.runs.files._full", lambda folder: True)
    with pytest.raises(VitesseError, match="No space"), atomic_path(tmp_path / "a"):
        raise RuntimeError("unexpected pos 64 vs 0")


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_files_get_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "a") as draft:
            draft.touch(mode=0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
