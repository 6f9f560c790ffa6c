"""Of boxes that overlap the likeliest alone, as an operation of one shape, so that a network with it can be one ONNX file.

torchvision's own gives as many indices as remain, a number that depends on the picture; this one marks them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


@torch.library.custom_op("vitesse::likeliest", mutates_args=())
def likeliest(boxes: Tensor, scores: Tensor, overlap: float, least: float) -> Tensor:
    """Boxes (G, N, 4) x1, y1, x2, y2 and scores (G, N) to what remains, bool (G, N), in each of G groups by itself.

    Greedy: the likeliest box stays, and every other whose intersection over union with it is above `overlap` goes. Only
    those with a score above `least` take part.
    """
    from torchvision.ops import nms  # slow to import, and not needed where nothing is detected

    kept = torch.zeros_like(scores, dtype=torch.bool)
    for group, (some, likely) in enumerate(zip(boxes, scores, strict=True)):
        rows = (likely > least).nonzero()[:, 0]
        kept[group, rows[nms(some[rows], likely[rows], overlap)]] = True
    return kept


@likeliest.register_fake
def _(boxes: Tensor, scores: Tensor, overlap: float, least: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def in_onnx(boxes: Any, scores: Any, overlap: float, least: float) -> Any:
    """The same in ONNX's operators, for `torch.onnx.export(custom_translation_table=...)`."""
    import onnxscript

    op: Any = onnxscript.opset18
    every = op.Constant(value_ints=[2**31 - 1])
    rows = op.Unsqueeze(scores, op.Constant(value_ints=[1]))  # (G, 1, N)
    found = op.NonMaxSuppression(
        boxes, rows, every, op.Constant(value_floats=[overlap]), op.Constant(value_floats=[least])
    )  # (n, 3): group, 0, place
    places = op.Gather(found, op.Constant(value_ints=[0, 2]), axis=1)
    ones = op.Expand(op.Constant(value_floats=[1.0]), op.Gather(op.Shape(found), op.Constant(value_ints=[0])))
    marked = op.ScatterND(op.Mul(scores, op.Constant(value_float=0.0)), places, ones)
    return op.Greater(marked, op.Constant(value_float=0.5))
