"""Multi-head self-attention: the module behind `arch.Attention`."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from vitesse.arch import Attention, Grid, ImageRelativePosition, RelativePosition
from vitesse.ops.image_position import ImagePositionTables
from vitesse.ops.mixing import HeadMixing
from vitesse.ops.relative_position import RelativePositionTables


def position_tables(
    value: RelativePosition | ImageRelativePosition, heads: int, head_dim: int
) -> RelativePositionTables | ImagePositionTables:
    """The tables behind the value; both attend with (q, k, v, grid)."""
    if isinstance(value, RelativePosition):
        return RelativePositionTables(value, head_dim)
    return ImagePositionTables(value, heads, head_dim)


class SelfAttention(nn.Module):
    """softmax(q k^T / sqrt(head_dim)) v with joint q, k, v projection; rows of `qkv` are (three, heads, head_dim)."""

    def __init__(self, value: Attention, embed: int) -> None:
        super().__init__()
        self.value = value
        width = value.heads * value.head_dim
        self.qkv = nn.Linear(embed, 3 * width, bias=bool(value.bias))
        self.proj = nn.Linear(width, embed)
        if value.qk_norm:
            self.q_norm = nn.LayerNorm(value.head_dim, eps=value.norm.eps if value.norm else 1e-6)
            self.k_norm = nn.LayerNorm(value.head_dim, eps=value.norm.eps if value.norm else 1e-6)
        self.position = None
        if value.position is not None:
            self.position = position_tables(value.position, value.heads, value.head_dim)
        self.mix = None if value.mix is None else HeadMixing(value.mix, value.heads)

    @property
    def last(self) -> nn.Linear:
        """The layer that computes what this one gives."""
        return self.proj

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, embed) to (B, N, embed); `grid` says how the N tokens lie on the map."""
        joint = self.qkv(x).unflatten(-1, (3, self.value.heads, self.value.head_dim))  # (B, N, 3, heads, head_dim)
        q, k, v = joint.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, head_dim) each
        if self.value.qk_norm:
            q, k = self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype)
        if self.mix is not None:
            out = attend_mixed(q, k, v, grid, self.mix, position=self.position)
        elif self.position is None:
            out = functional.scaled_dot_product_attention(q, k, v)
        else:
            out = self.position.attend(q, k, v, grid)
        projected: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return projected


def attend_mixed(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    grid: Grid,
    mix: HeadMixing,
    *,
    position: RelativePositionTables | ImagePositionTables | None = None,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Attention whose heads are mixed around the softmax; q, k, v and the result are (B, heads, N, head_dim).

    Relative terms and the `bias` (heads, N, N) join before the first map, the `mask` (windows, N, N) behind it.
    """
    scale = q.shape[-1] ** -0.5
    q = q * scale
    scores = q @ k.transpose(-2, -1)  # (B, heads, N, N)
    if bias is not None:
        scores = scores + bias
    sides = () if position is None else position.value.sides
    if position is not None and "key" in sides:
        scores = scores + position.key_terms(q, grid)
    if isinstance(position, ImagePositionTables) and "query" in sides:
        scores = scores + position.query_terms(k * scale, grid)
    weights = mix(scores, mask)
    out: Tensor = weights @ v
    if position is not None and "value" in sides:
        out = out + position.value_terms(weights, grid).to(v.dtype)
    return out
