from __future__ import annotations

import pytest
import torch

from vitesse.measure.drift import drift


def test_drift_by_hand() -> None:
    """One block that turns each token a quarter and one that makes it twice as long, over two batches of unlike size."""
    images = [torch.randn(3, 2, 2), torch.randn(1, 2, 2)]

    def original(x: torch.Tensor) -> list[torch.Tensor]:
        return [x, x]

    def changed(x: torch.Tensor) -> list[torch.Tensor]:
        return [torch.stack([-x[..., 1], x[..., 0]], -1), 2 * x]

    turned, longer = drift(original, changed, images)
    assert turned.relative_l2 == pytest.approx(2**0.5, rel=1e-5) and turned.cosine == pytest.approx(0, abs=1e-6)
    assert longer.relative_l2 == pytest.approx(1, rel=1e-5) and longer.cosine == pytest.approx(1, rel=1e-5)


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="images"):
        drift(lambda x: [x], lambda x: [x], [])
