"""Detection by DETR: image relative positions for the encoder of a DETR of the library transformers (iRPE, section 4.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vitesse.arch import Grid, ImageRelativePosition
from vitesse.errors import UsageError
from vitesse.ops.image_position import ImagePositionTables


def encode_positions(
    model: nn.Module, value: ImageRelativePosition, *, generator: torch.Generator | None = None
) -> list[nn.Parameter]:
    """Give every self-attention of the encoder its own relative positions, in place; the new parameters come back.

    `model` is a DetrModel of transformers or holds one (DetrForObjectDetection, DetrForSegmentation). Its weights stay;
    the decoder stays as it is, since object queries have no place. The tables are drawn uniformly as published (Xavier).
    A map has no extra tokens, so `value.extra` is taken as False. Height and width are those of the padded map, seen where
    the model projects it; masks are respected. Attention probabilities of the encoder are no longer returned.
    UsageError for any other model, and for one that has such positions.
    """
    found = _detr(model)
    value, seen = replace(value, extra=False), MapSize()
    tables: list[nn.Parameter] = []
    for layer in found.encoder.layers:
        attention = layer.self_attn
        if isinstance(attention, PositionedAttention):
            raise UsageError("The encoder has relative positions already. Give them once, to a fresh model.")
        heads = attention.q_proj.out_features // attention.head_dim
        position = ImagePositionTables(value, heads, attention.head_dim)
        _draw(position, generator)
        layer.self_attn = PositionedAttention(attention, position.to(attention.q_proj.weight), seen)
        layer.self_attn.train(attention.training)
        tables.extend(position.parameters())
    found.input_projection.register_forward_hook(seen.look)
    return tables


class MapSize:
    """The height and width of the map that the model is at; all layers of one encoder look at one."""

    grid: Grid | None = None

    def look(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        """See a projected map (B, C, height, width)."""
        self.grid = Grid(output.shape[-2], output.shape[-1])


class PositionedAttention(nn.Module):
    """The self-attention of a DETR encoder with relative positions; its projections keep their names."""

    def __init__(self, plain: Any, position: ImagePositionTables, seen: MapSize) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = plain.q_proj, plain.k_proj, plain.v_proj, plain.o_proj
        self.head_dim, self.dropout = plain.head_dim, float(plain.attention_dropout)
        self.position, self.seen = position, seen

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_embeddings: Tensor | None = None,
        **unused: Any,
    ) -> tuple[Tensor, None]:
        """(B, N, C) to (B, N, C); absolute positions join queries and keys; the mask is True, or 0, where one may look."""
        grid = self.seen.grid
        if grid is None or grid.tokens != hidden_states.shape[1]:
            raise UsageError(
                f"Relative positions need the map's height and width, which come with images (pixel_values), but got "
                f"{hidden_states.shape[1]} tokens and {'no map' if grid is None else f'{grid.rows} x {grid.columns}'}."
            )
        placed = hidden_states if position_embeddings is None else hidden_states + position_embeddings
        q, k, v = (
            projection(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (B, heads, N, head_dim)
            for projection, x in ((self.q_proj, placed), (self.k_proj, placed), (self.v_proj, hidden_states))
        )
        dropout = self.dropout if self.training else 0.0
        out = self.position.attend(q, k, v, grid, mask=_added(attention_mask, q.dtype), dropout=dropout)
        projected: Tensor = self.o_proj(out.transpose(1, 2).flatten(2))
        return projected, None


def _added(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A mask of transformers, (B, 1, N or 1, N), as what is added to the scores."""
    if mask is None:
        return None
    if mask.ndim != 4:
        raise UsageError(
            f"The mask must be (B, 1, N, N), but got {tuple(mask.shape)}. Load the model with "
            'attn_implementation="sdpa" or "eager".'
        )
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, -torch.inf)


def _draw(position: ImagePositionTables, generator: torch.Generator | None) -> None:
    """Uniform as torch's Xavier draws the published tables, (H, head_dim, n), for values (H, n, head_dim), (H, n)."""
    value = position.value
    entries = value.buckets // (2 if value.method == "cross" else 1)
    for name, table in position.named_parameters():
        heads = 1 if value.shared else table.shape[0]
        width = table.shape[-1] if value.mode == "contextual" else 1
        if value.mode == "bias":
            fans = entries + heads
        elif name.startswith("value"):
            fans = width * (entries + heads)
        else:
            fans = entries * (width + heads)
        bound = (6 / fans) ** 0.5
        with torch.no_grad():
            table.uniform_(-bound, bound, generator=generator)


def _detr(model: nn.Module) -> Any:
    try:
        from transformers import DetrModel
    except ImportError as error:
        raise UsageError(
            "DETR comes from the library transformers. Install it: pip install 'vitesse-ml[detr]'."
        ) from error
    for module in model.modules():
        if isinstance(module, DetrModel):
            return module
    raise UsageError(
        f"Relative positions for detection need a DetrModel of transformers, or what holds one, but got {type(model).__name__}."
    )
