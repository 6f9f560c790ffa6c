"""Images in folders: a folder for each class, with or without `train/`, `val/` and `test/` above them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vitesse.data.source import FREE, SPLIT_NAMES, TRAIN, Source
from vitesse.errors import VitesseError


@dataclass(frozen=True, slots=True)
class _Files:
    root: str
    names: tuple[str, ...]

    def __call__(self, index: int) -> bytes:
        return Path(self.root, self.names[index]).read_bytes()


def open_folder(root: Path) -> Source:
    """List the images below `root`; files that are no images by their ending are left out, counted and said."""
    if not any(child.is_dir() for child in _visible(root)):
        raise VitesseError(
            f"{root} holds no class folders. Put the images of each class into a folder of its own there."
        )
    endings = image_endings()
    found: list[tuple[str, str, int]] = []  # (name, class, given part)
    others = sum(child.is_file() for child in _visible(root))
    empty = []
    for part, top in _parts(root).items():
        for folder in sorted(child for child in _visible(top) if child.is_dir()):
            files = sorted(_files(folder))
            images = [file for file in files if os.path.splitext(file)[1].lower() in endings]
            others += len(files) - len(images)
            if not images:
                empty.append(str(folder))
            found.extend((os.path.relpath(file, root), folder.name, part) for file in images)
    if empty and found:
        raise VitesseError(f"No image in the class folder {empty[0]}. Put images there, or remove the folder.")
    classes = tuple(sorted({kind for _, kind, _ in found}))
    number = {kind: index for index, kind in enumerate(classes)}
    names = tuple(name for name, _, _ in found)
    note = f"{others} files are no images of a class folder and were left out."
    return Source(
        place=str(root),
        classes=classes,
        names=names,
        labels=np.array([number[kind] for _, kind, _ in found], np.int64),
        given=np.array([part for _, _, part in found], np.int8),
        read=_Files(str(root), names),
        notes=(note,) if others else (),
    )


def open_unlabelled(root: Path) -> Source:
    """List all images below `root`, whatever their folders are called; other files are left out, counted and said."""
    endings = image_endings()
    files = sorted(os.path.relpath(file, root) for file in _files(root))
    names = tuple(file for file in files if os.path.splitext(file)[1].lower() in endings)
    others = len(files) - len(names)
    return Source(
        place=str(root),
        classes=(),
        names=names,
        labels=np.zeros(len(names), np.int64),
        given=np.full(len(names), FREE, np.int8),
        read=_Files(str(root), names),
        notes=(f"{others} files are no images and were left out.",) if others else (),
    )


def image_endings() -> frozenset[str]:
    """The file endings (".jpg", ...) of the formats that Pillow can read."""
    Image.init()
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN)


def _parts(root: Path) -> dict[int, Path]:
    """The folders to look for classes in: `root` itself, or the given parts in it."""
    # A class may be called "train" too; then it holds images, not folders.
    parts = {
        SPLIT_NAMES[child.name.lower()]: child
        for child in sorted(_visible(root))
        if child.name.lower() in SPLIT_NAMES and child.is_dir() and any(inner.is_dir() for inner in _visible(child))
    }
    if not parts:
        return {FREE: root}
    if TRAIN not in parts:
        raise VitesseError(f"{root} holds {', '.join(p.name for p in parts.values())} but no train folder. Add train/.")
    return {FREE: parts[TRAIN]} if len(parts) == 1 else parts


def _visible(folder: Path) -> Iterator[Path]:
    return (child for child in folder.iterdir() if not child.name.startswith("."))


def _files(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(place, file) for file in files if not file.startswith("."))
