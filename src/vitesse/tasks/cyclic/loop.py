"""The cyclic search from its first step to its last; it resumes at the step where it was killed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vitesse.arch import from_json, to_json
from vitesse.data.part import Batch
from vitesse.errors import UsageError, VitesseError
from vitesse.search.likelihood import Logits
from vitesse.tasks.cyclic.learning import TERMS, Learning
from vitesse.tasks.cyclic.pair import Pair
from vitesse.tasks.cyclic.settings import Plan
from vitesse.tasks.teaching import Teaching
from vitesse.train.checkpoint import load_checkpoint, restoring, save_checkpoint
from vitesse.train.loop import TELL_EVERY, Watch, split
from vitesse.train.processes import processes
from vitesse.train.settings import TrainSettings

# What was believed at the end of each cycle: the step, the logits of each choice, and the likeliest network.
Beliefs = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class CyclicTask:
    """The data of a cyclic search, and how well it goes.

    batches(half, epoch, start, rank, world): this process's batches of an epoch of half 0, from which the weights of the
    search network learn, or 1. evaluate(evaluation, arch): accuracy of the evaluation network, as it is kept, on images that
    nothing learns from.
    """

    batches: Callable[[int, int, int, int, int], Iterator[Batch]]
    steps_per_epoch: int
    evaluate: Callable[[Any, Any], float]
    teaching: Teaching


def learn(
    pair: Pair[Any], settings: TrainSettings, *, task: CyclicTask, checkpoint: Path, watch: Watch
) -> tuple[nn.Module, Beliefs]:
    """Train the pair in place; the evaluation network as it is to be kept, and what was believed after each cycle.

    Interrupted at any point and called again with the same arguments, it goes on from `checkpoint` and, on a CPU, ends in
    the same bits. Raises VitesseError where a loss is no longer finite.
    """
    if settings.accumulate > 1 or settings.layer_decay < 1 or settings.clip_mode != "norm":
        raise UsageError(
            "A cyclic search takes its batches whole, has one rate for all layers, and clips the norm of gradients together, "
            f"but got accumulate={settings.accumulate}, layer_decay={settings.layer_decay}, "
            f"clip_mode={settings.clip_mode!r}. Leave these as they are by default."
        )
    run = _Run(pair, settings, task=task, checkpoint=checkpoint, watch=watch)
    run.resume()
    while run.step < run.plan.steps:
        epoch, start = divmod(run.step, task.steps_per_epoch)
        rank = run.accelerator.process_index, run.accelerator.num_processes
        halves = (task.batches(half, epoch, start, *rank) for half in range(2))
        # Where one half has a batch more than the other, it is left out.
        for learned, held in zip(*halves, strict=False):
            run.train_step(learned, held)
            if time.monotonic() - run.saved_at >= settings.checkpoint_seconds:
                run.save()
    run.save()
    return run.learning.kept.eval(), run.beliefs


class _Run:
    """One search under way: everything that a checkpoint holds, and the step that changes it."""

    def __init__(
        self, pair: Pair[Any], settings: TrainSettings, *, task: CyclicTask, checkpoint: Path, watch: Watch
    ) -> None:
        self.settings, self.task, self.checkpoint, self.watch = settings, task, checkpoint, watch
        self.accelerator = processes()
        self.pair = pair.to(self.accelerator.device).train()
        self.plan = Plan(pair.settings, settings.epochs_of(task.steps_per_epoch) * task.steps_per_epoch)
        self.learning = Learning(pair, settings, self.plan, teaching=task.teaching, accelerator=self.accelerator)
        self.beliefs: Beliefs = []
        self.step, self.saved_at, self.note = 0, time.monotonic(), ""

    def train_step(self, learned: Batch, held: Batch) -> None:
        """One step, and at the end of a cycle what is believed."""
        parts = [split(batch, 1, device=self.accelerator.device)[0][0] for batch in (learned, held)]
        self.learning.step(self.step, *parts)
        self.step += 1
        if self.step > self.plan.pretrain and (self.step == self.plan.steps or self.plan.moment(self.step).begins):
            self._end_cycle()
        if self.step % TELL_EVERY == 0:
            self.watch.progress(self.step, self.plan.steps, self.note)

    def _end_cycle(self) -> None:
        terms = self._terms()
        logits, cycle = self.pair.logits(), self.plan.moment(self.step - 1).cycle
        record: dict[str, float] = {"step": self.step, "epoch": cycle + 1, **terms}
        record["lr"] = max(float(group["lr"]) for group in self.learning.optimizers["search"].param_groups)
        record["certainty"] = certainty(logits)
        self.learning.believe(cycle + 1)
        arch = self.learning.archs[0]
        if (cycle + 1) % self.settings.evaluate_every == 0 or self.step == self.plan.steps:
            record["accuracy"] = self.task.evaluate(self.learning.kept.eval(), arch)
            self.pair.train()
        self.beliefs.append({"step": self.step, "logits": logits, "arch": to_json(arch)})
        self.watch.log(record)
        self.note = f"cycle {cycle + 1}, loss {record['loss']:.3f}, certainty {record['certainty']:.1%}"

    def _terms(self) -> dict[str, float]:
        """The terms of the last losses and, as `loss`, the search network's; VitesseError where one is not finite."""
        terms = {name: float(self.learning.terms[name]) for name in TERMS}
        if not all(map(math.isfinite, terms.values())):
            raise VitesseError(
                f"The losses must be finite, but are {terms} at step {self.step}. "
                f"Try a lower lr (now {self.settings.lr}) or a lower alpha_lr (now {self.pair.settings.alpha_lr})."
            )
        return {"loss": terms["search"], **terms}

    def save(self) -> None:
        """Write the checkpoint, whole or not at all, after making sure that it is a good one."""
        self._terms()
        if not all(bool(weight.isfinite().all()) for weight in self.pair.parameters()):
            raise VitesseError(f"The weights must be finite, but are not, at step {self.step}. Try a lower lr.")
        if self.accelerator.is_main_process:
            save_checkpoint(self.checkpoint, self._state())
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Go on from the checkpoint where there is one."""
        if self.checkpoint.exists():
            self._restore(load_checkpoint(self.checkpoint, device=self.accelerator.device))
        self.watch.rewind(self.step)

    def _restore(self, state: dict[str, Any]) -> None:
        with restoring(self.checkpoint, "search"):
            self.pair.load_state_dict(state["pair"])
            for name, optimizer in self.learning.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])
            if self.learning.ema is not None:
                self.learning.ema.module.load_state_dict(state["ema"])
            for name, weight in self.pair.named_parameters():
                weight.grad = state["gradients"].get(name)
            self.learning.archs = [from_json(arch) for arch in state["archs"]]
            self.learning.terms = state["terms"]
            self.beliefs, self.step = state["beliefs"], state["step"]

    def _state(self) -> dict[str, Any]:
        return {
            "pair": self.pair.state_dict(),
            "optimizers": {name: one.state_dict() for name, one in self.learning.optimizers.items()},
            "ema": None if self.learning.ema is None else self.learning.ema.module.state_dict(),
            "gradients": self._old_gradients(),
            "archs": [to_json(arch) for arch in self.learning.archs],
            "terms": self.learning.terms,
            "beliefs": self.beliefs,
            "step": self.step,
        }

    def _old_gradients(self) -> dict[str, Tensor]:
        """Those that count in the next step's norm."""
        if self.pair.settings.clip_over == "stepped":
            return {}
        return {name: weight.grad for name, weight in self.pair.named_parameters() if weight.grad is not None}


def certainty(believed: Logits) -> float:
    """How far the choices are decided: the mean share of the likeliest candidate, from even (0) to alone (1)."""
    found = []
    for logits in believed.values():
        top = 1 / sum(math.exp(one - max(logits)) for one in logits)
        found.append((top - 1 / len(logits)) / (1 - 1 / len(logits)))
    return sum(found) / len(found)
