"""The loop: a killed training goes on to the same bits, parts of a batch add up, and failures are said aloud."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn

from vitesse.errors import UsageError, VitesseError
from vitesse.train import TrainSettings
from vitesse.train.checkpoint import load_checkpoint
from vitesse.train.loop import Losses, Task, schedule, split

Make = Callable[..., TrainSettings]
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ema": {"ema": 0.9},
    "accumulate": {"accumulate": 3},
    "bf16": {"precision": "bf16"},
    "sgd": {"optimizer": "sgd", "clip": 0.0, "warmup": 0.0},
}


class Killed(Exception):
    """What stands for a power cut."""


def until(step: int, losses: Losses) -> Losses:
    """Losses that fail at a step, once."""

    def cut(network: nn.Module, batch: Any, now: int) -> Iterator[Tensor]:
        if now == step:
            raise Killed
        yield from losses(network, batch, now)

    return cut


def assert_same(one: nn.Module, other: nn.Module) -> None:
    state, truth = one.state_dict(), other.state_dict()
    assert set(state) == set(truth)
    assert all(torch.equal(state[name], truth[name]) for name in truth)


@pytest.mark.parametrize("name", VARIANTS)
def test_goes_on_to_the_same_bits_wherever_it_was_killed(
    name: str, training: Any, another: Any, settings: Make, plain_losses: Losses
) -> None:
    """Killed at every step of three epochs, one after the other."""
    chosen = settings(**VARIANTS[name])
    truth = another.fit(chosen)
    for step in range(12):
        with pytest.raises(Killed):
            training.fit(chosen, until(step, plain_losses))
    assert_same(training.fit(chosen), truth)
    assert training.records == another.records
    assert [record["step"] for record in training.records] == [4, 8, 12]


def test_a_checkpoint_now_and_then_is_enough(training: Any, another: Any, settings: Make, plain_losses: Losses) -> None:
    """Steps since the last checkpoint are taken again, and what was logged of them is dropped."""
    truth = another.fit(settings())
    with pytest.raises(Killed):
        training.fit(settings(), until(5, plain_losses))  # a checkpoint at step 5
    with pytest.raises(Killed):
        training.fit(settings(checkpoint_seconds=3600), until(10, plain_losses))  # none since
    assert [record["step"] for record in training.records] == [4, 8]
    assert_same(training.fit(settings()), truth)
    assert training.records == another.records


def test_killed_between_the_last_step_of_an_epoch_and_its_end(training: Any, another: Any, settings: Make) -> None:
    """The look at the accuracy comes after the last step's checkpoint: it must not be lost."""
    truth = another.fit(settings())
    look, looks = training._evaluate, 0

    def every_second_is_cut(network: nn.Module) -> float:
        nonlocal looks
        looks += 1
        if looks % 2:
            raise Killed
        accuracy: float = look(network)
        return accuracy

    training._evaluate = every_second_is_cut
    for epochs in (0, 1, 2):
        with pytest.raises(Killed):
            training.fit(settings())
        assert len(training.records) == epochs
    assert_same(training.fit(settings()), truth)
    assert training.records == another.records


def test_killed_after_the_end_of_an_epoch_was_logged(training: Any, another: Any, settings: Make) -> None:
    """The end comes again after the restart: it must not stand in the log twice."""
    truth = another.fit(settings())
    with pytest.raises(Killed):
        training.fit(settings(), progress=_cut)
    assert len(training.records) == 1
    assert_same(training.fit(settings()), truth)
    assert training.records == another.records


def _cut(done: int, total: int, note: str) -> None:
    raise Killed


def test_a_training_that_is_done_is_done(training: Any, settings: Make, plain_losses: Losses) -> None:
    first = training.fit(settings(ema=0.9))
    looked, records = training.evaluated, list(training.records)
    assert_same(training.fit(settings(ema=0.9), until(0, plain_losses)), first)
    assert training.evaluated == looked and training.records == records


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import conftest
from vitesse.train import TrainSettings

def losses(network, batch, step):
    if step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    yield from conftest.losses(network, batch, step)

settings = TrainSettings(epochs=3, batch=conftest.BATCH, lr=0.01, checkpoint_seconds=0, evaluate_every=1)
conftest.Training(Path({place!r})).fit(settings, losses)
"""


def test_goes_on_after_kill_9(training: Any, another: Any, settings: Make) -> None:
    place, here = str(training.checkpoint.parent), str(Path(__file__).parent)
    child = subprocess.run(
        [sys.executable, "-c", KILLED.format(tests=here, place=place)],
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert os.listdir(place) == ["checkpoint.pt"]  # whole, and nothing half written beside it
    assert torch.load(training.checkpoint, weights_only=True)["step"] == 6
    assert_same(training.fit(settings()), another.fit(settings()))


def test_a_loss_that_is_not_finite_ends_the_training(training: Any, settings: Make, plain_losses: Losses) -> None:
    def broken(network: nn.Module, batch: Any, step: int) -> Iterator[Tensor]:
        for loss in plain_losses(network, batch, step):
            yield loss * (math.nan if step == 6 else 1.0)

    with pytest.raises(VitesseError, match=r"The loss must be finite, but is nan .* before step 7") as error:
        training.fit(settings(), broken)
    assert str(training.checkpoint) in str(error.value) and "Try a lower lr (now 0.01)" in str(error.value)
    good = torch.load(training.checkpoint, weights_only=True)
    assert good["step"] == 6 and all(weight.isfinite().all() for weight in good["network"].values())


def test_a_gradient_that_is_not_finite_spoils_no_checkpoint(
    training: Any, settings: Make, plain_losses: Losses
) -> None:
    """The loss of that step is still finite; its weights must not become the last good checkpoint."""

    def broken(network: nn.Module, batch: Any, step: int) -> Iterator[Tensor]:
        for loss in plain_losses(network, batch, step):
            nothing = 0.0 * next(network.parameters()).sum()  # its root has the gradient 0 * inf
            yield loss + (nothing.sqrt() if step == 6 else nothing)

    with pytest.raises(VitesseError, match=r"The weights must be finite, but are not, .* before step 7"):
        training.fit(settings(), broken)
    assert torch.load(training.checkpoint, weights_only=True)["step"] == 6


def test_no_checkpoint_yet(training: Any, settings: Make) -> None:
    def broken(network: nn.Module, batch: Any, step: int) -> Iterator[Tensor]:
        yield network(batch.images).sum() * math.inf

    with pytest.raises(VitesseError, match="None was saved yet"):
        training.fit(settings(), broken)


def test_nothing_learned_is_said_aloud(training: Any, another: Any, settings: Make) -> None:
    training.accuracy = 0.52
    training.fit(settings())
    assert len(training.said) == 3  # once at each look that comes after the warmup
    assert "NOTHING IS LEARNED: accuracy 52.0% after 12 of 12 steps is that of guessing (50.0%)" in training.said[-1]
    another.fit(settings())
    assert another.said == []


def test_parts_of_a_batch_add_up(training: Any, settings: Make, plain_losses: Losses, tmp_path: Path) -> None:
    """One batch of 8, or 3 + 3 + 2: the same network but for rounding. (Stochastic depth would draw other masks.)"""
    kept = []
    for parts in (1, 3):
        training.checkpoint = tmp_path / f"{parts}.pt"
        network = training.network().double()
        for module in network.modules():
            if hasattr(module, "drop_prob"):
                module.drop_prob = 0.0

        def exact(network: nn.Module, batch: Any, step: int) -> Iterator[Tensor]:
            yield nn.functional.cross_entropy(network(batch.images.double()), batch.labels)

        # Plain descent: an optimizer that divides by the gradient's size would blow rounding up.
        chosen = settings(optimizer="sgd", accumulate=parts, lr=0.1)
        kept.append(training.fit(chosen, exact, network).state_dict())
    for name, weight in kept[0].items():
        torch.testing.assert_close(weight, kept[1][name], rtol=0, atol=1e-12)


def test_split_gives_every_image_its_weight() -> None:
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Two:
        images: Tensor
        labels: Tensor

    batch = Two(torch.arange(8.0), torch.arange(8))
    parts = split(batch, 3, device=torch.device("cpu"))
    assert [len(part.images) for part, _ in parts] == [2, 3, 3]
    assert sum(share for _, share in parts) == pytest.approx(1.0)
    assert torch.equal(torch.cat([part.labels for part, _ in parts]), batch.labels)
    assert sum(float(part.images.mean()) * share for part, share in parts) == pytest.approx(3.5)
    assert len(split(Two(torch.zeros(2), torch.zeros(2)), 3, device=torch.device("cpu"))) == 2


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_gradients_are_clipped(training: Any, settings: Make, clip: float) -> None:
    """Plain descent at rate 1 moves by the gradient: without a limit by its size, with one by no more than that."""
    network = training.network()
    before = nn.utils.parameters_to_vector(network.parameters()).detach().clone()

    def steep(network: nn.Module, batch: Any, step: int) -> Iterator[Tensor]:
        yield 100.0 * network(batch.images).sum() if step == 0 else 0.0 * network(batch.images).sum()

    chosen = settings(optimizer="sgd", epochs=1, warmup=0.0, lr=1e-3, weight_decay=0.0, clip=clip)
    training.fit(chosen, steep, network)
    moved = (nn.utils.parameters_to_vector(network.parameters()).detach() - before).norm().item()
    # Nesterov momentum of 0.9 over four steps moves by at most 1 + 0.9 + ... = 10 times the first.
    assert (0 < moved < 10 * 1e-3 * 0.5) if clip else moved > 0.1


def test_gradients_are_clipped_in_shares_of_the_weights(training: Any, settings: Make) -> None:
    """Each row moves by its share of its own norm, however steep the loss; steps as above."""
    network = training.network()
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}

    def steep(network: nn.Module, batch: Any, step: int) -> Iterator[Tensor]:
        yield 1e4 * network(batch.images).sum() if step == 0 else 0.0 * network(batch.images).sum()

    chosen = settings(optimizer="sgd", epochs=1, warmup=0.0, lr=1e-3, weight_decay=0.0, clip=0.02, clip_mode="adaptive")
    training.fit(chosen, steep, network)
    for name, weight in network.named_parameters():
        rows = before[name].flatten(1) if weight.ndim > 1 else before[name][None]
        moved = (weight.detach() - before[name]).view_as(rows).norm(dim=1)
        assert (moved <= 10 * 1e-3 * 0.02 * rows.norm(dim=1).clamp(min=1e-3) * 1.001).all(), name
        assert moved.max() > 0, name


def test_averaged_weights_are_kept(training: Any, another: Any, settings: Make) -> None:
    network = training.network()
    kept = training.fit(settings(ema=0.9), network=network)
    assert kept is not network
    plain = another.network()
    assert another.fit(settings(), network=plain) is plain
    assert_same(network, plain)  # averaging does not change what is trained
    assert not torch.equal(kept.stem.proj.weight, network.stem.proj.weight)


def test_rates_rise_and_fall(training: Any, settings: Make, plain_losses: Losses) -> None:
    training.fit(settings(epochs=5, warmup=0.2, lr=0.01, min_lr=1e-4))
    rates = [record["lr"] for record in training.records]
    assert rates[0] == max(rates) or rates[1] == max(rates)
    assert max(rates) <= 0.01 and rates[-1] < 0.2 * max(rates) and rates[-1] >= 1e-4
    assert rates[1:] == sorted(rates[1:], reverse=True)


def test_rates_fall_with_the_layers(training: Any, settings: Make) -> None:
    """The rate of the head is the one that is told; the first layers learn less."""
    start = training.network()
    training.fit(settings(layer_decay=0.1, warmup=0, epochs=1, optimizer="sgd", weight_decay=0))
    kept = load_checkpoint(training.checkpoint, device=torch.device("cpu"))["network"]
    before = start.state_dict()
    moved = [(kept[name] - before[name]).norm() for name in ("stem.proj.weight", "head.classifier.weight")]
    assert 0 < moved[0] < 0.1 * moved[1]
    assert training.records[0]["lr"] > 0


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "bit"])
def test_a_damaged_checkpoint_is_named(training: Any, settings: Make, damage: str) -> None:
    weight = training.fit(settings(epochs=1)).state_dict()["stem.proj.weight"]
    whole = training.checkpoint.read_bytes()
    middle = whole.index(weight.numpy().tobytes())  # one wrong bit there is a wrong weight, and nothing else
    damaged = {
        "cut": whole[:middle],
        "empty": b"",
        "noise": bytes(range(256)) * 20,
        "bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
    }[damage]
    training.checkpoint.write_bytes(damaged)
    with pytest.raises(
        VitesseError, match=r"checkpoint.pt cannot be read \(\w+\): .* Remove it to start its stage again"
    ):
        training.fit(settings())


def test_a_checkpoint_runs_no_code(training: Any, settings: Make, tmp_path: Path) -> None:
    torch.save({"network": Trap(tmp_path / "sprung")}, training.checkpoint)
    with pytest.raises(VitesseError, match="cannot be read"):
        training.fit(settings())
    assert not (tmp_path / "sprung").exists()


class Trap:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.place),)


def test_a_checkpoint_of_another_training_is_refused(training: Any, settings: Make) -> None:
    training.fit(settings(epochs=1))
    with pytest.raises(VitesseError, match=r"is of another training .* Remove it"):
        training.fit(settings(), network=nn.Linear(2, 2))
    with pytest.raises(VitesseError, match="is of another training"):
        training.fit(settings(ema=0.9))  # it has no averaged weights
    torch.save({"step": 3}, training.checkpoint)
    with pytest.raises(VitesseError, match="is of another training"):
        training.fit(settings())


def test_an_epoch_has_the_batches_that_were_promised(training: Any, settings: Make) -> None:
    """Or else the loop would ask for ever."""
    task = training.task
    training.task = lambda losses: Task(
        losses=losses,
        batches=lambda epoch, start, rank, world: iter(()),
        steps_per_epoch=4,
        evaluate=task(losses).evaluate,
        chance=0.5,
    )
    with pytest.raises(VitesseError, match="An epoch must have 4 batches, but epoch 0 ended at step 0"):
        training.fit(settings())


def test_an_unknown_optimizer(training: Any, settings: Make) -> None:
    with pytest.raises(UsageError, match="optimizer must be a name that timm knows, but got 'adamx'"):
        training.fit(settings(optimizer="adamx"))


def test_statistics_that_are_frozen_stay(training, settings) -> None:
    def with_norm() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))

    begun = with_norm()
    kept = training.fit(settings(epochs=1, frozen_statistics=True), network=with_norm())
    assert torch.equal(kept[1].running_mean, begun[1].running_mean) and not torch.equal(kept[1].weight, begun[1].weight)
    training.checkpoint.unlink()
    moved = training.fit(settings(epochs=1), network=with_norm())
    assert not torch.equal(moved[1].running_mean, begun[1].running_mean)


def test_drops_replace_the_cosine() -> None:
    """To a tenth at each of the steps themselves; before them the rate rises in a line."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    settings = TrainSettings(lr=1.0, start_lr=0.001, warmup_steps=5, drops=(8 / 12, 11 / 12))
    rates = []
    plan = schedule(optimizer, settings, steps=120)
    for step in range(120):
        plan.step_update(step)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[:5] == pytest.approx([0.001 + step * 0.999 / 5 for step in range(5)])
    assert set(rates[5:80]) == {1.0}
    assert rates[80:110] == pytest.approx([0.1] * 30)
    assert rates[110:] == pytest.approx([0.01] * 10)


@pytest.mark.parametrize(("number", "steps", "wanted"), [(0, 50, 5), (500, 88_000, 500), (500, 480, 48)])
def test_a_warmup_is_a_share_or_a_number(number: int, steps: int, wanted: int) -> None:
    assert TrainSettings(warmup=0.1, warmup_steps=number).warmup_of(steps) == wanted


@pytest.mark.parametrize("drops", [(0.5, 0.5), (0.9, 0.8), (0.0,), (1.0,)])
def test_drops_come_in_order(drops: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="drops must be shares of the steps"):
        TrainSettings(drops=drops)


def test_drop_path_rises_with_the_steps_also_after_a_kill(training: Any, settings: Make, plain_losses: Losses) -> None:
    told: list[tuple[int, list[float]]] = []

    def losses(network: nn.Module, batch: Any, step: int) -> Iterator[Tensor]:
        told.append((step, [module.drop_prob for module in network.modules() if isinstance(module, DropPath)]))
        if len(told) == 6:
            raise KeyboardInterrupt
        yield from plain_losses(network, batch, step)

    quick = settings(drop_path_rise=True)
    with pytest.raises(KeyboardInterrupt):
        training.fit(quick, losses)
    training.fit(quick, losses)
    assert [step for step, _ in told] == [0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 11]
    for step, rates in told:
        assert rates == pytest.approx([0.0, 0.0, 0.3 * step / 12, 0.3 * step / 12])
