"""The plots of a space that evolved: what its networks err by, where its dimensions went, and which of them mattered."""

from __future__ import annotations

from collections.abc import Sequence

from vitesse.report.plot_style import AXIS, LAYOUT, Figure
from vitesse.report.summary import Space
from vitesse.report.wording import dimension_name, interval

LEGEND: Figure = {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "font": {"color": "var(--ink)"}}
# From the first space to the last the colour goes from the early to the late one; with many the middle ones are alike.
FIRST, MIDDLE, LAST = "var(--early)", "var(--supernet)", "var(--late)"


def space_figures(spaces: Sequence[Space]) -> dict[str, Figure]:
    """By name; none where no space evolved."""
    if not spaces:
        return {}
    return {"errors": _errors(spaces), "intervals": _intervals(spaces), "importance": _importance(spaces)}


def _errors(spaces: Sequence[Space]) -> Figure:
    """Expected, top-tier and E-T error of each space against the supernet epochs spent until it was judged."""
    kinds = {"expected": FIRST, "top-tier": LAST, "E-T": "var(--winner)"}
    values = {
        "expected": [space.expected for space in spaces],
        "top-tier": [space.top for space in spaces],
        "E-T": [space.both for space in spaces],
    }
    data = [
        {
            "type": "scatter",
            "name": name,
            "mode": "lines+markers",
            "x": [space.supernet_epochs for space in spaces],
            "y": [100 * value for value, _ in values[name]],
            "error_y": {"array": [196 * error for _, error in values[name]], "color": colour, "thickness": 1.5},
            "line": {"color": colour, "width": 2},
            "customdata": [f"space {place + 1}, {space.networks} networks" for place, space in enumerate(spaces)],
            "hovertemplate": "<b>%{y:.2f} %</b><br>%{customdata}<extra></extra>",
        }
        for name, colour in kinds.items()
    ]
    layout = {
        **LAYOUT,
        "height": 340,
        "legend": LEGEND,
        "xaxis": {**AXIS, "title": {"text": "supernet epochs"}},
        "yaxis": {**AXIS, "title": {"text": "error", "standoff": 12}, "ticksuffix": " %"},
    }
    return {"data": data, "layout": layout}


def _intervals(spaces: Sequence[Space]) -> Figure:
    """For each dimension a bar for each space, from its lowest option to its highest, in steps from where it began."""
    first = {one.name: (one.options[0], one.step) for one in spaces[0].dimensions}
    data = []
    for place, space in enumerate(spaces):
        low = [(one.options[0] - first[one.name][0]) / first[one.name][1] for one in space.dimensions]
        high = [(one.options[-1] - first[one.name][0]) / first[one.name][1] for one in space.dimensions]
        data.append(
            {
                "type": "bar",
                "name": f"space {place + 1}",
                "x": [dimension_name(one.name) for one in space.dimensions],
                "base": low,
                "y": [end - begin for begin, end in zip(low, high, strict=True)],
                "marker": {"color": _colour(place, len(spaces))},
                "text": [interval(one.options) for one in space.dimensions],
                "textposition": "auto",
                "hovertemplate": "%{x}<br><b>%{text}</b><extra>%{fullData.name}</extra>",
            }
        )
    layout = {
        **LAYOUT,
        "height": 360,
        "barmode": "group",
        "legend": LEGEND,
        "xaxis": {**AXIS, "type": "category"},
        "yaxis": {**AXIS, "title": {"text": "steps from where it began", "standoff": 12}},
    }
    return {"data": data, "layout": layout}


def _importance(spaces: Sequence[Space]) -> Figure:
    """For each dimension and space the share of the variance of errors that it explains, with its interval."""
    data = [
        {
            "type": "bar",
            "name": f"space {place + 1}",
            "x": [dimension_name(one.name) for one in space.dimensions],
            "y": [100 * one.importance.value for one in space.dimensions],
            "error_y": {
                "array": [100 * (one.importance.high - one.importance.value) for one in space.dimensions],
                "arrayminus": [100 * (one.importance.value - one.importance.low) for one in space.dimensions],
                "symmetric": False,
                "color": "var(--muted)",
                "thickness": 1.2,
            },
            "marker": {"color": _colour(place, len(spaces))},
            "hovertemplate": "%{x}<br><b>%{y:.0f} %</b><extra>%{fullData.name}</extra>",
        }
        for place, space in enumerate(spaces)
    ]
    layout = {
        **LAYOUT,
        "height": 340,
        "barmode": "group",
        "legend": LEGEND,
        "xaxis": {**AXIS, "type": "category"},
        "yaxis": {
            **AXIS,
            "title": {"text": "of the variance", "standoff": 12},
            "ticksuffix": " %",
            "rangemode": "tozero",
        },
    }
    return {"data": data, "layout": layout}


def _colour(place: int, count: int) -> str:
    return LAST if place == count - 1 else FIRST if place == 0 else MIDDLE
