"""A source of labelled images: names, labels, and a way to read the bytes of each. All else is alike for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vitesse.errors import VitesseError

# What a source says about the part of an image: the folder or split that it was found in.
FREE, TRAIN, VAL, TEST = -1, 0, 1, 2

# The names under which people keep given parts.
SPLIT_NAMES = {"train": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": TEST}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Source:
    """Images, not yet read; without labels `classes` is empty and all labels are 0.

    place: where they lie, for messages. labels: (N,) indices into `classes`. given: (N,) FREE, TRAIN, VAL or TEST.
    read: the encoded bytes of image i; it can be sent to worker processes. notes: what was left out.
    """

    place: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    given: npt.NDArray[np.int8]
    read: Callable[[int], bytes]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            raise VitesseError(f"{self.place} holds no images. Put the images of each class into a folder of its own.")
        if len(self.classes) == 1:
            raise VitesseError(
                f"{self.place} holds one class only ({self.classes[0]}), but at least two are needed. "
                "Put the images of each class into a folder of its own."
            )


def open_source(source: str, *, labelled: bool = True) -> Source:
    """Find out what `source` is ("digits", a folder of images, .tar shards, a Hugging Face dataset) and open it.

    labelled False: labels are not needed, so that a folder of images in any order will do, and those that are there are
    left out.
    """
    if labelled:
        return _open(source)
    path = Path(source)
    if path.is_dir() and not _is_structured(path):
        from vitesse.data.folder import open_unlabelled

        return open_unlabelled(path)
    found = _open(source)
    return replace(found, classes=(), labels=np.zeros_like(found.labels))


def _is_structured(path: Path) -> bool:
    from vitesse.data.shards import find_shards

    return _is_saved_dataset(path) or bool(find_shards(path))


def _is_saved_dataset(path: Path) -> bool:
    return path.is_dir() and any((path / name).is_file() for name in ("dataset_dict.json", "dataset_info.json"))


def _open(source: str) -> Source:
    if source == "digits":
        from vitesse.data.digits import open_digits

        return open_digits()
    path = Path(source)
    if not path.exists():
        raise VitesseError(
            f"{path} does not exist. Give 'digits', a folder with a folder for each class, or .tar shards."
        )
    if _is_saved_dataset(path):
        from vitesse.data.huggingface import open_huggingface

        return open_huggingface(path)
    from vitesse.data.folder import open_folder
    from vitesse.data.shards import find_shards, open_shards

    return open_shards(path) if find_shards(path) else open_folder(path)
