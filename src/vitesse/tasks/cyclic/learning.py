"""One step of a cyclic search: who learns from which images (CDARTS, section 3.2)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from timm.optim._optim_factory import create_optimizer_v2
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from vitesse.arch import Arch
from vitesse.data.part import Batch
from vitesse.losses.interaction import interaction
from vitesse.nets.tapped import Tapped
from vitesse.tasks.cyclic.pair import Pair
from vitesse.tasks.cyclic.settings import CyclicSettings, Plan
from vitesse.tasks.teaching import Seen, Teaching
from vitesse.train.loop import schedule
from vitesse.train.processes import Accelerator, autocast, average_gradients
from vitesse.train.settings import TrainSettings

TERMS = ("search", "evaluation", "interaction", "penalty")

# A loss, and the maps and logits that it was computed from.
Loss = tuple[Tensor, Tapped]


class Learning:
    """The pair, its optimizers, and the networks that the evaluation network runs in this cycle.

    A step is given two batches, of the half from which the search network's weights learn and of the half from which
    architecture parameters and evaluation network do.
    """

    def __init__(
        self,
        pair: Pair[Any],
        settings: TrainSettings,
        plan: Plan,
        *,
        teaching: Teaching,
        accelerator: Accelerator,
    ) -> None:
        self.pair, self.settings, self.plan = pair, settings, plan
        self.teaching, self.accelerator = teaching, accelerator
        self.archs: list[Arch] = []
        self.terms = dict.fromkeys(TERMS, torch.zeros((), device=accelerator.device))
        self.ema = ModelEmaV3(pair.evaluation, decay=settings.ema, use_warmup=True) if settings.ema else None
        self._optimize()

    @property
    def cyclic(self) -> CyclicSettings:
        """How the search goes."""
        return self.pair.settings

    @property
    def kept(self) -> nn.Module:
        """The evaluation network as it is judged and kept: its averaged weights, where there are any."""
        return self.pair.evaluation if self.ema is None else self.ema.module

    def step(self, number: int, learned: Batch, held: Batch) -> None:
        """One step; `learned` and `held` are of the two halves."""
        moment = self.plan.moment(number)
        if moment.begins:
            self._begin_cycle(moment.cycle)
        for one in self.schedules.values():
            one.step_update(number)
        # Seeded by the step, so that stochastic depth is replayed after a restart without storing generator states.
        torch.manual_seed(hash((self.settings.seed, number, self.accelerator.process_index)) % 2**63)
        if moment.phase == "warmup":
            told = self.teaching.told(held, number)
            self._update(("evaluation",), lambda: self._evaluating(number, held, told)[0])
        if moment.phase == "joint":
            self._update(("evaluation", "interactor", "alpha"), lambda: self._together(number, held))
        if moment.phase != "warmup":
            answers = self.teaching.told(learned, number)
            self._update(("search",), lambda: self._searching(learned, answers)[0])
        if self.ema is not None and moment.phase != "pretrain":
            self.ema.update(self.pair.evaluation, step=number + 1)

    def _together(self, number: int, held: Batch) -> Tensor:
        """The loss of evaluation network, heads and architecture parameters on images that no weight of the search
        network learned from.
        """
        pair, cyclic = self.pair, self.cyclic
        told = self.teaching.told(held, number)
        first, searched = self._searching(held, told)
        second, evaluated = self._evaluating(number, held, told)
        said, heard = pair.answers(searched), pair.answers(evaluated)
        pull = interaction(
            said, heard.detach() if cyclic.detach else heard,
            distance=cyclic.distance, temperature=cyclic.temperature, reduction=cyclic.reduction,
        )  # fmt: skip
        penalty = self.plan.penalty(self.plan.moment(number).cycle) * pair.penalized()
        self.terms["interaction"], self.terms["penalty"] = pull.detach(), penalty.detach()
        return (first + second) / cyclic.weight + cyclic.weight * pull + penalty

    def _searching(self, batch: Batch, told: Seen | None) -> Loss:
        seen = self.pair.searching(batch.images)
        loss = self.teaching.loss(Seen(logits=seen.logits), batch, told)
        self.terms["search"] = loss.detach()
        return loss, seen

    def _evaluating(self, number: int, batch: Batch, told: Seen | None) -> Loss:
        seen = self.pair.evaluating(batch.images, self.arch_of(number))
        loss = self.teaching.loss(Seen(logits=seen.logits), batch, told)
        self.terms["evaluation"] = loss.detach()
        return loss, seen

    def _update(self, names: tuple[str, ...], loss: Callable[[], Tensor]) -> None:
        """One step of the optimizers named.

        As published ("all"), gradients of what is not stepped stay, are added to, and count in the norm that is clipped.
        """
        stepped = [one for name in names for one in self._parameters(name)]
        everything = self.cyclic.clip_over == "all"
        for one in stepped if everything else self.pair.parameters():
            one.grad = None
        with autocast(self.settings.precision, self.accelerator):
            value = loss()
        self.accelerator.backward(value, inputs=None if everything else stepped)
        average_gradients(self.pair, self.accelerator)
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self.pair.parameters() if everything else stepped, self.settings.clip)
        for name in names:
            self.optimizers[name].step()

    def believe(self, cycle: int) -> None:
        """What is believed now becomes what the evaluation network runs in this cycle, alike on all processes."""
        self.archs = self.pair.likeliest(random.Random(f"{self.settings.seed}/cycle {cycle}"))

    def arch_of(self, number: int) -> Arch:
        """What the evaluation network runs in a step, the same on all processes."""
        rng = random.Random(f"{self.settings.seed}/{number}")
        explored = self.pair.drawn(rng) if rng.random() < self.cyclic.explore else None
        return rng.choice(self.archs) if explored is None else explored

    def _begin_cycle(self, cycle: int) -> None:
        if cycle == 0:  # at the end of each cycle it is known what the next one runs
            self.believe(cycle)
        if self.cyclic.reset_optimizers:
            self._optimize()

    def _optimize(self) -> None:
        """Optimizers that have seen nothing yet."""
        settings, pair = self.settings, self.pair
        how: dict[str, Any] = {
            "opt": settings.optimizer, "lr": settings.lr, "weight_decay": settings.weight_decay,
        }  # fmt: skip
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            name: create_optimizer_v2(module, **how)
            for name, module in (
                ("search", pair.search),
                ("evaluation", pair.evaluation),
                ("interactor", pair.interactor),
            )
        }
        self.schedules = {
            name: schedule(optimizer, settings, steps=self.plan.steps)
            for name, optimizer in self.optimizers.items()
            if self.cyclic.rate == "cosine"
        }
        self.optimizers["alpha"] = torch.optim.Adam(
            pair.alpha.parameters(), lr=self.cyclic.alpha_lr, betas=(0.5, 0.999)
        )

    def _parameters(self, name: str) -> list[nn.Parameter]:
        return [one for group in self.optimizers[name].param_groups for one in group["params"] if one.requires_grad]
