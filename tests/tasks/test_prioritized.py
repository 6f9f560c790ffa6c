"""Training by prioritized paths: who teaches, what is learned, what is left alone, and that a killed training goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from vitesse.arch import MLP, Backbone, Block, Choice, ConvStem, Head, MBConv, PatchEmbed, Stage, picks, sample
from vitesse.data.part import Batch
from vitesse.losses.classification import cross_entropy, distillation
from vitesse.search.board import Board
from vitesse.search.prioritizing import PrioritizedSettings
from vitesse.supernet import Supernet
from vitesse.tasks.prioritized import HeldOut, Prioritized
from vitesse.tasks.teaching import Teaching
from vitesse.train import TrainSettings
from vitesse.train.loop import Task, Watch, fit

CLASSES, SIZE, BATCH, STEPS = 4, 8, 12, 6
ALL = torch.randn(80, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
LABELS = (ALL.mean((1, 2, 3)) * 20).long().clamp(0, CLASSES - 1)
VIT = Backbone(
    stem=PatchEmbed(image=(SIZE, SIZE), patch=(4, 4), channels=1),
    stages=(Stage(dim=Choice(8, 12, 16), depth=Choice(1, 2), block=Block(MLP(ratio=Choice(0.5, 1.0, 2.0)))),),
    head=Head(classes=CLASSES, pool="mean"),
)
# With batch normalization.
CONV = Backbone(
    stem=ConvStem(image=(SIZE, SIZE), channels=1),
    stages=(Stage(dim=Choice(8, 16), depth=Choice(1, 2), block=Block(MBConv(ratio=Choice(1.0, 2.0)))),),
    head=Head(classes=CLASSES, pool="mean"),
)


def paths(space: Backbone) -> list[Backbone]:
    return list(dict.fromkeys(sample(space, random.Random(seed)) for seed in range(40)))


def made(space: Backbone = VIT, *, begin: int = 2, teaching: Teaching | None = None, **changes: Any) -> Prioritized:
    settings = PrioritizedSettings(**{"size": 3, "references": 2, "every": 2, "refresh": 5} | changes)
    held = HeldOut(places=tuple(range(60, 80)), images=ALL[60:], labels=LABELS[60:], calibration=[ALL[:16]])
    pool = paths(space)
    return Prioritized(
        lambda rng, board: rng.choice(pool), teaching or Teaching(), settings,
        cost=lambda arch: float(sum(map(float, picks(space, arch).values()))),
        pictures=lambda places: ALL[list(places)], held=held if settings.rule == "paper" else None, classes=CLASSES,
        begin=begin, rate=0.1, seed=0, accelerator=Accelerator(cpu=True),
    )  # fmt: skip


def supernet_of(space: Backbone = VIT, *, drop_path: float = 0.0) -> Supernet:
    torch.manual_seed(1)
    return Supernet(space, drop_path=drop_path)


def batch_at(step: int) -> Batch:
    places = torch.randperm(60, generator=torch.Generator().manual_seed(step))[:BATCH]
    targets = nn.functional.one_hot(LABELS[places], CLASSES).float()
    return Batch(ALL[places], targets, LABELS[places], places)


def run(losses: Prioritized, supernet: Supernet, steps: int, *, start: int = 0) -> list[float]:
    """Plain descent, as the loop does it."""
    found = []
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.1)
    for step in range(start, start + steps):
        optimizer.zero_grad()
        for loss in losses(supernet, batch_at(step), step):
            loss.backward()
            found.append(loss.item())
        optimizer.step()
    return found


def test_nobody_teaches_before_somebody_is_on_the_board() -> None:
    """Until then it is one path a step; the first one that enters does not teach itself."""
    losses, supernet = made(begin=3), supernet_of()
    drawn = []
    draw = losses.draw
    losses.draw = lambda rng, board: drawn.append(draw(rng, board)) or drawn[-1]  # type: ignore[func-returns-value]
    for step in range(4):
        (loss,) = losses(supernet, batch_at(step), step)
        expected = cross_entropy(supernet(batch_at(step).images, drawn[-1]), batch_at(step).targets)
        torch.testing.assert_close(loss, expected)
        assert len(losses.board.entries) == (step >= 3)
    assert losses.board.entries[0].arch == drawn[3] and losses.board.entries[0].step == 3


def test_a_path_learns_from_labels_and_from_the_path_that_was_chosen() -> None:
    losses, supernet = made(teacher="top1"), supernet_of()
    run(losses, supernet, 6)
    best = losses.board.entries[0].arch
    pool = [arch for arch in paths(VIT) if arch != best]
    losses.draw = lambda rng, board: pool[0]
    (loss,) = losses(supernet, batch_at(9), 9)
    batch = batch_at(9)
    logits = supernet(batch.images, pool[0])
    kd = distillation(logits, supernet(batch.images, best), form="cross_entropy")
    torch.testing.assert_close(loss, (0.5 * kd + 1.5 * cross_entropy(logits, batch.targets)) / 2)
    assert losses.board.entries[0].taught >= 1
    losses.draw = lambda rng, board: best  # the best is taught by the second
    second = losses.board.entries[1]
    next(iter(losses(supernet, batch_at(10), 10)))
    assert losses.board.entries[1].taught == second.taught + 1


def test_the_meta_network_chooses_and_learns_now_and_then() -> None:
    losses, supernet = made(every=4), supernet_of()
    weights = []
    for step in range(12):
        run(losses, supernet, 1, start=step)
        weights.append(losses.rating.layer.weight.detach().clone())
    moved = [step for step in range(1, 12) if not torch.equal(weights[step], weights[step - 1])]
    assert moved == [4, 8]
    assert sum(entry.taught for entry in losses.board.entries) > 0


def test_who_teaches_depends_on_the_path() -> None:
    """Of common images a linear score would prefer the same teacher for all."""
    losses, supernet = made(size=10, references=4, begin=0, every=100), supernet_of()
    run(losses, supernet, 40)
    for parameter in supernet.parameters():
        nn.init.normal_(parameter, std=0.5)  # paths that differ
    losses.look_again(supernet)
    able = range(len(losses.board.entries))
    chosen = {losses.rating.choose(losses._differences(supernet, arch, ALL[:8]), able=able)[0] for arch in paths(VIT)}
    assert len(able) == 10 and len(chosen) > 1


def test_an_outer_teacher_speaks_with_the_labels() -> None:
    class Oracle(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :CLASSES]

    teaching = Teaching(Oracle())
    losses, supernet = made(teacher="top1", teaching=teaching), supernet_of()
    run(losses, supernet, 6)
    best = losses.board.entries[0].arch
    other = next(arch for arch in paths(VIT) if arch != best)
    losses.draw = lambda rng, board: other
    batch = batch_at(9)
    (loss,) = losses(supernet, batch, 9)
    logits = supernet(batch.images, other)
    labels, soft = teaching.weights.labels, teaching.weights.logits
    told = labels * cross_entropy(logits, batch.targets)
    told = told + soft * distillation(logits, Oracle()(batch.images), temperature=teaching.temperature)
    kd = distillation(logits, supernet(batch.images, best), form="cross_entropy")
    torch.testing.assert_close(loss, (0.5 * kd + 1.5 * told) / 2)


@pytest.mark.parametrize("rule", ["paper", "published"])
def test_looks_leave_no_trace_in_running_statistics(rule: str) -> None:
    """Scoring, teaching, lessons and the board's accuracies run many paths; only the step's own leaves statistics."""
    losses, supernet = made(CONV, rule=rule, begin=0), supernet_of(CONV)
    other = supernet_of(CONV)
    for step in range(8):
        batch = batch_at(step)
        arch = losses.draw(random.Random(f"0/{step}"), losses.board)
        for loss in losses(supernet, batch, step):
            loss.backward()
        other(batch.images, arch)
    buffers = dict(other.named_buffers())
    assert buffers and len(losses.board.entries) == 3
    for name, buffer in supernet.named_buffers():
        assert torch.equal(buffer, buffers[name]), name
    assert supernet.training and all(module.training for module in supernet.modules())


def test_a_teacher_is_what_it_is_when_evaluated() -> None:
    """No stochastic depth, statistics of its own on the batch, no gradient."""
    supernet = supernet_of(CONV, drop_path=0.9)
    arch, images = paths(CONV)[0], batch_at(0).images
    first, again = (supernet.look(images, arch, seen=[images]) for _ in range(2))
    assert torch.equal(first, again) and not first.requires_grad
    supernet.eval()
    expected = supernet(images, arch, statistics=supernet.statistics(arch, [images]))
    torch.testing.assert_close(first, expected.detach())


def test_in_bf16_every_weight_of_the_path_learns() -> None:
    """A look without gradients in the same autocast must not leave its casts to the step's own pass."""
    losses, supernet = made(every=1), supernet_of()
    run(losses, supernet, 5)
    supernet.zero_grad(set_to_none=True)
    biggest = max(paths(VIT), key=lambda arch: sum(map(float, picks(VIT, arch).values())))
    losses.draw = lambda rng, board: biggest
    with torch.autocast("cpu", torch.bfloat16):
        iterator = losses(supernet, batch_at(7), 7)
        loss = next(iter(iterator))
    loss.backward()
    assert losses._chosen is not None
    assert all(parameter.grad is not None for parameter in supernet.parameters())


def test_the_board_is_looked_at_anew() -> None:
    losses, supernet = made(refresh=5, begin=0), supernet_of()
    run(losses, supernet, 5)  # a look at step 0 and no other
    before = losses.board
    losses.look_again(supernet)
    accuracies = [entry.accuracy for entry in losses.board.entries]
    assert accuracies == sorted(accuracies, reverse=True)
    assert {entry.arch for entry in before.entries} == {entry.arch for entry in losses.board.entries}
    for entry in losses.board.entries:
        logits = supernet.look(ALL[60:], entry.arch)
        assert entry.accuracy == pytest.approx((logits.argmax(-1) == LABELS[60:]).float().mean().item())
        places = [place - 60 for place in entry.images]
        torch.testing.assert_close(entry.probabilities, logits[places].softmax(-1))
    assert len({entry.images for entry in losses.board.entries}) == 3  # images of its own


def test_the_published_board_keeps_what_the_released_code_keeps() -> None:
    """The accuracy of the batch, and on a board that is not empty the teacher's word for the path's."""
    losses, supernet = made(rule="published", begin=0, teacher="top1"), supernet_of()
    pool = paths(VIT)
    losses.draw = lambda rng, board: pool[0]
    batch = batch_at(0)
    logits = supernet(batch.images, pool[0]).detach()
    list(losses(supernet, batch, 0))
    (only,) = losses.board.entries
    assert only.accuracy == pytest.approx((logits.argmax(-1) == batch.labels).float().mean().item())
    assert only.images == tuple(batch.indices[:2].tolist())
    torch.testing.assert_close(only.probabilities, logits[:2].softmax(-1))
    losses.draw = lambda rng, board: pool[1]
    batch = batch_at(1)
    guide = supernet(batch.images, pool[0]).detach()
    list(losses(supernet, batch, 1))
    (new,) = (entry for entry in losses.board.entries if entry.step == 1)
    torch.testing.assert_close(new.probabilities, guide[:2].softmax(-1))


class Killed(Exception):
    """What stands for a power cut."""


def trained(place: Path, *, die: int = -1, accumulate: int = 1, **changes: Any) -> tuple[Prioritized, nn.Module]:
    """Three epochs in the training loop, from its checkpoint where there is one."""
    losses, supernet = made(**changes), supernet_of(drop_path=0.2)

    def cut(network: nn.Module, batch: Batch, step: int) -> Iterator[Tensor]:
        yield from losses(network, batch, step)
        if step == die:
            raise Killed  # after the board has changed, before the step is done

    def batches(epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        whole = (batch_at(STEPS * epoch + step) for step in range(start, STEPS))
        for one in whole:
            yield Batch(*(getattr(one, field.name)[rank::world] for field in dataclasses.fields(Batch)))

    task = Task(
        losses=cut, batches=batches, steps_per_epoch=STEPS, evaluate=lambda network: 0.9, chance=0.1, memory=losses,
    )  # fmt: skip
    settings = TrainSettings(
        epochs=3, batch=BATCH, lr=0.05, optimizer="sgd", weight_decay=0.0, checkpoint_seconds=0, ema=0.5,
        accumulate=accumulate, evaluate_every=9,
    )  # fmt: skip
    return losses, fit(supernet, settings, task=task, checkpoint=place / "checkpoint.pt", watch=Watch())


@pytest.mark.parametrize(
    "changes", [{}, {"rule": "published"}, {"teacher": "top1", "accumulate": 2}], ids=["paper", "published", "parts"]
)
def test_goes_on_to_the_same_bits_and_the_same_board(changes: dict[str, Any], tmp_path: Path) -> None:
    """Killed in every third step after the board has changed and before its checkpoint."""
    truth, kept = trained(tmp_path / "whole", **changes)
    for step in (1, 4, 5, 9, 12, 16):
        with pytest.raises(Killed):
            trained(tmp_path / "cut", die=step, **changes)
    again, found = trained(tmp_path / "cut", **changes)
    assert again.board == truth.board and len(again.board.entries) == 3
    for mine, other in zip(again.board.entries, truth.board.entries, strict=True):
        assert torch.equal(mine.probabilities, other.probabilities) and mine.taught == other.taught
    assert torch.equal(again.rating.layer.weight, truth.rating.layer.weight)
    for name, weight in kept.state_dict().items():
        assert torch.equal(found.state_dict()[name], weight), name


def test_a_step_in_parts_has_one_teacher_and_one_candidate() -> None:
    losses, supernet = made(begin=0), supernet_of()
    run(losses, supernet, 4)
    taught = sum(entry.taught for entry in losses.board.entries)
    seen: list[Board] = []
    for half in (slice(0, 6), slice(6, 12)):
        part = Batch(*(getattr(batch_at(5), field.name)[half] for field in dataclasses.fields(Batch)))
        for loss in losses(supernet, part, 5):
            loss.backward()
        seen.append(losses.board)
    assert seen[0] == seen[1]
    gone = {entry.step for entry in losses.board.entries}
    assert sum(entry.taught for entry in seen[1].entries) <= taught + 1 and len(gone) == 3


SCRIPT = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from test_prioritized import trained
from vitesse.search.board import to_plain
from vitesse.train.processes import processes

place, rank = Path(sys.argv[1]), processes().process_index
for rule in ("paper", "published"):
    losses, kept = trained(place / rule, rule=rule)
    record = dict(board=json.dumps(to_plain(losses.board)), meta=losses.rating.layer.weight.detach(), weights=kept.state_dict())
    torch.save(record, place / rule / f"{{rank}}.pt")
"""


def test_two_processes_have_one_board(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)), encoding="utf-8")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    child = subprocess.run(
        [sys.executable, *launch, str(script), str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-3000:]
    for rule in ("paper", "published"):
        first, second = (torch.load(tmp_path / rule / f"{rank}.pt", weights_only=True) for rank in (0, 1))
        assert first["board"] == second["board"] and json.loads(first["board"])["entries"][0]["taught"] >= 0
        assert torch.equal(first["meta"], second["meta"])
        for name, weight in first["weights"].items():
            assert torch.equal(weight, second["weights"][name]), name
