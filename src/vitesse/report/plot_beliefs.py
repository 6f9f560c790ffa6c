"""The plot of a cyclic search: for each choice the share of the candidate that it came to, against the step.

Text from outside is escaped, because plotly reads some HTML in what the pointer shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from vitesse.report.plot_style import AXIS, LAYOUT, Figure
from vitesse.report.summary import Belief


def beliefs_figure(beliefs: Sequence[Belief]) -> Figure | None:
    """One line a choice, the first in the network paler than the last."""
    if not beliefs:
        return None
    layout = {
        **LAYOUT,
        "height": 320,
        "showlegend": False,
        "xaxis": {**AXIS, "title": {"text": "step"}, "nticks": 6},
        "yaxis": {**AXIS, "title": {"text": "share", "standoff": 12}, "ticksuffix": " %", "rangemode": "tozero"},
    }
    return {
        "data": [_line(one, place / max(len(beliefs) - 1, 1)) for place, one in enumerate(beliefs)],
        "layout": layout,
    }


def _line(one: Belief, place: float) -> Figure:
    likeliest = [max(range(len(shares)), key=shares.__getitem__) for shares in one.shares]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": escape(one.choice),
        "x": list(one.steps),
        "y": [100 * shares[one.likeliest] for shares in one.shares],
        "line": {"color": "var(--supernet)", "width": 1.6},
        "opacity": 0.35 + 0.65 * place,
        "customdata": [escape(one.candidates[then]) for then in likeliest],
        "hovertemplate": (
            f"<b>{escape(one.choice)}</b><br>{escape(one.candidates[one.likeliest])}: %{{y:.1f}} %<br>"
            "likeliest then: %{customdata}<extra></extra>"
        ),
    }
