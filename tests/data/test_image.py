import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitesse.data.image import decode, header, open_image
from vitesse.errors import VitesseError

Noise = Callable[..., Image.Image]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [
        ("RGB", "JPEG", "RGB"),
        ("RGB", "WEBP", "RGB"),
        ("RGBA", "PNG", "RGB"),
        ("P", "PNG", "RGB"),
        ("P", "GIF", "RGB"),
        ("CMYK", "JPEG", "RGB"),
        ("L", "PNG", "L"),
        ("LA", "PNG", "L"),
        ("1", "PNG", "L"),
        ("RGB", "BMP", "RGB"),
        ("CMYK", "TIFF", "RGB"),
    ],
)
def test_every_format_becomes_grey_or_colour(mode: str, kind: str, expected: str, noise: Noise) -> None:
    picture = decode(encoded(noise(0).convert(mode), kind), "x")
    assert (picture.mode, picture.size) == (expected, (24, 20))


def test_sixteen_bits_are_scaled_not_cut() -> None:
    deep = np.array([[0, 257, 32896, 65535]], np.uint16)
    data = encoded(Image.fromarray(deep), "PNG")
    assert np.asarray(decode(data, "x")).tolist() == [[0, 1, 128, 255]]
    assert header(data, "x") == (4, 1, True)


def test_transparency_is_laid_on_white() -> None:
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    picture.putpixel((1, 0), (10, 20, 30, 255))
    assert list(np.asarray(decode(encoded(picture, "PNG"), "x"))[0].tolist()) == [[255, 255, 255], [10, 20, 30]]


def test_a_transparent_palette_colour_is_white() -> None:
    picture = Image.new("P", (2, 1), 0)
    picture.putpalette([0, 0, 0, 9, 8, 7])
    picture.putpixel((1, 0), 1)
    assert np.asarray(decode(encoded(picture, "PNG", transparency=0), "x")).tolist() == [[[255] * 3, [9, 8, 7]]]


def test_the_orientation_of_exif_is_applied(noise: Noise) -> None:
    picture = noise(1)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    upright = decode(encoded(picture, "PNG", exif=exif), "x")
    assert np.array_equal(np.asarray(upright), np.rot90(np.asarray(picture), -1))


def test_float_images_are_refused_with_the_mend() -> None:
    with pytest.raises(VitesseError, match="save it with 8 or 16 bits"):
        decode(encoded(Image.new("F", (2, 2), 0.5), "TIFF"), "x")


def test_damaged_bytes_are_named(noise: Noise) -> None:
    for data in (b"", b"not an image", encoded(noise(2), "PNG")[:200], encoded(noise(2), "JPEG")[:300]):
        with pytest.raises(VitesseError, match=r"cat\.png is no readable image"):
            decode(data, "cat.png")


@pytest.mark.parametrize("factor", [1.5, 3.0])
def test_a_bomb_is_refused_where_pillow_only_warns_too(
    factor: float, monkeypatch: pytest.MonkeyPatch, noise: Noise
) -> None:
    data = encoded(noise(0), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(480 / factor))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for read in (decode, header):
            with pytest.raises(VitesseError, match="pixels"):
                read(data, "x")


def test_open_image_says_what_is_wrong(tmp_path: Path, noise: Noise) -> None:
    noise(0).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").size == (24, 20)
    with pytest.raises(VitesseError, match="missing"):
        open_image(tmp_path / "b.png")
    with pytest.raises(VitesseError, match="a folder"):
        open_image(tmp_path)
    (tmp_path / "c.png").write_bytes(b"PNG?")
    with pytest.raises(VitesseError, match=r"c\.png is no readable image: its format is not known"):
        open_image(tmp_path / "c.png")
