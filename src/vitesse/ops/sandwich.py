"""What stands around the attention of EfficientViT: the modules behind `arch.ConvMLP` and `arch.SandwichDownsample`."""

from __future__ import annotations

from torch import Tensor, nn

from vitesse.arch import ConvMLP, Grid, SandwichDownsample
from vitesse.ops.convolution import ConvNorm, SqueezeExcite, to_map, to_tokens
from vitesse.ops.mlp import activation


class Pointwise(nn.Module):
    """1x1 to the hidden width, activation, 1x1 back, on a map; starts as nothing."""

    def __init__(self, embed: int, hidden: int, act: str) -> None:
        super().__init__()
        self.expand = ConvNorm(embed, hidden)
        self.act = activation(act)
        self.project = ConvNorm(hidden, embed)
        nn.init.zeros_(self.project.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, embed, rows, columns) to the same shape."""
        out: Tensor = self.project(self.act(self.expand(x)))
        return out


class ConvPerceptron(Pointwise):
    """The same on tokens, as a block's branch."""

    def __init__(self, value: ConvMLP, embed: int) -> None:
        super().__init__(embed, value.hidden(embed), value.act)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:  # type: ignore[override]
        """(B, N, embed) to (B, N, embed)."""
        return to_tokens(super().forward(to_map(x, grid)))


class SandwichDownsampling(nn.Module):
    """Half a sandwich, the step to half the map and the new width, half a sandwich."""

    def __init__(self, value: SandwichDownsample, previous: int, embed: int) -> None:
        super().__init__()
        sizes = value.sizes(previous, embed)
        hidden = sizes["hidden"]
        self.before_local = ConvNorm(previous, previous, 3, groups=previous)
        self.before_mlp = Pointwise(previous, sizes["before.hidden"], value.act)
        self.expand = ConvNorm(previous, hidden)
        self.depthwise = ConvNorm(hidden, hidden, 3, stride=value.stride, groups=hidden)
        self.squeeze = SqueezeExcite(hidden, sizes["squeeze.hidden"], gate=nn.Sigmoid())
        self.project = ConvNorm(hidden, embed)
        self.after_local = ConvNorm(embed, embed, 3, groups=embed)
        self.after_mlp = Pointwise(embed, sizes["after.hidden"], value.act)
        self.act = activation(value.act)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Tokens (B, N, previous) that lie on `grid` to (B, fewer, embed)."""
        y = to_map(x, grid)  # (B, previous, rows, columns)
        y = y + self.before_local(y)
        y = y + self.before_mlp(y)
        y = self.act(self.depthwise(self.act(self.expand(y))))  # (B, hidden, rows / 2, columns / 2)
        y = self.project(self.squeeze(y))  # (B, embed, rows / 2, columns / 2)
        y = y + self.after_local(y)
        y = y + self.after_mlp(y)
        return to_tokens(y)
