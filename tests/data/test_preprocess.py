import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform

from vitesse.data.preprocess import Preprocess, normalise, to_batch, to_pixels, to_square, unnormalise
from vitesse.errors import UsageError, VitesseError

Noise = Callable[..., Image.Image]

SHAPES = [(20, 24), (37, 31), (50, 50), (16, 90), (33, 64), (12, 12)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("side", "crop"), [(16, 0.875), (17, 0.9), (32, 1.0), (21, 0.95)])
def test_evaluation_equals_timm(shape: tuple[int, int], side: int, crop: float, noise: Noise) -> None:
    preprocess = Preprocess(size=(side, side), crop=crop)
    theirs = create_transform(side, interpolation="bicubic", mean=preprocess.mean, std=preprocess.std, crop_pct=crop)
    picture = noise(3, shape)
    ours = normalise(to_pixels(picture, preprocess)[None], preprocess)[0]
    assert torch.allclose(ours, theirs(picture), atol=1e-6)


def test_evaluation_equals_a_direct_computation_by_hand(noise: Noise) -> None:
    picture = noise(4, (40, 61))
    preprocess = Preprocess(size=(16, 24), crop=0.8, interpolation="bilinear")
    assert preprocess.square == (20, 30)
    # 40 / 20 = 2 and 61 / 30 = 2.03: the height decides, the width becomes int(20 * 61 / 40) = 30
    resized = picture.resize((30, 20), Image.Resampling.BILINEAR).crop((3, 2, 27, 18))
    assert np.array_equal(to_pixels(picture, preprocess).permute(1, 2, 0).numpy(), np.asarray(resized))


def test_size_and_crop_one_change_nothing(noise: Noise) -> None:
    picture = noise(5, (8, 8)).convert("L")
    preprocess = Preprocess(size=(8, 8), channels=1, mean=(0.5,), std=(0.5,), crop=1.0)
    assert np.array_equal(to_pixels(picture, preprocess)[0].numpy(), np.asarray(picture))


def test_channels_follow_the_preprocess(noise: Noise) -> None:
    colour, grey = noise(6), noise(7).convert("L")
    assert to_batch([colour, grey], Preprocess(size=(16, 16))).shape == (2, 3, 16, 16)
    one = Preprocess(size=(16, 16), channels=1, mean=(0.5,), std=(0.5,))
    assert to_batch([colour, grey], one).shape == (2, 1, 16, 16)


def test_a_ribbon_of_an_image_does_not_eat_the_memory() -> None:
    with pytest.raises(VitesseError, match="too long"):
        to_square(Image.new("L", (1, 60000)), Preprocess())


def test_normalise_by_hand() -> None:
    preprocess = Preprocess(size=(1, 1), channels=1, mean=(0.5,), std=(0.25,))
    values = normalise(torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1), preprocess)
    assert values.dtype == torch.float32
    assert torch.allclose(values.flatten(), torch.tensor([-2.0, -1.2, 2.0]))


def test_it_survives_json() -> None:
    preprocess = Preprocess(size=(32, 48), crop=0.9, interpolation="bilinear")
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess
    with pytest.raises(UsageError, match="no field colour"):
        Preprocess.from_dict({"colour": 1})


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (0, 8)},
        {"channels": 2},
        {"mean": (0.5,)},
        {"std": (1.0, 0.0, 1.0)},
        {"crop": 1.1},
        {"interpolation": "box"},
    ],
)
def test_wrong_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="must"):
        Preprocess(**wrong)  # type: ignore[arg-type]


def test_what_was_normalised_can_be_taken_back() -> None:
    preprocess = Preprocess(size=(2, 2), mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))
    pixels = torch.arange(12, dtype=torch.uint8).view(1, 3, 2, 2) * 20
    torch.testing.assert_close(unnormalise(normalise(pixels, preprocess), preprocess), pixels / 255)
