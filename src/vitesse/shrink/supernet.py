"""The supernet of a run: made from the teacher or from nothing, trained, and left in the run folder."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitesse.arch import Backbone, CellSpace, any_space_from_json, buffers, parameters, size, to_json
from vitesse.errors import UsageError
from vitesse.losses.classification import cross_entropy
from vitesse.nets import NetworkOfBlocks
from vitesse.runs.files import read_json, write_json
from vitesse.saved import load_network, save_network
from vitesse.search.draw import draw
from vitesse.search.feasible import within
from vitesse.shrink.cells import find_cells, fitted_cells, space_of_cells
from vitesse.shrink.costing import Costing
from vitesse.shrink.cyclic import train_cyclic
from vitesse.shrink.design import begins, fitted, space_around
from vitesse.shrink.job import Job
from vitesse.shrink.mobile import mobile_space
from vitesse.shrink.prioritized import leave_board, prioritized
from vitesse.shrink.scoring import calibration
from vitesse.shrink.teacher import teaching_of
from vitesse.supernet import Supernet
from vitesse.tasks.classification import one_subnet, sandwich
from vitesse.train.loop import Losses, Progress
from vitesse.train.settings import TrainSettings
from vitesse.weights.reorder import importance, most_important_first, reorder
from vitesse.weights.sharing import untied
from vitesse.zoo import space_named

NETWORK = "supernet/model.safetensors"
SPACE = "supernet/space.json"
POOL = 1024  # subnets drawn beforehand, so that a step costs no rejection and few skeletons are built
IMPORTANCE_BATCHES = 8


def space_of(job: Job, teacher: Backbone | None) -> Backbone | CellSpace:
    """The space that a run asks for: around the teacher, made for the data and the budget, a named one, or one in a file."""
    space = _asked_space(job, teacher)
    if job.settings.distill.auxiliary and isinstance(space, Backbone):  # now, not after the stages before
        raise UsageError("distill.auxiliary is for networks of cells, and this space has none such. Set it to 0.")
    return space


def space_of_blocks(job: Job, teacher: Backbone | None) -> Backbone:
    """The same where a space of cells will not do."""
    space = space_of(job, teacher)
    if isinstance(space, CellSpace):
        raise UsageError("A space of cells has no sizes that could move. Search it by shrink with --strategy cyclic.")
    return space


def _asked_space(job: Job, teacher: Backbone | None) -> Backbone | CellSpace:
    name = job.settings.supernet.space
    if name == "auto":
        if teacher is None:
            raise UsageError(
                "A space is made around a network of ours (a plain ViT, a TinyViT, an EfficientViT), but this teacher is none. "
                "Name a space: --space mobile, --space autoformer_tiny."
            )
        return space_around(teacher, multiplex=job.settings.supernet.multiplex)
    parts = job.parts
    if name == "cells":
        return space_of_cells(parts.preprocess, classes=len(parts.classes), budget=job.settings.budget)
    if name == "mobile":
        return mobile_space(parts.preprocess, classes=len(parts.classes), budget=job.settings.budget)
    space = _space_in(Path(name)) if Path(name).is_file() else space_named(name)
    if isinstance(space, CellSpace):
        return fitted_cells(space, parts.preprocess, classes=len(parts.classes))
    return fitted(space, parts.preprocess, classes=len(parts.classes))


def _space_in(file: Path) -> Backbone | CellSpace:
    try:
        return any_space_from_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"A space's file holds it as JSON, but {file} cannot be read so: {error}") from error


def train_supernet(
    job: Job, space: Backbone, *, costing: Costing, teacher: nn.Module | None, progress: Progress
) -> dict[str, Any]:
    """The stage: leaves the trained host in the run folder."""
    if job.settings.supernet_rule == "cyclic":
        kept, told = train_cyclic(job, space, costing=costing, teacher=teacher, progress=progress)
        if job.main:
            leave(job, kept)
        return told
    settings = job.scaled(job.settings.supernet.train, offset=2)
    supernet, elastic = begun(job, space, teacher, settings)
    kept = taught(job, supernet, settings, stage="supernet", costing=costing, teacher=teacher, progress=progress)
    if job.main:
        leave(job, kept)
    return {"space_size": f"{size(space):.3g}", "elastic": elastic}


def begun(job: Job, space: Backbone, teacher: nn.Module | None, settings: TrainSettings) -> tuple[Supernet, bool]:
    """The supernet before its training, and whether it begins with the teacher's weights."""
    torch.manual_seed(settings.seed)
    supernet = Supernet(space, drop_path=settings.drop_path)
    elastic = (
        job.settings.supernet.elastic and isinstance(teacher, NetworkOfBlocks) and begins(teacher.arch, supernet.host)
    )
    if elastic:
        assert isinstance(teacher, NetworkOfBlocks)
        known = untied(by_importance(job, teacher), teacher.arch)
        own = supernet.network.state_dict()
        # Blocks that share begin with the first one's weights; maps over the heads, which the teacher lacks, do nothing.
        supernet.network.load_state_dict(own | {name: known[name] for name in own if name in known})
    return supernet, elastic


def taught(
    job: Job,
    supernet: Supernet,
    settings: TrainSettings,
    *,
    stage: str,
    costing: Costing,
    teacher: nn.Module | None,
    progress: Progress,
) -> Supernet:
    """The supernet after a training by the rule that is set."""
    teaching = teaching_of(job, teacher, train=settings).logits_only()
    pool = affordable(supernet.space, costing, seed=settings.seed)

    def one_of(rng: random.Random) -> Backbone:
        return rng.choice(pool)

    rule, memory, learn = job.settings.supernet_rule, None, None
    losses: Losses
    if rule == "prioritized":
        memory, learn = prioritized(job, supernet, teaching, settings, pool=pool, costing=costing)
        losses = memory
    elif rule == "single":
        losses = one_subnet(one_of, teaching, seed=settings.seed)
    else:
        randoms = job.settings.supernet.randoms
        losses = sandwich(supernet.space, one_of, teaching, seed=settings.seed, randoms=randoms)
    # What is looked at meanwhile is one subnet within the budget: the largest would tell nothing new.
    typical = pool[0]
    calibrating = calibration(job, supernet.host)
    kept = job.train(
        supernet, settings, stage=stage, losses=losses, progress=progress, memory=memory, learn=learn,
        forward=lambda network: _as(network, typical, calibrating),
    )  # fmt: skip
    assert isinstance(kept, Supernet)
    if memory is not None:
        leave_board(job, memory, kept)
    kept.network.preprocess, kept.network.class_names = job.parts.preprocess, job.parts.classes
    return kept


def leave(job: Job, supernet: Supernet) -> None:
    """Write the trained host and its space, for the search."""
    save_network(supernet.network, job.path(NETWORK))
    write_json(job.path(SPACE), {"space": to_json(supernet.space)})


def _as(supernet: nn.Module, arch: Backbone, calibrating: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """The subnet `arch` as it is now, with running statistics of its own."""
    assert isinstance(supernet, Supernet)
    device = next(supernet.parameters()).device
    own = supernet.statistics(arch, (images.to(device) for images in calibrating))
    return lambda images: supernet(images, arch, statistics=own)


def load_supernet(file: Path, space: Backbone) -> Supernet:
    """The supernet that the stage left."""
    network = load_network(file)
    assert isinstance(network, NetworkOfBlocks)
    supernet = Supernet(space, host=network.arch)
    supernet.network = network
    return supernet.eval()


def train_cells(job: Job, space: CellSpace, *, teacher: nn.Module | None, progress: Progress) -> dict[str, Any]:
    """The same stage where cells are searched for: leaves the network of those that were found, as wide as they were."""
    if job.settings.supernet_rule != "cyclic":
        raise UsageError(
            "Cells are found by a cyclic search alone, but the rule is "
            f"{job.settings.supernet_rule!r}. Give --rule cyclic, or take another space."
        )
    network, told = find_cells(job, space, teacher=teacher, progress=progress)
    network.preprocess, network.class_names = job.parts.preprocess, job.parts.classes
    if job.main:
        save_network(network, job.path(NETWORK))
        write_json(job.path(SPACE), {"space": to_json(space)})
    return told


def trained_space(run: Path) -> Backbone | CellSpace:
    """The space whose supernet a run trained, or in which it searched for cells."""
    return any_space_from_json(read_json(run / SPACE)["space"])


def affordable(space: Backbone, costing: Costing, *, seed: int) -> list[Backbone]:
    """Random subnets within the budget: what is never asked for need not be trained."""
    return draw(
        space,
        min(POOL, size(space)),
        rng=random.Random(seed),
        feasible=lambda arch: within(costing(arch), costing.limits),
    )


def by_importance(job: Job, teacher: NetworkOfBlocks) -> dict[str, torch.Tensor]:
    """The teacher's weights with heads and channels in the order of their importance on the data (first-order Taylor).

    So the slices that keep the first ones keep what matters most; the whole network computes the same as before.
    """
    network = teacher.to(job.accelerator.device).eval()
    network.zero_grad(set_to_none=True)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    for batch in job.drawn(job.settings.supernet.train.batch, IMPORTANCE_BATCHES):
        images, targets = batch.images.to(job.accelerator.device), batch.targets.to(job.accelerator.device)
        cross_entropy(network(images), targets).backward()
    shapes = parameters(teacher.arch)
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    state = {name: tensor.detach() for name, tensor in network.state_dict().items()}
    scores = importance(state, shapes, gradients)
    network.zero_grad(set_to_none=True)
    return reorder(state, shapes | buffers(teacher.arch), most_important_first(scores))
