"""One image, from bytes to an upright 8-bit picture, grey ("L") or colour ("RGB"), whatever format it came in."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from vitesse.errors import VitesseError

_GREY_MODES = ("1", "L", "LA", "La")


def open_image(path: Path | str) -> Image.Image:
    """Open an image file upright, mode "L" or "RGB", eight bits; VitesseError where it is missing or unreadable."""
    file = Path(path)
    if not file.is_file():
        raise VitesseError(f"{file} is {'a folder, not an image' if file.is_dir() else 'missing'}. Give an image file.")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise VitesseError(f"{file} cannot be read: {error.strerror}.") from error
    return decode(data, str(file))


def decode(data: bytes, name: str) -> Image.Image:
    """Decode an encoded image, mode "L" or "RGB"; VitesseError, naming it, where it is damaged or too large to trust.

    The orientation of EXIF is applied, transparency is laid on white, 16 bits are brought to 8, only the first frame is
    taken.
    """
    try:
        return load(_open(data))
    # Pillow's readers raise almost any error on damaged bytes; whichever it is, this image cannot be read.
    except Exception as error:
        raise VitesseError(f"{name} is no readable image: {reason(error)}.") from error


def load(image: Image.Image) -> Image.Image:
    """Decode an image that Pillow has opened, as `decode` does; whatever error Pillow's reader raises is left as it is."""
    image.load()
    upright: Image.Image = ImageOps.exif_transpose(image)
    return _eight_bit(upright)


def header(data: bytes, name: str) -> tuple[int, int, bool]:
    """Read width, height (as stored) and whether the image is grey, without decoding it; VitesseError as `decode`."""
    try:
        image = _open(data)
        return image.width, image.height, is_grey(image)
    except Exception as error:
        raise VitesseError(f"{name} is no readable image: {reason(error)}.") from error


def is_grey(image: Image.Image) -> bool:
    """Whether the image's mode holds no colour."""
    return image.mode in _GREY_MODES or image.mode.startswith("I")


def reason(error: Exception) -> str:
    """What Pillow says is wrong with an image, for a reader who has the image and not the program."""
    text = str(error) or type(error).__name__
    # Pillow names the buffer that it was given, which tells a reader nothing.
    return "its format is not known to Pillow" if "cannot identify image file" in text else text.rstrip(".")


def _open(data: bytes) -> Image.Image:
    if not data:
        raise ValueError("the file is empty")
    image = Image.open(io.BytesIO(data))
    limit = Image.MAX_IMAGE_PIXELS
    # Pillow itself only warns between one and two times its limit.
    if limit is not None and image.width * image.height > limit:
        raise Image.DecompressionBombError(f"{image.width}x{image.height} pixels exceed the limit of {limit}")
    return image


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        deep = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((deep + 128) // 257).astype(np.uint8))  # 65535 = 257 * 255
    if image.mode == "F":
        raise ValueError("it holds floating-point numbers, whose range is unknown; save it with 8 or 16 bits")
    grey = is_grey(image)
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
    return image.convert("L" if grey else "RGB")
