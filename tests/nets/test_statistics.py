from __future__ import annotations

import pytest
import torch
from torch import nn

from vitesse.nets.statistics import recalibrate


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5)).eval()


def test_statistics_are_the_mean_over_batches(network: nn.Sequential) -> None:
    batches = [torch.randn(4, 2, 5, 5), 3 + torch.randn(4, 2, 5, 5)]
    network[1].running_mean += 100  # forgotten
    recalibrate(network, batches)
    found = [network[0](batch).transpose(0, 1).flatten(1) for batch in batches]  # (3, values) each
    torch.testing.assert_close(network[1].running_mean, torch.stack([values.mean(1) for values in found]).mean(0))
    torch.testing.assert_close(network[1].running_var, torch.stack([values.var(1) for values in found]).mean(0))
    assert not network.training and not network[1].training and network[1].momentum == 0.1


def test_modes_come_back_after_an_error(network: nn.Sequential) -> None:
    seen = []

    def failing(*_: object) -> None:
        seen.append((network[1].training, network[2].training))
        raise ZeroDivisionError

    network.register_forward_hook(failing)
    with pytest.raises(ZeroDivisionError):
        recalibrate(network, [torch.randn(4, 2, 5, 5)])
    assert seen == [(True, False)]
    assert not network[1].training and network[1].momentum == 0.1


def test_nothing_is_computed_without_statistics() -> None:
    def never() -> None:
        raise AssertionError

    recalibrate(nn.Linear(2, 2), (never() for _ in range(1)))  # type: ignore[misc]
