from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vitesse.losses.interaction import Distance, interaction

GOLDEN = load_file(Path(__file__).parents[1] / "golden" / "cdarts_loss_A.safetensors")


@pytest.mark.parametrize("temperature", [1, 2, 4])
@pytest.mark.parametrize(("number", "distance"), list(enumerate(("kl", "cosine", "mse", "smooth_l1"))))
def test_the_published_distances(number: int, distance: Distance, temperature: int) -> None:
    found = interaction(
        GOLDEN["outputs"], GOLDEN["teacher"], distance=distance, temperature=temperature, reduction="mean"
    )
    torch.testing.assert_close(found, GOLDEN[f"interactive.type{number}.T{temperature}"][0], rtol=1e-5, atol=1e-7)


def test_the_divergence_is_that_of_an_image() -> None:
    mean, batchmean = (
        interaction(GOLDEN["outputs"], GOLDEN["teacher"], distance="kl", reduction=reduction)
        for reduction in ("mean", "batchmean")
    )
    torch.testing.assert_close(batchmean, mean * GOLDEN["outputs"].shape[1])


def test_gradients_flow_into_both() -> None:
    one, other = (GOLDEN[name].clone().requires_grad_() for name in ("outputs", "teacher"))
    interaction(one, other).backward()
    assert one.grad is not None and other.grad is not None
    torch.testing.assert_close(one.grad, -other.grad)
