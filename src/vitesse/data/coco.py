"""Pictures with boxes and masks, as COCO's JSON files name them; whatever is wrong in a file is said with its place.

https://cocodataset.org/#format-data describes the format.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vitesse.data.replay import Stream, permutation
from vitesse.errors import UsageError, VitesseError
from vitesse.runs.files import read_json

ANNOTATIONS, IMAGES = "annotations.json", "images"


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoSettings:
    """Which pictures, and how they are divided.

    source: a folder with train/ and val/, each with annotations.json and images/; one with annotations.json and images/,
    of which the share `val_fraction` is drawn with `seed` to be examined; or COCO's own (annotations/instances_train*.json
    beside the folders of pictures). workers: processes that decode.
    """

    source: str = ""
    val_fraction: float = 0.2
    seed: int = 0
    workers: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.val_fraction < 1:
            raise UsageError(f"val_fraction must be above 0 and below 1, but got {self.val_fraction}.")
        if self.workers < 0:
            raise UsageError(f"workers must not be negative, but got {self.workers}.")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Marked:
    """What is marked on one picture of n objects.

    id, name: of the picture, as its file has them. size: (height, width) as the file says. boxes: (n, 4) float32, x1, y1,
    x2, y2 in pixels. labels: (n,) indices into the classes. crowd: (n,) whether an entry marks a group, which is examined
    but not learned. areas: (n,) square pixels. outlines: polygons, or run lengths, or None, as the file has them.
    """

    id: int
    name: str
    size: tuple[int, int]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    areas: npt.NDArray[np.float32]
    outlines: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CocoPart:
    """Pictures of one file: where they lie, what is marked on each, and the names of the classes."""

    images: Path
    pictures: tuple[Marked, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pictures)

    def require_masks(self) -> None:
        """VitesseError unless every object has an outline, as a detector of masks needs."""
        bare = [one.name for one in self.pictures if any(outline is None for outline in one.outlines)]
        if bare:
            raise VitesseError(
                f"Masks are learned from outlines, but {len(bare)} pictures in {self.images} have objects without a "
                f"segmentation, such as {bare[0]}. Add them, or take --detector retinanet."
            )


def load_coco(settings: CocoSettings) -> tuple[CocoPart, CocoPart]:
    """The pictures to learn from and those to be examined on; of the first only those on which something is marked.

    VitesseError, with file and field, where something is missing or malformed.
    """
    root = Path(settings.source)
    if not settings.source or not root.is_dir():
        raise UsageError(
            f"Detection learns from a folder with {ANNOTATIONS} and {IMAGES}/, or with train/ and val/ of that kind, but "
            f"{settings.source or 'nothing'} is none. Give --data."
        )
    given = _given(root)
    if given is None:
        whole = read_coco(root / ANNOTATIONS, root / IMAGES)
        order = permutation(settings.seed, 0, len(whole), stream=Stream.SPLIT)
        count = min(max(1, round(settings.val_fraction * len(whole))), len(whole) - 1)
        learn, exam = (_some(whole, sorted(rows)) for rows in (order[count:], order[:count]))
    else:
        learn, exam = (read_coco(*place) for place in given)
        if learn.classes != exam.classes:
            raise VitesseError(
                f"Both files must name the same categories, but {given[0][0]} has {', '.join(learn.classes)} and "
                f"{given[1][0]} has {', '.join(exam.classes)}. Use one list of categories."
            )
    kept = [row for row, one in enumerate(learn.pictures) if (~one.crowd).any()]
    if not kept or not len(exam):
        raise VitesseError(f"{root} must mark objects on two pictures at least. Add pictures or annotations.")
    if (bare := len(learn) - len(kept)) > 0:
        learn = replace(learn, notes=(*learn.notes, f"{bare} pictures to learn from show no object and are left out."))
    return _some(learn, kept), exam


def read_coco(file: Path, images: Path) -> CocoPart:
    """One file of annotations, with the folder of its pictures; VitesseError where anything is not as COCO has it."""
    whole = _Entry(str(file), read_json(file)).table()
    if not images.is_dir():
        raise VitesseError(f"The pictures of {file} must lie in {images}, but that is no folder.")
    kinds = sorted(whole.entries("categories"), key=lambda one: one.integer("id"))
    places = {one.integer("id"): place for place, one in enumerate(kinds)}
    names = tuple(one.text("name") for one in kinds)
    if not names or len(places) < len(names) or len(set(names)) < len(names):
        raise VitesseError(f"{file}: categories must have an id and a name each, none of them twice, and at least one.")
    pictures = {one.integer("id"): one for one in whole.entries("images")}
    objects: dict[int, list[_Object]] = {number: [] for number in pictures}
    empty = 0
    for one in whole.entries("annotations"):
        number = one.integer("image_id")
        if number not in objects:
            raise VitesseError(f"{one.where}.image_id must be the id of an image, but {number} is none.")
        found = _object(one, places, pictures[number])
        empty += found is None
        objects[number] += [] if found is None else [found]
    notes = (f"{empty} boxes of {file} have no area within their picture and are left out.",) if empty else ()
    marked = tuple(_marked(one, objects[number], images) for number, one in pictures.items())
    return CocoPart(images=images, pictures=marked, classes=names, notes=notes)


def _given(root: Path) -> tuple[tuple[Path, Path], tuple[Path, Path]] | None:
    """Files and folders of parts that the source gives; None where there is one file to be divided."""
    if (root / "train" / ANNOTATIONS).is_file():
        train, val = root / "train", root / "val"
        return (train / ANNOTATIONS, train / IMAGES), (val / ANNOTATIONS, val / IMAGES)
    instances = sorted((root / "annotations").glob("instances_train*.json"))
    if instances:
        year = instances[0].stem.removeprefix("instances_train")
        first, second = (root / "annotations" / f"instances_{part}{year}.json" for part in ("train", "val"))
        return (first, root / f"train{year}"), (second, root / f"val{year}")
    return None


def _some(part: CocoPart, rows: Sequence[int]) -> CocoPart:
    return replace(part, pictures=tuple(part.pictures[row] for row in rows))


@dataclass(frozen=True, slots=True)
class _Object:
    """One annotation: box x1, y1, x2, y2; label; crowd; area; outline."""

    box: tuple[float, float, float, float]
    label: int
    crowd: bool
    area: float
    outline: Any


def _object(one: _Entry, places: Mapping[int, int], picture: _Entry) -> _Object | None:
    """An annotation, its box cut to the picture; None where nothing is left of it."""
    category = one.integer("category_id")
    if category not in places:
        raise VitesseError(f"{one.where}.category_id must be the id of a category, but {category} is none.")
    x, y, wide, high = one.numbers("bbox", 4)
    if wide < 0 or high < 0:
        raise VitesseError(f"{one.where}.bbox must be x, y, width and height in pixels, but got {[x, y, wide, high]}.")
    box = max(x, 0.0), max(y, 0.0), min(x + wide, picture.integer("width")), min(y + high, picture.integer("height"))
    if box[2] - box[0] < 1 or box[3] - box[1] < 1:
        return None
    area = float(one.value["area"]) if isinstance(one.value.get("area"), int | float) else wide * high
    return _Object(box, places[category], bool(one.value.get("iscrowd", 0)), area, _outline(one))


def _outline(one: _Entry) -> Any:
    """The segmentation as it stands, once it is sure that it is polygons or run lengths; None where there is none."""
    found = one.value.get("segmentation")
    if found is None or found == []:
        return None
    where = f"{one.where}.segmentation"
    if isinstance(found, list):
        if all(isinstance(ring, list) and len(ring) >= 6 and len(ring) % 2 == 0 for ring in found):
            return found
        raise VitesseError(f"{where} must be polygons of x, y, x, y, ... with three corners or more.")
    if not (
        isinstance(found, dict) and isinstance(found.get("counts"), list | str) and len(found.get("size", ())) == 2
    ):
        raise VitesseError(f"{where} must be polygons, or run lengths with size and counts.")
    return found


def _marked(picture: _Entry, objects: Sequence[_Object], images: Path) -> Marked:
    name = picture.text("file_name")
    if not (images / name).is_file():
        raise VitesseError(f"{picture.where}.file_name is {name}, but {images / name} does not exist.")
    return Marked(
        id=picture.integer("id"),
        name=name,
        size=(picture.integer("height"), picture.integer("width")),
        boxes=np.array([one.box for one in objects], np.float32).reshape(-1, 4),
        labels=np.array([one.label for one in objects], np.int64),
        crowd=np.array([one.crowd for one in objects], np.bool_),
        areas=np.array([one.area for one in objects], np.float32),
        outlines=tuple(one.outline for one in objects),
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """A value of the file and where it stands, so that what is wrong can be named."""

    where: str
    value: Any

    def table(self) -> _Entry:
        """Itself, once it is sure that it is an object."""
        if not isinstance(self.value, dict):
            raise VitesseError(f"{self.where} must be a JSON object, but is {_kind(self.value)}.")
        return self

    def entries(self, key: str) -> list[_Entry]:
        """The objects of a list."""
        found = self.value.get(key)
        if not isinstance(found, list):
            raise VitesseError(f"{self.where}: {key} must be a list, but is {_kind(found)}.")
        return [_Entry(f"{self.where}: {key}[{place}]", one).table() for place, one in enumerate(found)]

    def integer(self, key: str) -> int:
        """A whole number."""
        found = self.value.get(key)
        if type(found) is not int:
            raise VitesseError(f"{self.where}.{key} must be a whole number, but is {_kind(found)}.")
        return found

    def text(self, key: str) -> str:
        """Text that is not empty."""
        found = self.value.get(key)
        if not isinstance(found, str) or not found:
            raise VitesseError(f"{self.where}.{key} must be text, but is {_kind(found)}.")
        return found

    def numbers(self, key: str, count: int) -> list[float]:
        """So many finite numbers."""
        found = self.value.get(key)
        sound = isinstance(found, list) and len(found) == count
        if not sound or not all(type(one) in (int, float) and math.isfinite(one) for one in found):
            raise VitesseError(f"{self.where}.{key} must be {count} numbers, but is {_kind(found)}.")
        return [float(one) for one in found]


def _kind(value: object) -> str:
    return "missing" if value is None else f"{value!r:.80}"
