"""The distance between two networks' logits, held against the published code, and the penalty's schedule."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from vitesse.losses.interaction import Distance, interaction, penalty_weight

DISTANCES: tuple[Distance, ...] = ("kl", "cosine", "mse", "smooth_l1")


@pytest.fixture(scope="module")
def record() -> dict[str, Tensor]:
    return load_file(Path(__file__).parents[1] / "golden" / "cdarts_loss_A.safetensors")


@pytest.mark.parametrize("temperature", [1, 2, 4])
@pytest.mark.parametrize("number", range(4))
def test_the_published_values(record: dict[str, Tensor], number: int, temperature: int) -> None:
    found = interaction(
        record["outputs"], record["teacher"], distance=DISTANCES[number], temperature=temperature, reduction="mean"
    )
    torch.testing.assert_close(found, record[f"interactive.type{number}.T{temperature}"][0], rtol=1e-5, atol=1e-6)


def test_the_divergence_is_the_mean_over_images(record: dict[str, Tensor]) -> None:
    one, two = record["outputs"], record["teacher"]
    by_hand = functional.kl_div((one / 2).log_softmax(1), (two / 2).softmax(1), reduction="batchmean") * 4
    torch.testing.assert_close(interaction(one, two), by_hand)
    torch.testing.assert_close(interaction(one, two), 9 * interaction(one, two, reduction="mean"))


def test_both_networks_are_pulled(record: dict[str, Tensor]) -> None:
    sides = [record[name].clone().requires_grad_() for name in ("outputs", "teacher")]
    interaction(*sides).backward()
    assert all(side.grad is not None and bool(side.grad.any()) for side in sides)


def test_label_smoothing_is_that_of_soft_targets(record: dict[str, Tensor]) -> None:
    from vitesse.data.mix import soft_targets
    from vitesse.losses.classification import cross_entropy

    targets = soft_targets(record["targets"], 9, smoothing=0.1)
    found = cross_entropy(record["outputs"], targets)
    torch.testing.assert_close(found, record["label_smooth.0.1"][0], rtol=1e-5, atol=1e-6)


def test_the_penalty_fades_out() -> None:
    # As published for CIFAR: 32 cycles, of which 2 come before, and two thirds of the others are held back.
    weights = [penalty_weight(cycle, first=2, cycles=32, share=0.667) for cycle in range(2, 33)]
    assert weights[0] == 5.0 and weights[10] == pytest.approx(5 * (1 - 10 / (30 * 0.667)))
    assert weights[19] > 0 and set(weights[21:]) == {0.0}
