from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vitesse.data.folder import open_folder
from vitesse.data.image import open_image
from vitesse.data.preprocess import Preprocess, to_square
from vitesse.data.reading import decode_all, read_headers, refuse_corrupt
from vitesse.errors import VitesseError

PREPROCESS = Preprocess(size=(16, 16))


def test_headers_tell_sizes_and_faults(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 2, "dog": 2})
    (root / "dog" / "000.png").write_bytes(b"")
    headers = read_headers(open_folder(root), threads=2)
    assert headers.shorter.tolist() == [20, 20, 0, 20]
    assert len(set(headers.digests)) == 4 and headers.digests[2] == b""
    assert list(headers.corrupt) == [2] and "the file is empty" in headers.corrupt[2]
    assert not headers.grey


def test_a_file_that_vanishes_is_corrupt(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 2, "dog": 2})
    source = open_folder(root)
    (root / "cat" / "001.png").unlink()
    assert "001.png cannot be read: No such file" in read_headers(source, threads=1).corrupt[1]


def test_squares_stand_at_their_image(make_folder: Callable[..., Path]) -> None:
    source = open_folder(make_folder({"cat": 2, "dog": 2}))
    squares, digests, corrupt = decode_all(source, [0, 3], PREPROCESS, keep=True, threads=2)
    assert squares is not None
    assert torch.equal(squares[3], to_square(open_image(Path(source.place, source.names[3])), PREPROCESS))
    assert squares[1].max() == 0 and sorted(digests) == [0, 3] and not corrupt
    assert decode_all(source, [0], PREPROCESS, keep=False, threads=0)[0] is None


def test_the_limit_is_a_share(make_folder: Callable[..., Path]) -> None:
    source = open_folder(make_folder({"cat": 5, "dog": 5}))
    assert refuse_corrupt({}, source, limit=0.0) == ()
    assert len(refuse_corrupt({1: "x is broken"}, source, limit=0.1)) == 1
    with pytest.raises(VitesseError, match=r"2 of 10[\s\S]*x is broken[\s\S]*raise max_corrupt"):
        refuse_corrupt({1: "x is broken", 2: "y"}, source, limit=0.1)
