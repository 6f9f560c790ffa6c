"""The same view in the teacher's own colours and size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vitesse.data import Preprocess, normalise
from vitesse.distill.view import Viewing, fitting
from vitesse.errors import VitesseError

PIXELS = torch.randint(0, 256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
HALF = Preprocess(size=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)


class Same(nn.Module):
    num_classes, num_prefix_tokens = 3, 1

    def forward(self, images: Tensor) -> Tensor:
        return images

    forward_features = forward_head = forward


def test_colours() -> None:
    wanted = Preprocess(size=(8, 8))
    torch.testing.assert_close(
        Viewing(Same(), seen=HALF, wanted=wanted)(normalise(PIXELS, HALF)), normalise(PIXELS, wanted)
    )


def test_size_and_grey() -> None:
    seen, wanted = Preprocess(size=(8, 8), channels=1, mean=(0.5,), std=(0.5,)), Preprocess(size=(4, 6))
    teacher = Viewing(Same(), seen=seen, wanted=wanted)
    assert (teacher.num_classes, teacher.num_prefix_tokens) == (3, 1)
    grey = torch.full((1, 1, 8, 8), 0.4)  # 0.7 of white
    expected = ((0.7 - torch.tensor(wanted.mean)) / torch.tensor(wanted.std)).view(1, 3, 1, 1).expand(1, 3, 4, 6)
    torch.testing.assert_close(teacher(grey), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(teacher.forward_features(grey), expected, rtol=1e-4, atol=1e-5)


def test_a_teacher_that_wants_the_same_stays_as_it_is() -> None:
    teacher = Same()
    assert fitting(teacher, seen=HALF, wanted=HALF) is teacher
    assert isinstance(fitting(teacher, seen=HALF, wanted=Preprocess(size=(8, 8))), Viewing)
    assert not hasattr(Viewing(nn.Identity(), seen=HALF, wanted=HALF), "forward_features")


def test_colour_is_not_thrown_away() -> None:
    grey = Preprocess(size=(8, 8), channels=1, mean=(0.5,), std=(0.5,))
    with pytest.raises(VitesseError, match=r"takes 1 channel, but the images have 3. Set data.channels to 1"):
        fitting(Same(), seen=HALF, wanted=grey)
