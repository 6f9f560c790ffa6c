from __future__ import annotations

import pytest
import torch

from vitesse.ops.interactor import Interactor, ensemble


def test_an_ensemble_is_weighted_by_its_shares() -> None:
    outputs = [torch.full((2, 3), float(i)) for i in (1, 2, 4)]
    shares = torch.tensor([0.0, 0.0, torch.log(torch.tensor(2.0))])
    together = ensemble(outputs, shares, joined="concat")
    assert together.shape == (6, 3)
    torch.testing.assert_close(together[:, 0], torch.tensor([0.25, 0.25, 0.5, 0.5, 2.0, 2.0]))
    torch.testing.assert_close(ensemble(outputs, shares, joined="sum"), torch.full((2, 3), 2.75))


@pytest.mark.parametrize("fixed", [True, False])
def test_classifiers_on_maps_may_stay_as_they_begin(fixed: bool) -> None:
    torch.manual_seed(0)
    interactor = Interactor((4, 8), 5, pools=(6, 6), fixed=fixed)
    assert not any(".norm.weight" in name for name, _ in interactor.named_parameters())  # no factors of their own
    before = interactor.heads[0].reduce.norm.running_mean.clone()
    found = interactor([torch.randn(3, 4, 16, 16), torch.randn(3, 8, 8, 8)], torch.randn(3, 5))
    found.sum().backward()
    assert found.shape == (9, 5) and interactor.shares.grad is not None
    assert all((parameter.grad is None) == fixed for parameter in interactor.heads.parameters())
    assert not torch.equal(interactor.heads[0].reduce.norm.running_mean, before)


def test_a_narrower_networks_maps_meet_the_first_channels() -> None:
    interactor = Interactor((6,), 5, pools=(None,), hidden=(4, 8)).eval()
    narrow = torch.randn(2, 3, 7, 7)
    wide = torch.cat([narrow, torch.zeros(2, 3, 7, 7)], 1)
    logits = torch.randn(2, 5)
    torch.testing.assert_close(interactor([narrow], logits), interactor([wide], logits))
    assert interactor([narrow], logits).shape == (4, 5)
