from __future__ import annotations

import pytest
import torch

from vitesse.measure.agreement import linear_cka


def test_turned_and_scaled_is_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(50, 4, generator=generator)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    assert linear_cka(first, 3 * first @ turn[:4] + 1) == pytest.approx(1.0, abs=1e-6)


def test_what_has_nothing_in_common() -> None:
    first = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    second = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    assert linear_cka(first, second) == pytest.approx(0.0)
    assert linear_cka(first, torch.ones(4, 3)) == 0.0


def test_by_hand() -> None:
    """One channel against two, of which one is that channel and the other is unrelated and as large."""
    first = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    second = torch.cat([first, torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])], 1)
    assert linear_cka(first, second) == pytest.approx(1 / 2**0.5)
