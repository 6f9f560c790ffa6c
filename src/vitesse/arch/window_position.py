"""What attention inside windows may learn for the offset of two tokens: a number each, or a function of the offset."""

from __future__ import annotations

from dataclasses import dataclass

from vitesse.arch.choice import every, options, require
from vitesse.arch.operation import Grid, Table


@dataclass(frozen=True, kw_only=True, slots=True)
class OffsetTable:
    """A learned number for each head and each signed offset within a window, added to the scores (Swin, section 3.2).

    A smaller window takes the middle of the table: the small offsets.
    """

    def axes(self) -> Table:
        return {"offset_bias": "heads, reach reach"}

    def sizes(self, window: int) -> dict[str, int]:
        return {"reach": 2 * window - 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class ContinuousPosition:
    """A perceptron of `hidden` units from the log-spaced offset to a number for each head (SwinV2, section 3.3).

    Offsets are divided by the longest of a window of side `window` (None: of the attention's own), so that another
    window than the one it was trained with needs no other weights. What is added to the scores lies between 0 and 16.
    """

    hidden: int = 512
    window: int | None = None

    def __post_init__(self) -> None:
        sides = [side for side in options(self.window) if side is not None]
        require(
            self,
            hidden=(every(self.hidden, int, 1), "must be an integer of at least 1"),
            window=(all(every(side, int, 1) for side in sides), "must be an integer of at least 1, or None"),
        )

    def axes(self) -> Table:
        return {"fc1.weight": "hidden, two", "fc1.bias": "hidden", "fc2.weight": "heads, hidden"}

    def sizes(self) -> dict[str, int]:
        return {"hidden": self.hidden, "two": 2}

    def macs(self, heads: int, part: Grid) -> int:
        """Once for all windows: each offset through the perceptron."""
        return (2 * part.rows - 1) * (2 * part.columns - 1) * self.hidden * (2 + heads)
