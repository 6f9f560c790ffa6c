"""How every plot looks. A plot is a plain value that plotly.js draws, its colours named after the page's style.

A colour is written `var(--winner)`; the page puts in what the reader's light or dark style says, and draws again when
that changes.
"""

from __future__ import annotations

from typing import Any

Figure = dict[str, Any]
AXIS: Figure = {
    "gridcolor": "var(--grid)",
    "linecolor": "var(--line)",
    "zeroline": False,
    "ticks": "outside",
    "tickcolor": "var(--line)",
    "ticklen": 4,
    "automargin": True,
}
LAYOUT: Figure = {
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "font": {"family": "system-ui, sans-serif", "size": 13, "color": "var(--muted)"},
    "hoverlabel": {
        "align": "left",
        "bgcolor": "var(--surface)",
        "bordercolor": "var(--line)",
        "font": {"color": "var(--ink)", "size": 13},
    },
    "margin": {"l": 56, "r": 16, "t": 12, "b": 44},
    "hovermode": "closest",
    "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "var(--muted)", "activecolor": "var(--ink)"},
}
