import numpy as np
import pytest
import torch

from vitesse.data.augment import Augment, augment_squares, box_masks, cut_squares, erase_boxes
from vitesse.data.preprocess import Preprocess
from vitesse.errors import UsageError

PREPROCESS = Preprocess(size=(16, 16), crop=0.8)  # kept squares of 20, margin 2
INDICES = np.arange(6)


def squares(count: int = 6) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def changed(augment: Augment, pictures: torch.Tensor | None = None, *, epoch: int = 0) -> torch.Tensor:
    pictures = squares() if pictures is None else pictures
    return augment_squares(pictures, augment, PREPROCESS, seed=0, epoch=epoch, indices=np.arange(len(pictures)))


def test_no_change_is_what_evaluation_sees() -> None:
    assert torch.equal(changed(Augment()), squares()[:, :, 2:18, 2:18].float())


def test_a_still_window_is_the_crop_moved_within_the_square() -> None:
    # zoom 1, no turn: every output pixel is a blend of neighbours of a window at an offset of at most 2 pixels
    ramp = torch.arange(20.0).expand(1, 3, 20, 20).mul(10).to(torch.uint8).repeat(200, 1, 1, 1)
    views = changed(Augment(flip=1e-9), ramp)
    steps = views[:, 0, 0].diff(dim=1)
    assert torch.allclose(steps, torch.full_like(steps, 10.0), atol=1e-3)
    offsets = views[:, 0, 0, 0] / 10
    assert offsets.min() >= 0 and offsets.max() <= 4
    assert offsets.min() < 0.2 and offsets.max() > 3.8


def test_a_flip_mirrors() -> None:
    still, mirrored = changed(Augment(flip=1e-9)), changed(Augment(flip=1.0))
    assert torch.allclose(mirrored, still.flip(3), atol=1e-2)
    half = changed(Augment(flip=0.5), squares(1).repeat(400, 1, 1, 1))
    ones = changed(Augment(flip=1.0), squares(1).repeat(400, 1, 1, 1))
    share = (half - ones).abs().amax((1, 2, 3)).lt(1e-3).float().mean()
    assert 0.4 < share < 0.6


def test_zoom_sets_the_size_of_what_is_seen() -> None:
    ramp = torch.arange(20.0).expand(1, 3, 20, 20).mul(10).to(torch.uint8)
    view = changed(Augment(zoom=(0.5, 0.5)), ramp)
    assert torch.allclose(view[0, 0, 8].diff(), torch.full((15,), 5.0), atol=1e-3)


def test_a_turn_by_ninety_degrees() -> None:
    whole = Preprocess(size=(4, 4), crop=1.0)
    pictures = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4).repeat(300, 3, 1, 1)
    views = augment_squares(pictures, Augment(rotate=90.0), whole, seed=0, epoch=0, indices=np.arange(300))
    plain = pictures[0].float()
    nearest = [(views - plain.rot90(turns, (1, 2))).abs().amax((1, 2, 3)).min() for turns in (1, 3)]
    assert max(nearest) < 2  # among 300 turns one is near +90 and one near -90
    assert (views - plain.rot90(2, (1, 2))).abs().amax((1, 2, 3)).min() > 2


def test_the_edge_is_black_or_mirrored() -> None:
    white = torch.full((50, 3, 20, 20), 255, dtype=torch.uint8)
    assert changed(Augment(shift=0.5), white).min() == 0
    assert changed(Augment(shift=0.5, edge="reflect"), white).min() > 254.9


def test_brightness_and_contrast() -> None:
    grey = torch.full((200, 3, 20, 20), 100, dtype=torch.uint8)
    light = changed(Augment(brightness=0.2), grey)
    assert light.amin() < 83 and light.amax() > 117 and light.amin() >= 80 - 1e-3 and light.amax() <= 120 + 1e-3
    assert torch.allclose(changed(Augment(contrast=0.9), grey), torch.tensor(100.0), atol=1e-3)
    spread = changed(Augment(contrast=0.5)).std((1, 2, 3)) / changed(Augment()).std((1, 2, 3))
    assert spread.min() < 0.9 and spread.max() <= 1.5


@pytest.mark.parametrize("augment", [Augment.digits(), Augment.photos()])
def test_a_view_depends_on_its_image_and_epoch_only(augment: Augment) -> None:
    together = changed(augment)
    alone = augment_squares(squares()[[4, 1]], augment, PREPROCESS, seed=0, epoch=0, indices=np.array([4, 1]))
    assert torch.equal(together[[4, 1]], alone)
    assert not torch.equal(together, changed(augment, epoch=1))


def test_boxes_lie_inside_and_have_their_size() -> None:
    places = np.array([0.0, 0.5, 0.999999])
    masks = box_masks(np.full(3, 0.5), np.full(3, 0.25), places, places, size=(10, 8))
    assert masks.sum((1, 2)).tolist() == [10, 10, 10]
    assert masks[0, 0, 0] and masks[2, 9, 7]


def test_erasing_hits_its_share_and_leaves_the_rest() -> None:
    ones = torch.ones(500, 1, 16, 16)
    erased = erase_boxes(ones, 0.25, seed=0, epoch=0, indices=np.arange(500))
    hit = erased.amin((1, 2, 3)) == 0
    assert 0.18 < hit.float().mean() < 0.32
    areas = 1 - erased[hit].mean((1, 2, 3))
    assert areas.max() < 0.4 and areas.mean() == pytest.approx((0.02 + 1 / 3) / 2, abs=0.04)
    assert torch.equal(erase_boxes(ones, 0.0, seed=0, epoch=0, indices=np.arange(500)), ones)


def test_a_cut_square_has_its_size_and_may_lie_across_the_border() -> None:
    ones = torch.ones(400, 2, 16, 16)
    cut = cut_squares(ones, 0.5, seed=0, epoch=0, indices=np.arange(400))
    gone = 1 - cut[:, 0]
    assert torch.equal(cut[:, 0], cut[:, 1])
    rows, columns = gone.amax(2).sum(1), gone.amax(1).sum(1)
    assert torch.equal(rows * columns, gone.sum((1, 2)))  # a rectangle
    assert (int(rows.max()), int(rows.min())) == (8, 4) and float((rows == 8).float().mean()) > 0.5
    assert abs(float(gone.mean((0,))[8, 8]) - 0.25) < 0.08 and float(gone.mean((0,))[0, 0]) > 0.01
    again = cut_squares(ones[7:9], 0.5, seed=0, epoch=0, indices=np.arange(7, 9))
    assert torch.equal(again, cut[7:9])


@pytest.mark.parametrize(
    "wrong",
    [{"cutout": 1.5}, {"zoom": (1.2, 1.0)}, {"zoom": (0.0, 1.0)}, {"flip": 1.5}, {"rotate": -1.0}, {"edge": "white"}],
)
def test_wrong_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Augment(**wrong)  # type: ignore[arg-type]
