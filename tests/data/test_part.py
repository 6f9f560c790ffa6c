from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch

from vitesse.data import Augment, Batch, DataSettings, Mix, Parts, load_parts
from vitesse.errors import UsageError

MIXES = [Mix(), Mix(mixup=0.2, cutmix=1.0, smoothing=0.1)]


@pytest.fixture(scope="module")
def digits() -> Parts:
    return load_parts(DataSettings())


def joined(batches: Iterable[Batch]) -> list[torch.Tensor]:
    fields = [(b.images, b.targets, b.labels, b.indices) for b in batches]
    return [torch.cat(column) for column in zip(*fields, strict=True)]


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("world", [2, 3, 7])
@pytest.mark.parametrize("batch", [64, 45])
def test_ranks_together_are_the_batch_of_one(digits: Parts, mix: Mix, world: int, batch: int) -> None:
    def run(rank: int, world: int) -> list[Batch]:
        return list(
            digits.learn.train_batches(
                epoch=2, batch=batch, seed=5, augment=Augment.photos(), mix=mix, rank=rank, world=world
            )
        )

    alone = run(0, 1)
    ranks = [run(rank, world) for rank in range(world)]
    assert len(alone) == digits.learn.steps(batch) == len(digits.learn) // batch
    for step, whole in enumerate(alone[:4]):
        shares = [ranks[rank][step] for rank in range(world)]
        assert max(len(s.labels) for s in shares) - min(len(s.labels) for s in shares) <= 1
        for mine, theirs in zip(joined(shares), joined([whole]), strict=True):
            assert torch.equal(mine, theirs)


def test_a_restart_gives_the_same_batches(digits: Parts) -> None:
    def run(start: int) -> list[Batch]:
        return list(
            digits.learn.train_batches(epoch=1, batch=100, seed=0, augment=Augment.digits(), mix=MIXES[1], start=start)
        )

    whole, rest = run(0), run(7)
    assert len(rest) == len(whole) - 7
    for first, second in zip(joined(whole[7:]), joined(rest), strict=True):
        assert torch.equal(first, second)
    assert run(len(whole)) == []


def test_an_epoch_holds_each_image_at_most_once_and_shuffles(digits: Parts) -> None:
    def order(epoch: int) -> list[int]:
        batches = digits.learn.train_batches(epoch=epoch, batch=100, seed=0, augment=Augment(), mix=Mix())
        return joined(batches)[3].tolist()

    first, second = order(0), order(1)
    assert len(set(first)) == len(first) == 1100
    assert first != second != sorted(second)


def test_training_without_change_sees_what_evaluation_sees(digits: Parts) -> None:
    plain = joined(digits.learn.batches(256))
    images, targets, labels, indices = joined(
        digits.learn.train_batches(epoch=0, batch=64, seed=0, augment=Augment(), mix=Mix())
    )
    assert torch.equal(images, plain[0][indices]) and torch.equal(targets, plain[1][indices])
    assert torch.equal(labels, digits.learn.labels[indices])


@pytest.mark.parametrize("world", [1, 2, 5])
def test_evaluation_gives_every_image_once(digits: Parts, world: int) -> None:
    seen = joined(b for rank in range(world) for b in digits.test.batches(50, rank=rank, world=world))
    assert seen[3].tolist() == list(range(len(digits.test)))
    assert torch.equal(seen[2], digits.test.labels)
    assert torch.equal(seen[1].argmax(1), seen[2]) and set(seen[1].flatten().tolist()) == {0.0, 1.0}


def test_more_ranks_than_images(digits: Parts) -> None:
    world = len(digits.search) + 3
    seen = joined(b for rank in range(world) for b in digits.search.batches(8, rank=rank, world=world))
    assert seen[3].tolist() == list(range(len(digits.search)))


def test_a_batch_beyond_the_part_is_the_part(digits: Parts) -> None:
    batches = list(digits.search.train_batches(epoch=0, batch=10**6, seed=0, augment=Augment(), mix=Mix()))
    assert len(batches) == digits.search.steps(10**6) == 1
    assert len(batches[0].labels) == len(digits.search)


def test_the_global_random_state_is_left_alone(digits: Parts) -> None:
    before = torch.random.get_rng_state()
    next(digits.learn.train_batches(epoch=0, batch=8, seed=0, augment=Augment.photos(), mix=MIXES[1]))
    assert torch.equal(before, torch.random.get_rng_state())


def test_wrong_requests_are_refused(digits: Parts) -> None:
    with pytest.raises(UsageError, match="at least 1 image"):
        digits.learn.steps(0)
    with pytest.raises(UsageError, match="rank 2 of 2"):
        next(digits.test.batches(8, rank=2, world=2))


@pytest.mark.parametrize("mix", [*MIXES, Mix(mixup=0.8, probability=0.5)])
@pytest.mark.parametrize("augment", [Augment(), Augment.photos()])
@pytest.mark.parametrize("batch", [64, 10**6])
def test_a_view_is_the_same_whoever_asks_for_it(digits: Parts, mix: Mix, augment: Augment, batch: int) -> None:
    """In any even batch of training, or by itself, in any order and company."""
    ways: dict[str, Any] = {"epoch": 3, "seed": 7, "augment": augment, "mix": mix}
    seen = joined(digits.learn.train_batches(batch=batch, **ways))
    place = {index: row for row, index in enumerate(seen[3].tolist())}
    asked = np.array([index for index in np.random.default_rng(0).permutation(len(digits.learn)) if index in place])
    for size in (1, 7, 300):
        some = asked[: 40 * size]
        views = torch.cat(list(digits.learn.views(np.array_split(some, -(-len(some) // size)), **ways)))
        assert torch.equal(views, seen[0][[place[index] for index in some.tolist()]])


def test_images_that_are_left_out_are_in_no_training_batch(digits: Parts) -> None:
    left = np.arange(0, len(digits.learn), 3)
    rest = digits.learn.without(left)
    how: dict[str, Any] = {"epoch": 1, "seed": 0, "augment": Augment.digits(), "mix": MIXES[1]}
    batches = list(rest.train_batches(batch=50, **how))
    _, _, labels, indices = joined(batches)
    assert len(rest) == len(digits.learn) and len(batches) == rest.steps(50) == (len(rest) - len(left)) // 50
    assert not set(indices.tolist()) & set(left.tolist()) and len(set(indices.tolist())) == len(indices)
    assert torch.equal(labels, digits.learn.labels[indices])  # all keep their numbers
    shares = [list(rest.train_batches(batch=50, rank=rank, world=2, **how)) for rank in (0, 1)]
    assert torch.equal(torch.cat([shares[0][3].images, shares[1][3].images]), batches[3].images)
    plain: dict[str, Any] = {**how, "mix": MIXES[0]}
    alone = next(rest.train_batches(batch=50, **plain))
    view = next(digits.learn.views([alone.indices.numpy()], **plain))
    assert torch.equal(alone.images, view)  # and look as they would
    assert joined(digits.learn.train_batches(batch=50, **how))[3].unique().numel() > len(rest) - len(left)
    with pytest.raises(UsageError, match="must keep an image"):
        digits.learn.without(np.arange(len(digits.learn)))
