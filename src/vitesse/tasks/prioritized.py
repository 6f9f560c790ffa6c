"""A supernet trained by prioritized paths: one path a step, which the best paths met so far teach.

Peng et al., "Cream of the Crop", NeurIPS 2020 (arXiv 2010.15821). Where the released code differs from what the paper means,
`docs/methods.md` says so.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitesse.arch import Backbone
from vitesse.data.part import Batch
from vitesse.losses.classification import distillation
from vitesse.search.board import Board, Entry, admits, from_state, has_taught, insert, looked_at, to_state
from vitesse.search.paths import DrawPath
from vitesse.search.prioritizing import PrioritizedSettings
from vitesse.supernet import Supernet, inherit
from vitesse.tasks.rating import Rating, path_loss
from vitesse.tasks.teaching import Seen, Teaching
from vitesse.train.processes import Accelerator, gathered, total

LOOK = 256  # held-out images in one pass
# Images (n, C, H, W) by their places in the part that is learned, unchanged.
Pictures = Callable[[Sequence[int]], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HeldOut:
    """What tells how accurate a path is: images that are not learned, and those on which running statistics are gathered.

    places: in the part that is learned. images: (n, C, H, W). labels: (n,). calibration: batches of images; none without
    batch normalization.
    """

    places: tuple[int, ...]
    images: Tensor
    labels: Tensor
    calibration: Sequence[Tensor] = ()


class Prioritized:
    """The losses of a step, and the board and the meta network that they keep; they are part of a checkpoint.

    held: None where the training batch tells how accurate a path is (rule "published"). cost: of a path, less is better.
    begin: the step at which the first path enters the board. rate: of the weights in the step that the meta network's
    lesson simulates.
    """

    def __init__(
        self, draw: DrawPath, teaching: Teaching, settings: PrioritizedSettings, *,
        cost: Callable[[Backbone], float], pictures: Pictures, held: HeldOut | None, classes: int, begin: int,
        rate: float, seed: int, accelerator: Accelerator,
    ) -> None:  # fmt: skip
        self.draw, self.teaching, self.settings = draw, teaching, settings
        self.cost, self.pictures, self.held, self.begin = cost, pictures, held, begin
        self.classes, self.rate, self.seed, self.accelerator = classes, rate, seed, accelerator
        self.board = Board(size=settings.size, rule=settings.rule)
        self.rating = Rating(
            classes=classes, images=settings.references, lr=settings.meta_lr, seed=seed, accelerator=accelerator,
            published=settings.rule == "published",
        )  # fmt: skip
        self._step = -1  # the step under way
        self._chosen: tuple[Backbone, float] | None = None  # who teaches in it, and the match

    def __call__(self, supernet: nn.Module, batch: Batch, step: int) -> Iterator[Tensor]:
        """One loss: that of the step's path, whose teacher is another path of the board.

        Where the step's batch comes in parts, the first decides about teacher, meta network and board.
        """
        assert isinstance(supernet, Supernet)
        first, self._step = step != self._step, step
        arch = self.draw(random.Random(f"{self.seed}/{step}"), self.board)
        # Before any look at the same weights: autocast keeps what a look without gradients casts, and gives it to others.
        logits = supernet(batch.images, arch)
        if first:
            self._chosen = self._choose(supernet, arch, batch, step)
        loss = self.teaching.loss(Seen(logits=logits), batch, self.teaching.told(batch, step))
        guide = None
        if self._chosen is not None:
            teacher, match = self._chosen
            guide = supernet.look(batch.images, teacher, seen=[batch.images])
            loss = path_loss(match, distillation(logits, guide, form="cross_entropy"), loss)
        yield loss
        if first and step >= self.begin:
            self._consider(supernet, arch, batch, step, logits=logits.detach(), guide=guide)

    def _choose(self, supernet: Supernet, arch: Backbone, batch: Batch, step: int) -> tuple[Backbone, float] | None:
        """Let the meta network learn where it is time, and choose the teacher: nobody teaches itself."""
        able = [place for place, entry in enumerate(self.board.entries) if entry.arch != arch]
        if not able:
            return None
        place, match = able[0], 0.5
        if self.settings.teacher == "meta":
            differences = self._differences(supernet, arch, batch.images)
            place, match = self.rating.choose(differences, able=able)
            if step % self.settings.every == 0:
                self._lesson(supernet, arch, batch, differences, place)
                place, match = self.rating.choose(differences, able=able)
        self.board = has_taught(self.board, place)
        return self.board.entries[place].arch, match

    def _differences(self, supernet: Supernet, arch: Backbone, seen: Tensor) -> Tensor:
        """What the path says of each board path's reference images less what that one said: (K, images, classes)."""
        entries = self.board.entries
        images = torch.cat([self.pictures(entry.images) for entry in entries])
        said = supernet.look(images, arch, seen=[seen]).float().softmax(-1).view(len(entries), -1, self.classes)
        return said - torch.stack([entry.probabilities for entry in entries])

    def _lesson(self, supernet: Supernet, arch: Backbone, batch: Batch, differences: Tensor, place: int) -> None:
        """One lesson of the meta network, before the weights' own step; in float32, because weights change under way.

        The step is simulated on the first half of the batch and judged on the second; on as many images as there are
        references in the released code.
        """
        count = max(1, len(batch.images) // 2)
        if self.settings.rule == "published":
            count = min(count, self.settings.references)
        images, ahead, targets = batch.images[:count], batch.images[-count:], batch.targets[-count:]
        with torch.autocast(images.device.type, enabled=False):
            guide = supernet.look(images, self.board.entries[place].arch, seen=[images])
            self.rating.learn(
                inherit(supernet.network, arch), differences, place,
                images=images, guide=guide, ahead=ahead, targets=targets, rate=self.rate,
            )  # fmt: skip

    def _consider(
        self, supernet: Supernet, arch: Backbone, batch: Batch, step: int, *, logits: Tensor, guide: Tensor | None
    ) -> None:
        """Let the step's path ask to enter the board; look at the whole board anew where it is time."""
        cost, count = self.cost(arch), self.settings.references
        if self.held is not None:
            if step % self.settings.refresh == 0:
                self.look_again(supernet)
            if not admits(self.board, arch, accuracy=1.0, cost=cost):
                return
            # Images of its own: of common ones the linear score of every path would order the teachers alike.
            places = tuple(random.Random(f"{self.seed}/{step}/references").sample(self.held.places, count))
            accuracy, probabilities = self._look(supernet, arch, self.held, places)
        else:
            right = float((logits.argmax(-1) == batch.labels).sum())
            correct, seen = total([right, len(logits)], self.accelerator)
            accuracy = correct / seen
            if not admits(self.board, arch, accuracy=accuracy, cost=cost):
                return
            # The released code keeps what the teacher says, where there is one. All processes keep what the first saw.
            said = (logits if guide is None else guide)[:count].float().softmax(-1).cpu()
            places, probabilities = gathered([(tuple(batch.indices[:count].tolist()), said)], self.accelerator)[0]
        entry = Entry(
            arch=arch, accuracy=accuracy, cost=cost, step=step, images=places,
            probabilities=probabilities.to(logits.device),
        )  # fmt: skip
        self.board = insert(self.board, entry)

    def look_again(self, supernet: Supernet) -> None:
        """Look at every path of the board as it is now, all processes together; the released code never does."""
        if self.held is not None:
            looks = [self._look(supernet, entry.arch, self.held, entry.images) for entry in self.board.entries]
            self.board = looked_at(self.board, looks)

    def _look(self, supernet: Supernet, arch: Backbone, held: HeldOut, places: tuple[int, ...]) -> tuple[float, Tensor]:
        """The accuracy on the images that are held out, and the probabilities (references, classes) of those at `places`."""
        share = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
        images = torch.cat([self.pictures(places), held.images[share]])
        logits = torch.cat([supernet.look(part, arch, seen=held.calibration) for part in images.split(LOOK)])
        right = float((logits[len(places) :].argmax(-1) == held.labels[share]).sum())
        return total([right], self.accelerator)[0] / len(held.images), logits[: len(places)].float().softmax(-1)

    def state_dict(self) -> dict[str, Any]:
        """The board, the meta network and its optimizer."""
        return {"board": to_state(self.board), "rating": self.rating.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.board = from_state(state["board"])
        self.rating.load_state_dict(state["rating"])
