"""The plain network of an architecture, with timm's model interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitesse.arch import Backbone, Block, Grid, Stage
from vitesse.data.preprocess import Preprocess
from vitesse.nets.branch import Branch
from vitesse.ops.head import Classifier
from vitesse.ops.patch_embed import PatchTokens


class Lender(NamedTuple):
    """The block whose weights another one uses: its position, its module, and the roles that stay the other's own."""

    position: int
    module: nn.Module
    own: tuple[str, ...]


# Makes the module of the block at (stage, position); the supernet passes one that keeps what it made.
MakeBlock = Callable[[int, int, Block, int, float, Lender | None], nn.Module]


def make_block(
    stage: int, position: int, block: Block, dim: int, drop_path: float, lender: Lender | None = None
) -> nn.Module:
    """The branches of one block, in order."""
    branches = [Branch(value, dim, drop_path=drop_path) for value in block.branches]
    if lender is not None:
        for branch, source in zip(branches, lender.module.children(), strict=True):
            assert isinstance(source, Branch)
            branch.borrow(source, lender.own)
    return nn.ModuleList(branches)


class StageModule(nn.Module):
    """The blocks of one stage."""

    def __init__(self, value: Stage, number: int, *, drop_path: Sequence[float], block: MakeBlock) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for b, (one, rate) in enumerate(zip(value.blocks, drop_path, strict=True)):
            leader = value.leader(b)
            lender = None if leader == b else Lender(leader, self.blocks[leader], value.own)
            self.blocks.append(block(number, b, one, value.dim, rate, lender))


class Network(nn.Module):
    """Stem, stages, head: images (B, C, H, W) to logits (B, classes).

    `arch` is the value it was built from. Features after every block come from `forward_intermediates`.
    """

    def __init__(self, arch: Backbone, *, drop_path: Sequence[float], block: MakeBlock = make_block) -> None:
        super().__init__()
        self.arch = arch
        self.stem = PatchTokens(arch.stem, arch.stages[0].dim)
        rates = iter(drop_path)
        self.stages = nn.ModuleList(
            StageModule(stage, s, drop_path=[next(rates) for _ in stage.blocks], block=block)
            for s, stage in enumerate(arch.stages)
        )
        self.head = Classifier(arch.head, arch.stages[-1].dim)
        self.num_classes = arch.head.classes
        self.num_features = self.head_hidden_size = self.embed_dim = arch.stages[-1].dim
        self.num_prefix_tokens = len(arch.stem.tokens)
        self.grad_checkpointing = False
        # What a network needs beside its weights to be used; set by whoever trains or loads it.
        self.preprocess: Preprocess | None = None
        self.class_names: tuple[str, ...] = ()
        self.feature_info = [
            {"module": f"stages.{s}.blocks.{b}", "num_chs": stage.dim, "reduction": arch.stem.patch[0]}
            for s, stage in enumerate(arch.stages)
            for b in range(stage.depth)
        ]
        self.default_cfg = self.pretrained_cfg = pretrained_cfg(arch)

    def _blocks(self) -> list[nn.Module]:
        return [block for stage in self.stages.children() for block in stage.blocks]  # type: ignore[union-attr]

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
        grid = self.stem.grid(x)
        x = self.stem(x)
        for block in self._blocks():
            x = self._run(block, x, grid)
        return self._norm(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens (B, N, embed) to logits (B, classes), or to the pooled features (B, embed)."""
        pooled = self.head.pool(x, self.num_prefix_tokens)
        if pre_logits:
            return pooled.mean(1) if pooled.ndim == 3 else pooled  # of two tokens their mean, as timm gives it
        logits: Tensor = self.head(pooled)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, classes)."""
        return self.forward_head(self.forward_features(x))

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
        """Features after the blocks asked for (timm's convention: None all, an integer the last n, or positions)."""
        if output_fmt not in ("NCHW", "NLC"):
            raise ValueError(f'output_fmt must be "NCHW" or "NLC", but got {output_fmt!r}.')
        blocks, grid = self._blocks(), self.stem.grid(x)
        wanted = range(len(blocks))[-indices:] if isinstance(indices, int) else indices
        taken = [range(len(blocks))[i] for i in (range(len(blocks)) if wanted is None else wanted)]
        x, found = self.stem(x), []
        for position, block in enumerate(blocks[: max(taken) + 1] if stop_early else blocks):
            x = self._run(block, x, grid)
            if position in taken:
                found.append(self._intermediate(self._norm(x) if norm else x, grid, output_fmt, return_prefix_tokens))
        return found if intermediates_only else (self._norm(x), found)

    @staticmethod
    def _intermediate(x: Tensor, grid: Grid, output_fmt: str, return_prefix_tokens: bool) -> Any:
        prefix, patches = x[:, : grid.extra], x[:, grid.extra :]
        if output_fmt == "NCHW":
            patches = patches.transpose(1, 2).unflatten(2, (grid.rows, grid.columns))  # (B, embed, rows, columns)
        return (patches, prefix) if return_prefix_tokens else patches

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.head.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new, untrained classifier for another number of classes; `global_pool` is "avg", "token" or None."""
        from dataclasses import replace

        pools = {None: self.arch.head.pool, "avg": "mean", "token": "class", "": self.arch.head.pool}
        if global_pool not in pools:
            raise ValueError(f'global_pool must be "avg", "token" or None, but got {global_pool!r}.')
        head = replace(self.arch.head, classes=num_classes, pool=pools[global_pool])
        self.arch = replace(self.arch, head=head)
        norm, fresh = self.head.norm, Classifier(head, self.embed_dim)
        initialize(fresh)
        self.head = fresh.to(self.stem.proj.weight)  # on this network's device, of its type
        self.head.norm = norm
        self.num_classes, self.class_names = num_classes, ()
        self.default_cfg = self.pretrained_cfg = pretrained_cfg(self.arch, self.preprocess)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each branch in the backward pass: less memory, more time."""
        self.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Parameters that are no matrices of a layer: extra tokens and absolute positions."""
        return {"stem.tokens", "stem.position"}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers by depth, for layer-wise learning rates (timm's convention)."""
        return {"stem": r"^stem", "blocks": [(r"^stages\.(\d+)\.blocks\.(\d+)", None), (r"^head\.norm", (99999,))]}


def initialize(module: nn.Module) -> None:
    """Linear layers: normal, deviation 0.02, biases 0; all else as its module makes it (the ViT's usual start)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def pretrained_cfg(arch: Backbone, preprocess: Preprocess | None = None) -> dict[str, Any]:
    """What timm's tools ask of a model: input, classes, how images are prepared, where the first and last layers are."""
    channels = arch.stem.channels
    cfg = {
        "num_classes": arch.head.classes,
        "input_size": (channels, *arch.stem.image),
        "pool_size": None,
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "fixed_input_size": False,
        "mean": (0.5,) * channels,
        "std": (0.5,) * channels,
        "first_conv": "stem.proj",
        "classifier": "head.classifier",
    }
    if preprocess is not None:
        cfg |= {"mean": preprocess.mean, "std": preprocess.std, "crop_pct": preprocess.crop}
        cfg |= {"interpolation": preprocess.interpolation}
    return cfg
