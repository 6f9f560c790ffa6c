"""The training loop: any network, any loss, any data; resumes at the step where it was killed."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from timm.layers.drop import DropPath
from timm.optim._optim_factory import create_optimizer_v2, list_optimizers
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.scheduler.multistep_lr import MultiStepLRScheduler
from timm.scheduler.scheduler import Scheduler
from timm.utils.agc import adaptive_clip_grad
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vitesse.errors import UsageError, VitesseError
from vitesse.train.checkpoint import load_checkpoint, restoring, save_checkpoint
from vitesse.train.processes import Accelerator, autocast, average_gradients, processes
from vitesse.train.settings import TrainSettings

# The losses of one step, each back-propagated before the next is computed: memory stays that of one pass.
Losses = Callable[[nn.Module, Any, int], Iterable[Tensor]]
Progress = Callable[[int, int, str], None]
TELL_EVERY = 10  # steps between two words of progress: an epoch may last for hours


class Memory(Protocol):
    """What a task remembers from step to step beside the network: tensors, numbers and texts, kept in the checkpoint."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learned: the losses of a step, the batches of an epoch, and how well it goes.

    batches(epoch, start, rank, world): this process's batches of an epoch, from step `start` on; a batch is a dataclass
    of tensors whose first axes are the images.
    evaluate(network): accuracy in [0, 1] on images that are not learned. chance: the accuracy of guessing. measure: what
    it is called, where it is another measure than accuracy. memory: what else a resumed training must know.
    """

    losses: Losses
    batches: Callable[[int, int, int, int], Iterator[Any]]
    steps_per_epoch: int
    evaluate: Callable[[nn.Module], float]
    chance: float
    measure: str = "accuracy"
    memory: Memory | None = None


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Where a training tells how it goes.

    log: takes one record (step, epoch, loss, lr, accuracy) at a time. say: takes a warning. rewind: called with the
    step at which training goes on, so that later records of a killed run are dropped.
    """

    log: Callable[[dict[str, float]], None] = lambda record: None
    say: Callable[[str], None] = lambda message: None
    progress: Progress = lambda done, total, note: None
    rewind: Callable[[int], None] = lambda step: None


def fit(network: nn.Module, settings: TrainSettings, *, task: Task, checkpoint: Path, watch: Watch) -> nn.Module:
    """Train `network` in place and return what to keep: itself, or its averaged weights where `ema` is set.

    Interrupted at any point and called again with the same arguments, it goes on from `checkpoint` and, on a CPU, ends
    in the same bits. Raises VitesseError where the loss is no longer finite.
    """
    run = _Run(network, settings, task=task, checkpoint=checkpoint, watch=watch)
    run.resume()
    while run.step < run.steps:
        epoch, start = divmod(run.step, task.steps_per_epoch)
        for batch in task.batches(epoch, start, run.accelerator.process_index, run.accelerator.num_processes):
            run.train_step(batch)
            run.save_now_and_then()
        if run.step != (epoch + 1) * task.steps_per_epoch:
            raise VitesseError(
                f"An epoch must have {task.steps_per_epoch} batches, but epoch {epoch} ended at step {run.step}. "
                "Let steps_per_epoch be what batches() gives."
            )
        run.end_epoch(epoch)
    run.save()
    return run.kept


class _Run:
    """One training under way: everything that a checkpoint holds, and the step that changes it."""

    def __init__(
        self, network: nn.Module, settings: TrainSettings, *, task: Task, checkpoint: Path, watch: Watch
    ) -> None:
        self.settings, self.task, self.checkpoint, self.watch = settings, task, checkpoint, watch
        self.accelerator: Accelerator = processes()
        self.network = network.to(self.accelerator.device)
        self._learning()
        require_optimizer(settings.optimizer)
        own: dict[str, Any] = {"eps": settings.eps} if settings.eps else {}
        self.optimizer = create_optimizer_v2(
            network,
            opt=settings.optimizer,
            **own,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            layer_decay=settings.layer_decay if settings.layer_decay < 1 else None,
        )
        steps = settings.epochs_of(task.steps_per_epoch) * task.steps_per_epoch
        self.schedule = schedule(self.optimizer, settings, steps=steps)
        self.ema = ModelEmaV3(network, decay=settings.ema, use_warmup=True) if settings.ema else None
        self.steps, self.step = steps, 0
        paths = (
            [module for module in network.modules() if isinstance(module, DropPath)] if settings.drop_path_rise else []
        )
        self.rising = [(path, path.drop_prob) for path in paths]
        self.loss_sum = torch.zeros((), device=self.accelerator.device)
        self.losses_seen, self.accuracy, self.saved_at, self.note = 0, float("nan"), time.monotonic(), ""

    @property
    def kept(self) -> nn.Module:
        """What is evaluated and kept."""
        return self.network if self.ema is None else self.ema.module

    def train_step(self, batch: Any) -> None:
        """One update of the weights: all losses of the step, back-propagated one by one."""
        self.schedule.step_update(self.step)
        for path, rate in self.rising:
            path.drop_prob = rate * self.step / self.steps
        # Seeded by the step, so that stochastic depth is replayed after a restart without storing generator states.
        torch.manual_seed(hash((self.settings.seed, self.step, self.accelerator.process_index)) % 2**63)
        self.optimizer.zero_grad(set_to_none=True)
        for part, share in split(batch, self.settings.accumulate, device=self.accelerator.device):
            losses = self.task.losses(self.network, part, self.step)
            for loss in self._each(losses):
                self.accelerator.backward(loss * share)
                self.loss_sum += loss.detach() * share
        average_gradients(self.network, self.accelerator)
        if self.settings.clip and self.settings.clip_mode == "adaptive":
            adaptive_clip_grad(self.network.parameters(), clip_factor=self.settings.clip)
        elif self.settings.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.optimizer.step()
        self.step += 1
        self.losses_seen += 1
        if self.ema is not None:
            self.ema.update(self.network, step=self.step)
        if self.step % TELL_EVERY == 0:
            self.watch.progress(self.step, self.steps, self.note)

    def _each(self, losses: Iterable[Tensor]) -> Iterator[Tensor]:
        """The losses one by one, each forward pass in the chosen precision, each backward pass outside of it."""
        iterator = iter(losses)
        while True:
            with autocast(self.settings.precision, self.accelerator):
                loss = next(iterator, None)
            if loss is None:
                return
            yield loss

    def _learning(self) -> None:
        """Training mode, but for running statistics that are to stay."""
        self.network.train()
        for layer in self.network.modules() if self.settings.frozen_statistics else ():
            if isinstance(layer, _BatchNorm):
                layer.eval()

    def mean_loss(self) -> float:
        """The mean loss since the last look; VitesseError where it is not finite."""
        value = float(self.loss_sum) / max(self.losses_seen, 1)
        if not math.isfinite(value):
            raise self._diverged(f"The loss must be finite, but is {value}")
        return value

    def _diverged(self, what: str) -> VitesseError:
        good = f"The last good checkpoint is {self.checkpoint}." if self.checkpoint.exists() else "None was saved yet."
        return VitesseError(
            f"{what} within the {self.losses_seen} steps before step {self.step}. "
            f"{good} Try a lower lr (now {self.settings.lr}), a longer warmup or precision fp32."
        )

    def end_epoch(self, epoch: int) -> None:
        """Log the epoch, look at the accuracy where it is time, and say loudly if nothing is learned."""
        record = {"step": self.step, "epoch": epoch + 1, "loss": self.mean_loss(), "lr": self._rate()}
        self.loss_sum.zero_()
        self.losses_seen = 0
        if (epoch + 1) % self.settings.evaluate_every == 0 or self.step >= self.steps:
            self.kept.eval()
            self.accuracy = record[self.task.measure] = self.task.evaluate(self.kept)
            self._learning()
            warm = self.step > max(self.settings.warmup_of(self.steps), 0.2 * self.steps)
            if warm and self.accuracy <= 1.1 * self.task.chance:
                self.watch.say(
                    f"NOTHING IS LEARNED: {self.task.measure} {self.accuracy:.1%} after {self.step} of {self.steps} steps is "
                    f"that of guessing ({self.task.chance:.1%}). Look at the labels, and try another lr."
                )
        self.watch.log(record)
        self.note = f"loss {record['loss']:.3f}"
        self.note += "" if math.isnan(self.accuracy) else f", {self.task.measure} {self.accuracy:.1%}"
        self.watch.progress(self.step, self.steps, self.note)

    def _rate(self) -> float:
        return max(float(group["lr"]) for group in self.optimizer.param_groups)

    def save_now_and_then(self) -> None:
        """Save where enough time has passed since the last checkpoint."""
        if time.monotonic() - self.saved_at >= self.settings.checkpoint_seconds:
            self.save()

    def save(self) -> None:
        """Write the checkpoint, whole or not at all, after making sure that it is a good one."""
        self.mean_loss()
        # A finite loss may have had a gradient that is not: going on from such weights would fail for ever.
        if not all(bool(weight.isfinite().all()) for weight in self.network.parameters()):
            raise self._diverged("The weights must be finite, but are not,")
        if self.accelerator.is_main_process:
            save_checkpoint(self.checkpoint, self._state())
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Go on from the checkpoint where there is one."""
        if self.checkpoint.exists():
            self._restore(load_checkpoint(self.checkpoint, device=self.accelerator.device))
        # Killed between the last step of an epoch and its end: the end is still to come, and what was logged of it goes.
        pending = self.losses_seen > 0 and self.step % self.task.steps_per_epoch == 0
        self.watch.rewind(self.step - pending)
        if pending:
            self.end_epoch(self.step // self.task.steps_per_epoch - 1)

    def _restore(self, state: dict[str, Any]) -> None:
        with restoring(self.checkpoint, "training"):
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.ema is not None:
                self.ema.module.load_state_dict(state["ema"])
            if self.task.memory is not None:
                self.task.memory.load_state_dict(state["memory"])
            self.step, self.losses_seen = state["step"], state["losses_seen"]
            self.loss_sum, self.accuracy = state["loss_sum"].to(self.accelerator.device), state["accuracy"]

    def _state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "memory": None if self.task.memory is None else self.task.memory.state_dict(),
            "step": self.step,
            "losses_seen": self.losses_seen,
            "loss_sum": self.loss_sum,
            "accuracy": self.accuracy,
        }


def schedule(optimizer: torch.optim.Optimizer, settings: TrainSettings, *, steps: int) -> Scheduler:
    """The rate of every step: it rises, then falls along a cosine or, where there are drops, at each of them."""
    warmup = settings.warmup_of(steps)
    rising: dict[str, Any] = {"warmup_t": warmup, "warmup_lr_init": settings.start_lr, "t_in_epochs": False}
    if settings.drops:
        places = [round(share * steps) + 1 for share in settings.drops]  # timm counts one step ahead
        return MultiStepLRScheduler(optimizer, decay_t=places, decay_rate=0.1, warmup_prefix=False, **rising)
    return CosineLRScheduler(
        optimizer, t_initial=max(steps - warmup, 1), lr_min=settings.min_lr, warmup_prefix=True, **rising
    )


def require_optimizer(name: str) -> None:
    """Raise UsageError, with the closest names, where timm knows no optimizer of this name."""
    known = [str(one) for one in list_optimizers()]
    if name not in known:
        close = ", ".join(difflib.get_close_matches(name, known, n=3)) or "adamw is the usual one"
        raise UsageError(f"optimizer must be a name that timm knows, but got {name!r}. The closest: {close}.")


def split(batch: Any, parts: int, *, device: torch.device) -> list[tuple[Any, float]]:
    """The batch on `device`, in `parts` nearly equal parts, each with its share of the whole."""
    tensors = [getattr(batch, field.name).to(device, non_blocking=True) for field in dataclasses.fields(batch)]
    size = len(tensors[0])
    edges = [size * part // parts for part in range(parts + 1)]
    ranges = [(a, b) for a, b in itertools.pairwise(edges) if b > a]
    return [(type(batch)(*(tensor[a:b] for tensor in tensors)), (b - a) / size) for a, b in ranges]
