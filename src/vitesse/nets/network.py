"""The plain network of blocks: a stem, stages, a head on tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitesse.arch import Backbone, Block, ConvStem, Down, Grid, Operation, Options, PatchEmbed, Stage
from vitesse.arch.choice import options
from vitesse.nets.branch import Branch, Candidates, down
from vitesse.nets.interface import Network, initialize, pretrained_cfg
from vitesse.nets.layers import layers_by_depth
from vitesse.ops.convolution import ConvTokens
from vitesse.ops.head import Classifier
from vitesse.ops.patch_embed import PatchTokens


class Lender(NamedTuple):
    """The block whose weights another one uses: its position, its module, and the roles that stay the other's own."""

    position: int
    module: nn.Module
    own: tuple[str, ...]


# Makes the module of the block at (stage, position); the supernet passes one that keeps what it made.
MakeBlock = Callable[[int, int, Block, int, float, Lender | None], nn.Module]
# Makes the module that leads into a stage, from the width before to its own; likewise.
MakeDown = Callable[[int, Down, int, int], nn.Module]


@singledispatch
def stem(value: object, embed: int) -> nn.Module:
    """The module of a stem's value, for an embedding of this width."""
    raise TypeError(f"No module is known for the stem {type(value).__name__}.")


stem.register(ConvStem)(ConvTokens)
stem.register(PatchEmbed)(PatchTokens)


def make_down(stage: int, value: Down, previous: int, dim: int) -> nn.Module:
    """What leads into a stage, or all that may."""
    if isinstance(value, Options):
        return Candidates(down(option, previous, dim) for option in value.options)
    return down(value, previous, dim)


def make_block(
    stage: int, position: int, block: Block, dim: int, drop_path: float, lender: Lender | None = None
) -> nn.Module:
    """The branches of one block, in order; of one that is open all candidates."""

    def branch(value: Operation) -> nn.Module:
        if isinstance(value, Options):
            return Candidates(branch(option) for option in value.options)
        return Branch(value.at(position), dim, drop_path=drop_path)

    made = nn.ModuleList(branch(value) for value in block.branches)
    if lender is not None:
        for borrower, source in zip(_each(made), _each(lender.module), strict=True):
            borrower.borrow(source, lender.own)
    return made


def _each(block: nn.Module) -> Iterator[Branch]:
    """Every branch of a block, candidates one by one."""
    for part in block.children():
        if isinstance(part, Branch):
            yield part
        else:
            yield from _each(part)


class StageModule(nn.Module):
    """What leads into a stage, and its blocks."""

    def __init__(
        self, value: Stage, number: int, *, drop_path: Sequence[float], block: MakeBlock, down: nn.Module | None
    ) -> None:
        super().__init__()
        self.value = value.down
        self.down = down
        self.blocks = nn.ModuleList()
        for b, (one, rate) in enumerate(zip(value.blocks, drop_path, strict=True)):
            leader = value.leader(b)
            lender = None if leader == b else Lender(leader, self.blocks[leader], value.own)
            self.blocks.append(block(number, b, one, value.dim, rate, lender))

    def enter(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """Tokens (B, N, previous) and how they lie, as the first block is to see them."""
        if self.value is None or self.down is None:
            return x, grid
        return self.down(x, grid), options(self.value)[-1].grid(grid)  # a mixture has candidates of one stride


class NetworkOfBlocks(Network):
    """Stem, stages, head. `forward_intermediates` gives features: after every block where there is one stage, else at the end
    of every stage.
    """

    arch: Backbone

    def __init__(
        self,
        arch: Backbone,
        *,
        drop_path: Sequence[float],
        block: MakeBlock = make_block,
        down: MakeDown = make_down,
    ) -> None:
        super().__init__(arch)
        self.stem = stem(arch.stem, arch.stages[0].dim)
        rates = iter(drop_path)
        self.stages = nn.ModuleList()
        for s, stage in enumerate(arch.stages):
            way = None if stage.down is None else down(s, stage.down, arch.stages[s - 1].dim, stage.dim)
            own_rates = [next(rates) for _ in stage.blocks]
            self.stages.append(StageModule(stage, s, drop_path=own_rates, block=block, down=way))
        self.head = Classifier(arch.head, arch.stages[-1].dim)
        self.head_hidden_size = arch.head.width(self.embed_dim)
        self.num_prefix_tokens = len(arch.stem.tokens)
        self.feature_info = [
            {"module": _module(s, b), "num_chs": arch.stages[s].dim, "reduction": arch.reductions[s]}
            for s, b in self._taps()
        ]

    def _taps(self) -> list[tuple[int, int]]:
        """The blocks (stage, position) after which there are features; position -1: after what leads into the stage."""
        first = self.arch.stages[0]
        if len(self.arch.stages) == 1:
            return [(0, b) for b in range(first.depth)]
        return [(s, stage.depth - 1) for s, stage in enumerate(self.arch.stages)]

    def walk(self, x: Tensor, *, last: tuple[int, int] | None = None) -> Iterator[tuple[tuple[int, int], Tensor, Grid]]:
        """The stream (B, N, dim) of images after each block (stage, position), and how it lies; ends after `last`.

        A stage without blocks has one place, -1: after what leads into it.
        """
        grid = self.stem.grid(x)  # type: ignore[operator]
        x = self.stem(x)
        for s, stage in enumerate(self.stages):
            x, grid = stage.enter(x, grid)  # type: ignore[operator]
            for b, block in enumerate(stage.blocks):  # type: ignore[arg-type]
                x = self._run(block, x, grid)
                yield (s, b), x, grid
                if (s, b) == last:
                    return
            if not len(stage.blocks):  # type: ignore[arg-type]
                yield (s, -1), x, grid
                if (s, -1) == last:
                    return

    def _run(self, block: nn.Module, x: Tensor, grid: Grid) -> Tensor:
        for branch in block:  # type: ignore[attr-defined]
            if self.grad_checkpointing and torch.is_grad_enabled():
                x = checkpoint(branch, x, grid, use_reentrant=False)
            else:
                x = branch(x, grid)
        return x

    def _norm(self, x: Tensor) -> Tensor:
        normed: Tensor = self.head.norm(x) if self.arch.head.norm_first else x
        return normed

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to tokens (B, N, embed) after the last block and, where it comes first, the final norm."""
        for _, after, _ in self.walk(x):
            x = after
        return self._norm(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens (B, N, embed) to logits (B, classes), or to what the classifier reads (B, head_hidden_size)."""
        pooled: Tensor = self.head.pool(x, self.num_prefix_tokens)
        if pre_logits:
            return pooled.mean(1) if pooled.ndim == 3 else pooled  # of two tokens their mean, as timm gives it
        logits: Tensor = self.head(pooled)
        return logits

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Features at the places of `feature_info` asked for (timm's: None all, an integer the last n, or positions).

        `norm` applies the final norm to those that have its width.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise ValueError(f'output_fmt must be "NCHW" or "NLC", but got {output_fmt!r}.')
        taps = self._taps()
        wanted = taps[-indices:] if isinstance(indices, int) else taps
        wanted = [taps[i] for i in indices] if indices is not None and not isinstance(indices, int) else wanted
        found = []
        for place, after, grid in self.walk(x, last=max(wanted) if stop_early else None):
            x = after
            if place in wanted:
                normed = self._norm(x) if norm and x.shape[-1] == self.embed_dim else x
                found.append(self._intermediate(normed, grid, output_fmt, return_prefix_tokens))
        return found if intermediates_only else (self._norm(x), found)

    @staticmethod
    def _intermediate(x: Tensor, grid: Grid, output_fmt: str, return_prefix_tokens: bool) -> Any:
        prefix, patches = x[:, : grid.extra], x[:, grid.extra :]
        if output_fmt == "NCHW":
            patches = patches.transpose(1, 2).unflatten(2, (grid.rows, grid.columns))  # (B, embed, rows, columns)
        return (patches, prefix) if return_prefix_tokens else patches

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new, untrained classifier for another number of classes; `global_pool` is "avg", "token" or None."""
        pools = {None: self.arch.head.pool, "avg": "mean", "token": "class", "": self.arch.head.pool}
        if global_pool not in pools:
            raise ValueError(f'global_pool must be "avg", "token" or None, but got {global_pool!r}.')
        head = replace(self.arch.head, classes=num_classes, pool=pools[global_pool])
        self.arch = replace(self.arch, head=head)
        before, fresh = self.head, Classifier(head, self.embed_dim)
        initialize(fresh)
        self.head = fresh.to(next(self.parameters()))  # on this network's device, of its type
        for name in ("norm", "norm_distilled", "hidden"):
            if hasattr(fresh, name):
                setattr(fresh, name, getattr(before, name))
        self.num_classes, self.class_names = num_classes, ()
        self.default_cfg = self.pretrained_cfg = pretrained_cfg(self.arch, self.preprocess)

    def no_weight_decay(self) -> set[str]:
        """Parameters that are no matrices of a layer: extra tokens, absolute positions, biases of offsets and factors."""
        small = (".offset_bias", ".cosine.log_factor", ".position.fc1.weight", ".position.fc2.weight")
        return {"stem.tokens", "stem.position"} | {name for name, _ in self.named_parameters() if name.endswith(small)}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers by depth, for layer-wise learning rates (timm's convention)."""
        return layers_by_depth(self.arch)


def _module(stage: int, position: int) -> str:
    """The name of what the features of a place come out of."""
    if position < 0:
        return f"stages.{stage}.down" if stage else "stem"
    return f"stages.{stage}.blocks.{position}"
