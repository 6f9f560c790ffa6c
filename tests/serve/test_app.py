"""What the service answers: the same as `vitesse predict`, and refusals that harm nobody."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vitesse.cli.main import run

Picture = Callable[..., bytes]
PNG = {"content-type": "image/png"}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A grey PNG of whatever size its header states."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def black(width: int, height: int) -> bytes:
    """A sound picture that takes a thousandth of its pixels."""
    return png(width, height, chunk(b"IDAT", zlib.compress(bytes((width + 1) * height), 9)))


FIELD = b"Content-Disposition: form-data"
TEXT_BOMB = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000), 9))
HOSTILE = {
    "empty": (b"", 400, "empty"),
    "text": (b"hello", 415, "no picture of JPEG"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "no picture"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", 415, "no picture"),
    "billion pixels": (png(1 << 15, 1 << 15), 413, "at most 1000000 are taken"),
    "more pixels than Pillow warns of": (png(1500, 1000), 413, "1500 x 1000"),
    "pixel bomb": (black(4000, 4000), 413, "1000000 are taken"),
    "text bomb": (png(8, 8, TEXT_BOMB), 400, "damaged"),
    "too long": (black(20_000, 1), 413, "Resized"),
    "far too long": (black(1_900_000, 1), 413, "too long for its width"),
    "no pixels": (png(8, 8), 400, "damaged"),
    "zero pixels": (png(0, 8), 415, "damaged"),
    "large": (bytes(200_001), 413, "larger than 200000 bytes"),
}


@pytest.fixture
def files(tmp_path: Path, picture: Picture) -> dict[str, bytes]:
    """Pictures of several formats and kinds, which `vitesse predict` can read from the disk, too."""
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.open(io.BytesIO(picture(7, (30, 50)))).save(turned, "JPEG", exif=exif)
    clear = io.BytesIO()
    Image.open(io.BytesIO(picture(8))).convert("LA").save(clear, "WEBP")
    found = {"a.png": picture(1), "b.jpg": picture(2, (33, 21), "JPEG"), "c.gif": picture(3, kind="GIF")}
    found |= {"d.jpg": turned.getvalue(), "e.webp": clear.getvalue()}
    for name, data in found.items():
        (tmp_path / name).write_bytes(data)
    return found


def predicted(folder: Path, paths: list[Path], capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert run(["predict", str(folder), *map(str, paths), "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_it_answers_as_predict_does(
    client: Any, folder: Path, files: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = predicted(folder, [tmp_path / name for name in files], capsys)
    assert len({json.dumps(one["classes"]) for one in expected}) == len(files)  # they can be told apart
    for data, wanted in zip(files.values(), expected, strict=True):
        answer = client.post("/predict", content=data, headers={"content-type": "image/*"})
        assert answer.status_code == 200
        assert answer.json() == [{"image": None, "classes": wanted["classes"]}]
    together = client.post("/predict", files=[("image", item) for item in files.items()]).json()
    assert [one["image"] for one in together] == list(files)
    for one, wanted in zip(together, expected, strict=True):
        assert [guess["name"] for guess in one["classes"]] == [guess["name"] for guess in wanted["classes"]]
        found = [guess["probability"] for guess in one["classes"]]
        assert found == pytest.approx([guess["probability"] for guess in wanted["classes"]], rel=1e-5)


def test_more_images_than_a_batch_keep_their_order(service: Any, picture: Picture) -> None:
    bodies = [picture(seed) for seed in range(40)]
    with service(max_batch=3, decode_workers=2) as client:
        alone = [client.post("/predict", content=body, headers=PNG).json()[0] for body in bodies]
        together = client.post("/predict", files=[("i", (str(at), body)) for at, body in enumerate(bodies)]).json()
        sizes = client.get("/metrics").text
    assert [one["image"] for one in together] == [str(at) for at in range(40)]
    for one, other in zip(together, alone, strict=True):
        assert [guess["name"] for guess in one["classes"]] == [guess["name"] for guess in other["classes"]]
    assert "vitesse_batch_images_sum 80.0" in sizes
    assert 'vitesse_batch_images_bucket{le="4.0"} ' + count(sizes, "vitesse_batch_images_count") in sizes


def count(text: str, name: str) -> str:
    return next(line.split()[-1] for line in text.splitlines() if line.startswith(f"{name} "))


def test_top_says_how_many_classes(client: Any, picture: Picture) -> None:
    assert len(client.post("/predict", content=picture(), headers=PNG).json()[0]["classes"]) == 3
    answer = client.post("/predict?top=999", content=picture(), headers=PNG).json()[0]["classes"]
    assert {one["name"] for one in answer} == {"zero", "eins", "zwölf <b>", "quatre"}
    assert sum(one["probability"] for one in answer) == pytest.approx(1)
    for wrong in ("0", "-1", "1.5", "x", "", "9" * 5000, "²"):
        refused = client.post("/predict", params={"top": wrong}, content=picture(), headers=PNG)
        assert refused.status_code == 400 and "at least 1" in refused.json()["error"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_are_refused(name: str, client: Any, picture: Picture) -> None:
    body, status, word = HOSTILE[name]
    for sent in ({"content": body, "headers": PNG}, {"files": {"image": ("bad.png", body)}}):
        answer = client.post("/predict", **sent)
        assert (answer.status_code, list(answer.json())) == (status, ["error"])
        assert word in answer.json()["error"]
    assert client.post("/predict", content=picture(), headers=PNG).status_code == 200
    assert "vitesse_decoders_replaced_total 0.0" in client.get("/metrics").text


def test_truncated_pictures_are_refused_wherever_they_end(client: Any, picture: Picture) -> None:
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        whole = picture(0, (40, 40), kind)
        assert client.post("/predict", content=whole, headers=PNG).status_code == 200
        for end in (3, 20, len(whole) // 2):
            answer = client.post("/predict", content=whole[:end], headers=PNG)
            assert answer.status_code in (400, 415), (kind, end, answer.text)


def test_one_bad_file_is_named(client: Any, picture: Picture) -> None:
    files = [("i", ("good.png", picture())), ("i", ("bad.png", b"x")), ("i", ("worse.png", b""))]
    answer = client.post("/predict", files=files[:2])
    assert answer.status_code == 415 and answer.json()["error"].startswith("bad.png: ")
    answer = client.post("/predict", files=files)
    assert answer.status_code == 400 and answer.json()["error"].startswith("worse.png: ")


@pytest.mark.parametrize(
    ("kind", "body", "status", "word"),
    [
        ("text/plain", b"hello", 415, "text/plain is no picture"),
        ("application/x-www-form-urlencoded", b"a=b", 415, "curl -F"),
        ("multipart/form-data", b"hello", 400, "boundary"),
        ("multipart/form-data; boundary=x", b"hello", 400, "form"),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 400, "no file"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + FIELD + b"\r\n\r\n1\r\n--x--\r\n", 400, "form"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + FIELD + b'; name="a"\r\n\r\n1\r\n--x--\r\n', 400, "'a'"),
    ],
)
def test_other_bodies_are_refused(kind: str, body: bytes, status: int, word: str, client: Any) -> None:
    answer = client.post("/predict", content=body, headers={"content-type": kind})
    assert answer.status_code == status and word in answer.json()["error"]


def test_the_other_addresses(client: Any, picture: Picture) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    card = client.get("/card").json()
    assert card["name"] == "tiny" and card["classes"][1] == "eins" and card["readme"] == "# tiny\n"
    assert card["preprocess"]["size"] == [8, 8] and card["limits"]["max_body"] == 200_000
    assert card["architecture"]["stages"][0]["dim"] == 8
    client.post("/predict", content=picture(), headers=PNG)
    metrics = client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    for word in ('vitesse_requests_total{status="200"}', "vitesse_request_seconds_count", "vitesse_images_taken 0.0"):
        assert word in metrics.text
    assert client.get("/nothing").status_code == 404 and "error" in client.get("/nothing").json()
    assert client.get("/predict").status_code == 405 and client.get("/predict").headers["allow"] == "POST"


def test_the_page_needs_nothing_beside_it(client: Any) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<h1>tiny</h1>" in page.text and "4 classes" in page.text
    assert "http" not in page.text.replace("http-equiv", "")
