"""The plots of training: for each stage the loss, and under it the accuracy, against the step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vitesse.report.plot_style import AXIS, LAYOUT, Figure
from vitesse.report.summary import Reading, RunSummary

POINTS = 800  # a curve of more readings is drawn as means of neighbours
STAGE_COLOURS = {"teacher": "var(--teacher)", "supernet": "var(--supernet)"}


def curve_figures(summary: RunSummary) -> dict[str, Figure]:
    """For each stage that logged anything its loss, and its accuracy where it was evaluated, against the step."""
    return {stage: _curve(stage, readings) for stage, readings in summary.curves.items() if readings}


def _curve(stage: str, readings: Sequence[Reading]) -> Figure:
    colour = STAGE_COLOURS.get(stage, "var(--winner)")
    told = [item for item in readings if item.loss is not None]
    each = max(1, math.ceil(len(told) / POINTS))
    scored = any(item.accuracy is not None for item in readings)
    data = [_losses(told, each=each, colour=colour), *([_accuracies(readings, colour=colour)] if scored else [])]
    heads = {"loss": 0.95, measure_of(readings): 0.4} if scored else {"loss": 0.92}
    layout = {
        **LAYOUT,
        "height": 360 if scored else 230,
        "showlegend": False,
        "annotations": [_head(words, top=top) for words, top in heads.items()],
        "xaxis": {**AXIS, "title": {"text": "step"}, "nticks": 6, **({"anchor": "y2"} if scored else {})},
        "yaxis": {**AXIS, "nticks": 5, "rangemode": "tozero", "domain": [0.56, 0.95] if scored else [0, 0.92]},
        **({"yaxis2": {**AXIS, "ticksuffix": " %", "nticks": 5, "domain": [0, 0.4]}} if scored else {}),
    }
    return {"data": data, "layout": layout, "each": each}


def _losses(readings: Sequence[Reading], *, each: int, colour: str) -> Figure:
    """The loss, `each` readings to a point."""
    groups = [readings[start : start + each] for start in range(0, len(readings), each)]
    return {
        "type": "scatter",
        "name": "loss",
        "mode": "lines" if len(groups) > 1 else "markers",
        "x": [group[-1].step for group in groups],
        "y": [sum(item.loss or 0.0 for item in group) / len(group) for group in groups],
        "line": {"color": colour, "width": 1.6},
        "customdata": [_at(group[-1]) for group in groups],
        "hovertemplate": "loss <b>%{y:.4g}</b><br>%{customdata}<extra></extra>",
    }


def _accuracies(readings: Sequence[Reading], *, colour: str) -> Figure:
    """The accuracy wherever it was evaluated."""
    scored = [item for item in readings if item.accuracy is not None]
    return {
        "type": "scatter",
        "name": measure_of(readings),
        "mode": "lines+markers" if len(scored) <= 60 else "lines",
        "x": [item.step for item in scored],
        "y": [100 * item.accuracy for item in scored if item.accuracy is not None],
        "yaxis": "y2",
        "line": {"color": colour, "width": 1.6},
        "marker": {"size": 5, "color": colour},
        "customdata": [_at(item) for item in scored],
        "hovertemplate": "accuracy <b>%{y:.2f} %</b><br>%{customdata}<extra></extra>",
    }


def measure_of(readings: Sequence[Reading]) -> str:
    """What was evaluated."""
    return next((item.measure for item in readings if item.accuracy is not None), "accuracy")


def _head(words: str, *, top: float) -> Figure:
    """A panel's name over its left corner, where it takes no room from a narrow plot."""
    place = {"x": 0, "xref": "paper", "xanchor": "left", "y": top, "yref": "paper", "yanchor": "bottom"}
    return {"text": f"<b>{words}</b>", "showarrow": False, **place}


def _at(item: Reading) -> str:
    parts = [f"step {item.step}"]
    if item.epoch is not None:
        parts.append(f"epoch {item.epoch}")
    if item.lr is not None:
        parts.append(f"learning rate {item.lr:.3g}")
    return ", ".join(parts)
