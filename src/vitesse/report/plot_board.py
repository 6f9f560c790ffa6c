"""The plot of a prioritized board: its paths by cost and accuracy, when each came, and how often it taught.

Text from outside is escaped, because plotly reads some HTML in what the pointer shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from vitesse.report.plot_style import AXIS, LAYOUT, Figure
from vitesse.report.summary import BoardPath
from vitesse.report.wording import described, quantity

SMALL, LARGE = 9.0, 30.0  # of a path that never taught, and of the one that taught most


def board_figure(paths: Sequence[BoardPath]) -> Figure | None:
    """One point a path; its area grows with the steps that it taught, and who came later is stronger in colour."""
    if not paths:
        return None
    most = max(path.taught for path in paths) or 1
    marker: Figure = {
        "size": [(SMALL**2 + (LARGE**2 - SMALL**2) * path.taught / most) ** 0.5 for path in paths],
        "color": [path.step for path in paths],
        "colorscale": [[0, "var(--early)"], [1, "var(--late)"]],
        "colorbar": {"title": {"text": "came at step", "side": "right"}, "thickness": 8, "len": 0.6, "outlinewidth": 0},
        "line": {"width": 0.5, "color": "var(--surface)"},
    }
    trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "paths on the board",
        "x": [path.macs for path in paths],
        "y": [100 * path.accuracy for path in paths],
        "marker": marker,
        "customdata": [_told(path) for path in paths],
        "hovertemplate": "<b>%{y:.2f} %</b><br>%{customdata}<extra></extra>",
    }
    layout = {
        **LAYOUT,
        "height": 340,
        "xaxis": {**AXIS, "title": {"text": "multiply-adds"}},
        "yaxis": {**AXIS, "title": {"text": "accuracy", "standoff": 12}, "ticksuffix": " %"},
    }
    return {"data": [trace], "layout": layout}


def _told(path: BoardPath) -> str:
    words = [f"{quantity('macs', path.macs)} MACs", f"came at step {path.step}, taught {path.taught} steps"]
    return "<br>".join(map(escape, [*words, *described(path.arch)]))
