"""A trained network multiplexed: its blocks in groups that share weights, begun as well as can be without training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vitesse.arch import MLP, Attention, Backbone, Block, HeadMix, LocalMix, Operation, ShiftedWindowAttention, cost
from vitesse.errors import UsageError
from vitesse.measure.drift import drift
from vitesse.nets import Network, NetworkOfBlocks, build
from vitesse.runs.files import write_json
from vitesse.saved import save_network
from vitesse.shrink.job import Job
from vitesse.shrink.settings import MultiplexSettings
from vitesse.tasks.classification import accuracy
from vitesse.train.loop import Progress
from vitesse.weights.sharing import LayerFit, from_first, from_mean, plain_of, sharers, untied

START = "multiplex/model.safetensors"
REPORT = "multiplex.json"
WAYS = ("first", "mean", "fit")
BATCH = 64


def multiplexed(arch: Backbone, settings: MultiplexSettings) -> Backbone:
    """`arch` with its blocks in groups that share weights, and with what tells them apart; UsageError where it cannot."""
    side = min(arch.stem.grid.rows, arch.stem.grid.columns)
    kernel = min(settings.kernel, side - 1 + side % 2)  # odd, and no wider than the map
    try:
        return replace(
            arch,
            stages=tuple(
                replace(
                    stage,
                    share=settings.share,
                    block=tuple(_mixed(block, settings.mix, kernel) for block in stage.blocks),
                )
                for stage in arch.stages
            ),
        )
    except ValueError as error:
        raise UsageError(f"This network cannot be multiplexed so: {error}") from error


def _mixed(block: Block, mix: str, kernel: int) -> Block:
    branches: list[Operation] = []
    local = mix in ("local", "both") and not any(isinstance(branch, LocalMix) for branch in block.branches)
    for branch in block.branches:
        if isinstance(branch, MLP) and local:
            branches.append(LocalMix(kernel=kernel, norm=branch.norm))
            local = False
        if isinstance(branch, (Attention, ShiftedWindowAttention)) and branch.mix is None and mix in ("heads", "both"):
            branches.append(replace(branch, mix=HeadMix()))
        else:
            branches.append(branch)
    return Block(*branches)


def begin(job: Job, original: Network, arch: Backbone, *, progress: Progress) -> dict[str, Any]:
    """The stage: leaves the network before any training, and a report of how far its features drift."""
    settings = job.settings.multiplex
    ways = WAYS if settings.init == "auto" else (settings.init,)
    start = _Start(job, original, arch)
    rows: dict[str, dict[str, Any]] = {}
    networks: dict[str, Network] = {}
    for place, way in enumerate(ways):
        progress(place, len(ways), way)
        networks[way] = start.network(way)
        rows[way] = start.report(networks[way])
    best = max(ways, key=lambda way: (rows[way]["accuracy"], -rows[way]["blocks"][-1]["relative_l2"]))
    _say(job, arch, rows, best)
    chosen = networks[best]
    chosen.preprocess, chosen.class_names = job.parts.preprocess, job.parts.classes
    before = cost(plain_of(original.arch)).params
    found = {"init": best, "share": arch.stages[0].group, "params_before": before, "ways": rows}
    if job.main:
        save_network(chosen, job.path(START))
        write_json(job.path(REPORT), found)
    return found


class _Start:
    """Makes networks of `arch` out of the original's weights, and looks at them."""

    def __init__(self, job: Job, original: Network, arch: Backbone) -> None:
        self.job, self.arch = job, arch
        self.device = job.accelerator.device
        # What is already shared becomes each block's own first: then all ways begin alike.
        self.plain = build(plain_of(original.arch)).to(self.device)
        self.plain.load_state_dict(untied(original.state_dict(), original.arch))
        self.plain.eval()
        self.state = _renamed(self.plain, arch)

    def network(self, way: str) -> Network:
        """The network begun in this way."""
        ways: dict[str, Callable[[], dict[str, Tensor]]] = {
            "first": partial(from_first, self.state, self.arch),
            "mean": partial(from_mean, self.state, self.arch),
            "fit": self._fitted,
        }
        torch.manual_seed(self.job.settings.seed)
        network = build(self.arch).to(self.device).eval()
        # What the original has not, the transformations, begins as it does nothing.
        network.load_state_dict(network.state_dict() | ways[way]())
        return network

    def report(self, network: Network) -> dict[str, Any]:
        """Accuracy on the search part, and the drift after each block."""
        after = drift(_features(self.plain), _features(network), self._images())
        score = accuracy(network, self.job.parts.search, accelerator=self.job.accelerator).value
        groups = _groups(self.arch)
        blocks = [{"block": b, "group": groups[b], **asdict(one)} for b, one in enumerate(after)]
        return {"accuracy": score, "blocks": blocks}

    def _images(self) -> Iterator[Tensor]:
        """The images that are looked at, of the learn part, unchanged."""
        left = self.job.settings.multiplex.images
        for batch in self.job.parts.learn.batches(BATCH):
            if left <= 0:
                return
            yield batch.images[:left].to(self.device)
            left -= len(batch.images)

    def _fitted(self) -> dict[str, Tensor]:
        """The mean, but for linear layers, which are fitted to what they are given."""
        modules = {_new_name(name, self.plain.arch, self.arch): one for name, one in self.plain.named_modules()}
        fits: dict[str, LayerFit] = {}
        layers: dict[str, nn.Linear] = {}
        with contextlib.ExitStack() as stack:
            for name, users in sharers(self.arch).items():
                module = modules.get(name.removesuffix(".weight"))
                if not name.endswith(".weight") or type(module) is not nn.Linear:
                    continue
                fit = fits[name] = LayerFit.like(module.weight, module.bias)
                layers[name] = module
                for user in users:
                    layer = modules[user.removesuffix(".weight")]
                    assert isinstance(layer, nn.Linear)
                    fit.add_layer(layer.weight, layer.bias)
                    stack.callback(layer.register_forward_hook(partial(_see, fit)).remove)
            with torch.inference_mode():
                for images in self._images():
                    self.plain(images)
        state = from_mean(self.state, self.arch)
        for name, fit in fits.items():
            weight, bias = fit.solve(ridge=self.job.settings.multiplex.ridge, bias=layers[name].bias is not None)
            state[name] = weight
            if bias is not None:
                state[name.removesuffix("weight") + "bias"] = bias
        return state


def _see(fit: LayerFit, layer: nn.Linear, inputs: tuple[Tensor], output: Tensor) -> None:
    fit.see(inputs[0], layer.weight, layer.bias)


def _features(network: Network) -> Callable[[Tensor], Sequence[Tensor]]:
    """The stream after every block."""
    assert isinstance(network, NetworkOfBlocks)
    return lambda images: [after for _, after, _ in network.walk(images)]


def _groups(arch: Backbone) -> list[int]:
    """For each block, counted over the whole network, the number of the group whose weights it uses."""
    leaders = [(s, stage.leader(b)) for s, stage in enumerate(arch.stages) for b in range(stage.depth)]
    numbers = {leader: number for number, leader in enumerate(dict.fromkeys(leaders))}
    return [numbers[leader] for leader in leaders]


def _renamed(plain: Network, arch: Backbone) -> dict[str, Tensor]:
    """The plain network's weights under the names of `arch`, which may have branches that it lacks."""
    return {_new_name(name, plain.arch, arch): tensor for name, tensor in plain.state_dict().items()}


def _new_name(name: str, old: Backbone, new: Backbone) -> str:
    """The name in `new` of what `old` names so: the branches that `new` has besides move the others on."""
    parts = name.split(".")
    if parts[0] != "stages" or parts[2:3] != ["blocks"] or len(parts) < 5:
        return name
    stage, block, branch = int(parts[1]), int(parts[3]), int(parts[4])
    theirs, ours = (arch.stages[stage].blocks[block].branches for arch in (old, new))
    added = len(ours) > len(theirs)
    kept = [k for k, one in enumerate(ours) if not (added and isinstance(one, LocalMix))]
    return ".".join([*parts[:4], str(kept[branch]), *parts[5:]])


def _say(job: Job, arch: Backbone, rows: dict[str, dict[str, Any]], best: str) -> None:
    """What was found, in words."""
    groups = _groups(arch)
    last = {group: block for block, group in enumerate(groups)}
    for way, row in rows.items():
        ends = [one for one in row["blocks"] if one["block"] in last.values()]
        drifts = ", ".join(f"{one['relative_l2']:.2f} ({one['cosine']:.2f})" for one in ends)
        job.voice.say(
            f"Begun by {way}: accuracy {row['accuracy']:.1%} before training; "
            f"drift after each group, relative (cosine): {drifts}."
        )
    if len(rows) > 1:
        job.voice.say(f"Taken: {best}, the most accurate before training.")
