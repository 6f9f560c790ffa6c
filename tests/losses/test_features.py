from __future__ import annotations

import pytest
import torch

from vitesse.losses.features import cosine, l2, normalized_l2


def test_by_hand() -> None:
    student, teacher = torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 2.0], [6.0, 8.0]])
    assert cosine(student, teacher).item() == pytest.approx(0.5)  # one at a right angle, one the same direction
    assert l2(student, teacher).item() == pytest.approx((1 + 4 + 9 + 16) / 4)
    # Of two channels, standardised: -1 and 1.
    assert normalized_l2(student, teacher).item() == pytest.approx((4 + 1 + 16 + 9) / 4, rel=1e-4)


def test_normalized_l2_asks_nothing_of_the_teachers_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(3, 5, 8, generator=generator) for _ in range(2))
    torch.testing.assert_close(
        normalized_l2(student, teacher), normalized_l2(student, 7 * teacher + 3), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("loss", [cosine, l2, normalized_l2])
def test_in_float32(loss) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(3, 8, generator=generator) for _ in range(2))
    found = loss(student.bfloat16(), teacher.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(student, teacher), rtol=3e-2, atol=1e-2)
