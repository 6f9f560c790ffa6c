"""Batches of pictures with boxes: replayed, mirrored, scaled, shared by ranks; boxes and masks move with the pixels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vitesse.data.boxed import BoxAugment, BoxBatch, BoxedPart, fitted_size, outlines_to_masks
from vitesse.data.coco import CocoSettings, load_coco, read_coco
from vitesse.data.shapes import CLASSES, make_shapes
from vitesse.errors import UsageError, VitesseError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("shapes"), count=12, side=40)


@pytest.fixture
def part(folder: Path) -> BoxedPart:
    learn, _ = load_coco(CocoSettings(source=str(folder)))
    return BoxedPart(part=learn, shorter=40, longer=40, masks=True, workers=0)


def batches(part: BoxedPart, augment: BoxAugment | None = None, **keywords: int) -> list[BoxBatch]:
    given = {"epoch": 0, "batch": 4, "seed": 0} | keywords
    return list(part.train_batches(augment=augment or BoxAugment(), **given))


def same(one: BoxBatch, other: BoxBatch) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.boxes, other.boxes)


def test_an_epoch_is_a_function_of_its_arguments(part: BoxedPart) -> None:
    first, again = batches(part), batches(part)
    assert len(first) == part.steps(4) == 2
    assert all(map(same, first, again))
    assert not same(first[0], batches(part, epoch=1)[0])
    assert not same(first[0], batches(part, seed=1)[0])
    assert same(first[1], batches(part, start=1)[0])


def test_ranks_share_a_batch(part: BoxedPart) -> None:
    pytest.importorskip("pycocotools")
    whole = batches(part)[0]
    halves = [batches(part, rank=rank, world=2)[0] for rank in range(2)]
    assert torch.equal(torch.cat([half.images for half in halves]), whole.images)
    assert torch.equal(torch.cat([half.counts for half in halves]), whole.counts)


def test_masks_fill_their_boxes(part: BoxedPart) -> None:
    """Whatever was mirrored and scaled, the outline's extent is the box, to a pixel."""
    pytest.importorskip("pycocotools")
    for batch in batches(part, BoxAugment(flip=0.5, scale=(0.8, 2.0))):
        for place, count in enumerate(batch.counts.tolist()):
            for mask, box in zip(batch.masks[place, :count], batch.boxes[place, :count], strict=True):
                rows, columns = (torch.nonzero(mask.any(axis)).flatten() for axis in (1, 0))
                seen = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                assert (seen - box).abs().max() <= 2.5


def test_a_mirror_image_twice_is_the_picture(part: BoxedPart) -> None:
    plain, flipped = batches(part, BoxAugment(flip=0.0))[0], batches(part, BoxAugment(flip=1.0))[0]
    assert torch.equal(flipped.images.flip(-1), plain.images)
    assert torch.equal(flipped.masks.flip(-1), plain.masks)
    count = int(plain.counts[0])
    assert torch.allclose(40 - flipped.boxes[0, :count, 0], plain.boxes[0, :count, 2])
    assert torch.allclose(flipped.boxes[0, :count, 1::2], plain.boxes[0, :count, 1::2])


def test_scales_are_drawn_within_their_range(part: BoxedPart) -> None:
    sizes = torch.cat(
        [one.sizes for epoch in range(4) for one in batches(part, BoxAugment(scale=(0.5, 2.0)), epoch=epoch)]
    )
    assert sizes.min() >= 20 and sizes.max() <= 80 and len(sizes.unique()) > 4


def test_sizes_follow_the_shorter_side_unless_the_longer_one_grows_too_long() -> None:
    assert fitted_size((480, 640), shorter=800, longer=1333) == (800, 1066)
    assert fitted_size((640, 480), shorter=800, longer=1333) == (1066, 800)
    assert fitted_size((400, 1000), shorter=800, longer=1333) == (533, 1333)


def test_plain_pictures_come_once_over_all_ranks(part: BoxedPart) -> None:
    places = [place for rank in range(3) for place, _ in part.pictures(rank=rank, world=3)]
    assert places == list(range(len(part.part)))
    assert next(part.pictures())[1].shape == (3, 40, 40)


def test_outlines_become_masks() -> None:
    coder = pytest.importorskip("pycocotools.mask")
    square = [2.0, 1.0, 6.0, 1.0, 6.0, 5.0, 2.0, 5.0]
    wanted = torch.zeros(8, 10, dtype=torch.bool)
    wanted[1:5, 2:6] = True
    packed = coder.encode(wanted.numpy().astype("uint8").copy(order="F"))
    plain = {"size": [8, 10], "counts": [17, 4, 4, 4, 4, 4, 4, 4, 35]}  # down the columns
    text = {"size": [8, 10], "counts": packed["counts"].decode()}
    masks = outlines_to_masks(([square], plain, text), (8, 10))
    assert all(torch.equal(mask, wanted) for mask in masks)


def test_a_picture_of_another_size_than_annotated_is_named(folder: Path) -> None:
    part = read_coco(folder / "annotations.json", folder / "images")
    object.__setattr__(part.pictures[0], "size", (40, 41))
    with pytest.raises(VitesseError, match="00000.png must have the height and width that are annotated"):
        next(BoxedPart(part=part, workers=0).pictures())


@pytest.mark.parametrize("values", [{"flip": 2.0}, {"scale": (0.0, 1.0)}, {"scale": (2.0, 1.0)}])
def test_what_cannot_be(values: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        BoxAugment(**values)  # type: ignore[arg-type]


def test_shapes_are_a_function_of_their_arguments(folder: Path, tmp_path: Path) -> None:
    again, other = (make_shapes(tmp_path / str(seed), count=12, side=40, seed=seed) for seed in (0, 1))
    one, two, three = (read_coco(root / "annotations.json", root / "images") for root in (folder, again, other))
    assert one.classes == CLASSES
    assert all((a.boxes == b.boxes).all() for a, b in zip(one.pictures, two.pictures, strict=True))
    assert (folder / "images" / "00003.png").read_bytes() == (again / "images" / "00003.png").read_bytes()
    assert [one.labels.tolist() for one in one.pictures] != [one.labels.tolist() for one in three.pictures]
    assert all(1 <= len(picture.labels) <= 4 for picture in one.pictures)
