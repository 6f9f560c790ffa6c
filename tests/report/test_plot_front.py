from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vitesse.report.plot_front import front_figure
from vitesse.report.plot_style import Figure
from vitesse.report.reading import read_summary
from vitesse.report.summary import Costs, RunSummary, front


@pytest.fixture
def summary(folder: Path) -> RunSummary:
    return read_summary(folder)


def made(summary: RunSummary) -> Figure:
    figure = front_figure(summary)
    assert figure is not None
    return figure


def named(figure: Figure, name: str) -> Figure:
    return next(trace for trace in figure["data"] if trace.get("name") == name)


def test_candidates_stand_where_their_file_says(summary: RunSummary, folder: Path) -> None:
    figure = made(summary)
    lines = [json.loads(line) for line in (folder / "candidates.jsonl").read_text().splitlines()]
    trace = named(figure, "96 candidates")
    assert trace["x"] == [line["costs"]["params"] for line in lines]
    assert trace["y"] == pytest.approx([100 * line["score"] for line in lines])
    latency = next(view for view in figure["views"] if view["name"] == "latency_ms")
    assert latency["data"]["x"][0] == [line["costs"]["latency_ms"] for line in lines]


def test_winner_and_teacher_stand_at_their_test_accuracy(summary: RunSummary) -> None:
    figure = made(summary)
    winner, teacher = named(figure, "winner, finished"), named(figure, "teacher")
    assert summary.teacher is not None
    assert (winner["x"], winner["y"]) == ([summary.outcome.costs.params], [pytest.approx(93.41)])
    assert (teacher["x"], teacher["y"]) == ([summary.teacher.outcome.costs.params], [pytest.approx(94.68)])
    assert winner["error_y"]["array"] == [pytest.approx(0.8)]
    found = named(figure, "winner, as found")
    assert found["x"] == winner["x"] and found["y"][0] < winner["y"][0]


def test_each_view_has_its_own_front(summary: RunSummary) -> None:
    figure = made(summary)
    place = [trace.get("name") for trace in figure["data"]].index("front")
    for view in figure["views"]:
        best = front(summary.candidates, view["name"])
        assert view["data"]["y"][place] == [100 * item.score for item in best]


def test_every_view_places_every_trace(summary: RunSummary) -> None:
    figure = made(summary)
    for view in figure["views"]:
        assert len(view["data"]["x"]) == len(view["data"]["y"]) == len(figure["data"])
        assert [len(x) for x in view["data"]["x"]] == [len(y) for y in view["data"]["y"]]


def test_plotly_knows_every_property(summary: RunSummary) -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    figure = made(summary)
    for view in figure["views"]:
        drawn = graph_objects.Figure(data=figure["data"], layout={**figure["layout"], **view["layout"]})
        assert len(drawn.data) == len(figure["data"])


def test_the_budget_is_drawn_only_where_it_limits(summary: RunSummary) -> None:
    views = {view["name"]: view["layout"] for view in made(summary)["views"]}
    assert [shape["x0"] for shape in views["params"]["shapes"]] == [6_500_000]
    assert [shape["x0"] for shape in views["latency_ms"]["shapes"]] == [12.0]
    assert views["macs"]["shapes"] == []


def test_costs_that_nobody_measured_have_no_view(summary: RunSummary) -> None:
    cheap = tuple(replace(item, costs=Costs(params=item.costs.params)) for item in summary.candidates)
    assert [view["name"] for view in made(replace(summary, candidates=cheap))["views"]] == ["params"]
    assert front_figure(replace(summary, candidates=())) is None


def test_near_costs_have_a_linear_axis_and_far_ones_a_logarithmic(summary: RunSummary) -> None:
    alone = replace(summary, teacher=None)
    assert made(summary)["layout"]["xaxis"]["type"] == "log"
    axis = made(alone)["layout"]["xaxis"]
    assert axis["type"] == "linear"
    costs = [item.costs.params for item in alone.candidates if item.costs.params is not None]
    assert sum(min(costs) <= tick <= max(costs) for tick in axis["tickvals"]) >= 3


def test_what_the_pointer_shows_is_escaped(summary: RunSummary) -> None:
    hostile = replace(summary.candidates[0], origin="<a href='x'>")
    trace = made(replace(summary, candidates=(hostile,)))["data"][0]
    assert "<a" not in trace["customdata"][0] and "&lt;a" in trace["customdata"][0]
