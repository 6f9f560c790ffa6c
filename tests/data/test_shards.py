import gzip
import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from vitesse.data.shards import open_shards
from vitesse.data.source import FREE, TRAIN, VAL
from vitesse.errors import VitesseError


def write_shard(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 20), (seed, 255 - seed, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def samples(numbers: list[int], *, first: int = 0) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for place, number in enumerate(numbers):
        members[f"{first + place:05d}.png"] = png(first + place)
        members[f"{first + place:05d}.cls"] = str(number).encode()
    return members


def test_samples_are_read_at_their_place(tmp_path: Path) -> None:
    write_shard(tmp_path / "b.tar", samples([1, 0], first=2))
    write_shard(tmp_path / "a.tar", samples([0, 1]))
    source = open_shards(tmp_path)
    assert source.names == ("a.tar/00000", "a.tar/00001", "b.tar/00002", "b.tar/00003")
    assert source.labels.tolist() == [0, 1, 1, 0]
    assert [source.read(place) for place in (3, 0)] == [png(3), png(0)]
    assert set(source.given.tolist()) == {FREE}


def test_one_file_with_names_beside_it(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "only.tar", samples([2, 0, 2]))
    (tmp_path / "classes.txt").write_text("cat\ndog\ncow\n")
    source = open_shards(shard)
    assert source.classes == ("cat", "dog", "cow")
    assert source.labels.tolist() == [2, 0, 2]


def test_without_names_the_numbers_are_the_names(tmp_path: Path) -> None:
    source = open_shards(write_shard(tmp_path / "x.tar", samples([7, 3, 7])))
    assert (source.classes, source.labels.tolist()) == (("3", "7"), [1, 0, 1])


def test_given_parts(tmp_path: Path) -> None:
    write_shard(tmp_path / "train" / "x.tar", samples([0, 1]))
    write_shard(tmp_path / "val" / "x.tar", samples([0, 1], first=2))
    assert open_shards(tmp_path).given.tolist() == [TRAIN, TRAIN, VAL, VAL]


def test_incomplete_samples_are_counted(tmp_path: Path) -> None:
    members = samples([0, 1]) | {"lonely.png": png(9), "wordless.cls": b"1", "x.json": b"{}"}
    source = open_shards(write_shard(tmp_path / "x.tar", members))
    assert len(source.names) == 2
    assert source.notes == ("3 samples lack an image or a .cls and were left out.",)


def test_keys_in_folders_and_with_points(tmp_path: Path) -> None:
    members = {"a/1.png": png(0), "a/1.cls": b"0", "b/1.seg.png": png(1), "b/1.PNG": png(2), "b/1.cls": b"1\n"}
    source = open_shards(write_shard(tmp_path / "x.tar", members))
    assert source.labels.tolist() == [0, 1]
    assert source.read(1) == png(2)


def test_faults_are_named(tmp_path: Path) -> None:
    whole = write_shard(tmp_path / "x.tar", samples([0, 1])).read_bytes()
    (tmp_path / "x.tar").write_bytes(whole[:1700])
    with pytest.raises(VitesseError, match=r"x\.tar cannot be indexed"):
        open_shards(tmp_path)
    (tmp_path / "x.tar").write_bytes(gzip.compress(whole))
    with pytest.raises(VitesseError, match="unpack its compression"):
        open_shards(tmp_path)
    write_shard(tmp_path / "x.tar", {"a.png": png(0), "a.cls": b"cat"})
    with pytest.raises(VitesseError, match=r"a\.cls must hold the number of a class, but holds b'cat'"):
        open_shards(tmp_path)
    write_shard(tmp_path / "x.tar", samples([0, 5]))
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(VitesseError, match="names 2 classes, but the shards hold class 0 to 5"):
        open_shards(tmp_path)
