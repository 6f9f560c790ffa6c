import numpy as np
import pytest
import torch
from scipy import stats

from vitesse.data.mix import Mix, _shares, mix_pairs, soft_targets
from vitesse.errors import UsageError


def pair_batch(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images that hold their own number, and one-hot targets of classes of their own."""
    labels = torch.arange(count)
    return labels.float().view(-1, 1, 1, 1).repeat(1, 3, 16, 16), soft_targets(labels, count), labels


def mixed(mix: Mix, count: int = 64, *, epoch: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    images, targets, labels = pair_batch(count)
    return mix_pairs(images, targets, mix, seed=1, epoch=epoch, indices=labels.numpy())


def test_smoothing_by_hand() -> None:
    targets = soft_targets(torch.tensor([1]), 4, smoothing=0.2)
    assert torch.allclose(targets, torch.tensor([[0.05, 0.85, 0.05, 0.05]]))


@pytest.mark.parametrize(
    "mix", [Mix(mixup=0.8), Mix(cutmix=1.0), Mix(mixup=0.8, cutmix=1.0), Mix(mixup=0.2, probability=0.5)]
)
def test_targets_say_what_the_images_hold(mix: Mix) -> None:
    images, targets = mixed(mix)
    assert torch.allclose(targets.sum(1), torch.ones(64))
    # an image's mean is its own number and its partner's, in the proportion of the targets
    assert torch.allclose(images.mean((1, 2, 3)), targets @ torch.arange(64.0), atol=1e-4)
    for place in range(64):
        assert set(targets[place].nonzero().flatten().tolist()) <= {place, place ^ 1}


def test_mixup_blends_and_cutmix_cuts() -> None:
    blended, _ = mixed(Mix(mixup=1.0))
    assert (blended.amax((1, 2, 3)) - blended.amin((1, 2, 3))).abs().max() < 1e-4
    cut, _ = mixed(Mix(cutmix=1.0))
    for place in range(64):
        assert set(cut[place].unique().tolist()) <= {float(place), float(place ^ 1)}


def test_probability_and_switch_are_kept() -> None:
    _, targets = mixed(Mix(mixup=1.0, probability=0.25), 2000)
    assert 0.2 < (targets.amax(1) < 1).float().mean() < 0.3
    _, cut, _ = _shares(Mix(mixup=1.0, cutmix=1.0, switch=0.7), seed=0, epoch=0, indices=np.arange(2000))
    assert 0.66 < cut.mean() < 0.74
    assert not Mix(mixup=1.0, probability=0.0).mixes


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 3.0])
def test_shares_are_of_the_beta_distribution(alpha: float) -> None:
    share, _, _ = _shares(Mix(mixup=alpha), seed=0, epoch=0, indices=np.arange(4000))
    assert stats.kstest(share, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_the_last_of_an_odd_batch_stays() -> None:
    images, targets = mixed(Mix(mixup=1.0), 5)
    assert torch.equal(images[4], torch.full((3, 16, 16), 4.0)) and targets[4, 4] == 1
    assert targets[3, 3] < 1


def test_a_pair_mixes_alike_on_either_side() -> None:
    # swapping the places of a pair swaps the results: nothing depends on who comes first
    images, targets, labels = pair_batch(2)
    swap = [1, 0]
    there = mix_pairs(images, targets, Mix(mixup=0.8, cutmix=1.0), seed=1, epoch=0, indices=labels.numpy())
    back = mix_pairs(
        images[swap], targets[swap], Mix(mixup=0.8, cutmix=1.0), seed=1, epoch=0, indices=labels.numpy()[swap]
    )
    assert torch.equal(there[0], back[0][swap]) and torch.equal(there[1], back[1][swap])


def test_the_epoch_changes_the_mix() -> None:
    assert not torch.equal(mixed(Mix(mixup=1.0))[1], mixed(Mix(mixup=1.0), epoch=1)[1])


@pytest.mark.parametrize("wrong", [{"mixup": -1.0}, {"probability": 2.0}, {"switch": -0.1}, {"smoothing": 1.0}])
def test_wrong_values_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Mix(**wrong)
