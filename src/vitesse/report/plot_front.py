"""The plot of accuracy against cost: every candidate, their front, the winner before and after finishing, the teacher.

Text from outside is escaped, because plotly reads some HTML in what the pointer shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from vitesse.report.plot_style import AXIS, LAYOUT, Figure
from vitesse.report.summary import Candidate, CostName, Outcome, RunSummary, front
from vitesse.report.wording import COST_NAMES, LIMITS, described, quantity


def front_figure(summary: RunSummary) -> Figure | None:
    """Accuracy against cost of every candidate, one view for each cost; None where nothing was searched.

    Candidates stand at their score on the search part with inherited weights; the finished winner and the teacher stand
    at their accuracy on the test part.
    """
    if not summary.candidates:
        return None
    shown: list[CostName] = [
        name for name in COST_NAMES if any(item.costs.of(name) is not None for item in summary.candidates)
    ]
    if not shown:
        return None
    views = [{"name": name, "label": COST_NAMES[name], **_view(summary, name)} for name in shown]
    first = views[0]
    data = [
        {**trace, "x": first["data"]["x"][place], "y": first["data"]["y"][place]}
        for place, trace in enumerate(_traces(summary))
    ]
    layout = {
        **LAYOUT,
        "height": 500,
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "font": {"color": "var(--ink)"}},
        "yaxis": {**AXIS, "title": {"text": "accuracy", "standoff": 12}, "ticksuffix": " %"},
        **first["layout"],
    }
    return {"data": data, "layout": layout, "views": views}


def _traces(summary: RunSummary) -> list[Figure]:
    """What is drawn, without its places, which depend on the cost shown."""
    ring = {"symbol": "circle-open", "size": 15, "color": "var(--winner)", "line": {"width": 2.5}}
    stairs = {"color": "var(--late)", "width": 2, "shape": "hv"}
    dots = {"color": "var(--winner)", "width": 1.5, "dash": "dot"}
    traces: list[Figure] = [
        _candidates(summary.candidates),
        {"name": "front", "mode": "lines", "line": stairs, "hoverinfo": "skip"},
        {"mode": "lines", "line": dots, "showlegend": False, "hoverinfo": "skip"},
        {"name": "winner, as found", "mode": "markers", "marker": ring, "hoverinfo": "skip"},
        _outcome("winner, finished", summary.outcome, symbol="star", size=16, colour="var(--winner)"),
    ]
    if summary.teacher is not None:
        outcome = summary.teacher.outcome
        traces.append(_outcome("teacher", outcome, symbol="diamond", size=13, colour="var(--teacher)"))
    return [{"type": "scatter", **trace} for trace in traces]


def _candidates(items: Sequence[Candidate]) -> Figure:
    """All that was scored; later generations are stronger in colour."""
    bar = {"title": {"text": "generation", "side": "right"}, "thickness": 8, "len": 0.6, "outlinewidth": 0, "x": 1.0}
    marker: Figure = {"size": 8, "color": "var(--late)", "line": {"width": 0.5, "color": "var(--surface)"}}
    if len({item.generation for item in items}) > 1:
        marker["color"] = [item.generation for item in items]
        marker |= {"colorscale": [[0, "var(--early)"], [1, "var(--late)"]], "colorbar": bar}
    return {
        "name": f"{len(items)} candidates",
        "mode": "markers",
        "marker": marker,
        "customdata": [_told(item) for item in items],
        "hovertemplate": "<b>%{y:.2f} %</b> on the search part<br>%{customdata}<extra></extra>",
    }


def _outcome(name: str, outcome: Outcome, *, symbol: str, size: int, colour: str) -> Figure:
    """A finished network with the interval of its test accuracy."""
    return {
        "name": name,
        "mode": "markers",
        "marker": {"symbol": symbol, "size": size, "color": colour},
        "error_y": _interval(outcome, colour=colour),
        "customdata": [f"{name}<br>{_priced(outcome.costs.of)}"],
        "hovertemplate": "<b>%{y:.2f} %</b> on the test part<br>%{customdata}<extra></extra>",
    }


def _view(summary: RunSummary, name: CostName) -> Figure:
    """Where everything stands when the cost of that name is shown."""
    items = summary.candidates
    best = front(items, name)
    found = [item for item in items if item.arch == summary.arch][:1]
    finished = _place(summary.outcome, name)
    # The dotted line says: the same network, before and after it was finished.
    grown = [(item.costs.of(name), 100 * item.score) for item in found if finished] + finished
    places: list[Sequence[tuple[float | None, float]]] = [
        [(item.costs.of(name), 100 * item.score) for item in items],
        [(item.costs.of(name), 100 * item.score) for item in best],
        grown if len(grown) == 2 else [],
        [(item.costs.of(name), 100 * item.score) for item in found],
        finished,
    ]
    if summary.teacher is not None:
        places.append(_place(summary.teacher.outcome, name))
    reached = [x for place in places for x, _ in place if x is not None]
    limit = next((value for key, value in summary.budget.items() if LIMITS.get(key) == name), None)
    axis = _cost_axis(name, [*reached, *([limit] if limit else [])])
    layout = {"xaxis": axis, **_budget(limit, logarithmic=axis["type"] == "log")}
    data = {"x": [[x for x, _ in place] for place in places], "y": [[y for _, y in place] for place in places]}
    return {"data": data, "layout": layout}


def _place(outcome: Outcome, name: CostName) -> list[tuple[float | None, float]]:
    cost = outcome.costs.of(name)
    return [] if cost is None or outcome.accuracy is None else [(cost, 100 * outcome.accuracy)]


def _interval(outcome: Outcome, *, colour: str) -> Figure:
    if outcome.accuracy is None or outcome.interval is None:
        return {"visible": False}
    low, high = outcome.interval
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * (high - outcome.accuracy)],
        "arrayminus": [100 * (outcome.accuracy - low)],
        "color": colour,
        "thickness": 1.2,
        "width": 4,
    }


def _budget(limit: float | None, *, logarithmic: bool) -> Figure:
    """The line that the budget drew; plotly wants an annotation's place on a logarithmic axis as the logarithm."""
    if limit is None:
        return {"shapes": [], "annotations": []}
    line = {"type": "line", "x0": limit, "x1": limit, "y0": 0, "y1": 1, "yref": "paper", "layer": "below"}
    return {
        "shapes": [{**line, "line": {"color": "var(--muted)", "width": 1.2, "dash": "dash"}}],
        "annotations": [
            {
                "text": "budget",
                "x": math.log10(limit) if logarithmic else limit,
                "y": 0,
                "yref": "paper",
                "textangle": -90,
                "xanchor": "left",
                "yanchor": "bottom",
                "showarrow": False,
            }
        ],
    }


def _cost_axis(name: CostName, values: Sequence[float]) -> Figure:
    """Linear, or logarithmic where the largest cost is more than three times the smallest."""
    low, high = min(values), max(values)
    title = {"text": COST_NAMES[name]}
    if low <= 0 or high / low <= 3:
        ticks = _round_ticks(low, high)
        return {**AXIS, "title": title, "type": "linear", "autorange": True, **_ticks(name, ticks)}
    steps = (1, 2, 5) if high / low > 12 else (1, 1.5, 2, 3, 4, 5, 6, 8)
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return {**AXIS, "title": title, "type": "log", "autorange": True, **_ticks(name, ticks)}


def _round_ticks(low: float, high: float) -> list[float]:
    """Round values around [low, high], far enough beyond it to stay when the plot is dragged."""
    rough = max(high - low, abs(high) * 1e-3, 1e-9) / 5
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(step * decade for step in (1, 2, 5, 10) if step * decade >= rough)
    return [step * place for place in range(math.floor(low / step) - 20, math.ceil(high / step) + 20) if place >= 0]


def _ticks(name: CostName, values: Sequence[float]) -> Figure:
    return {"tickmode": "array", "tickvals": list(values), "ticktext": [_tick(name, value) for value in values]}


def _tick(name: CostName, value: float) -> str:
    number, _, unit = quantity(name, value).partition(" ")
    return f"{float(number):g} {unit}".strip()


def _told(item: Candidate) -> str:
    """What the pointer shows of a candidate: its costs, its architecture, where it came from."""
    born = f"generation {item.generation}" + (f", by {item.origin}" if item.origin else "")
    return "<br>".join(escape(line) for line in (_priced(item.costs.of), *described(item.arch), born))


def _priced(cost_of: Callable[[CostName], float | None]) -> str:
    priced = ((name, cost_of(name)) for name in COST_NAMES)
    return " · ".join(f"{quantity(name, value)} {COST_NAMES[name]}" for name, value in priced if value is not None)
