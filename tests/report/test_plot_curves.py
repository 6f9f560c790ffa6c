from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vitesse.report.plot_curves import POINTS, curve_figures
from vitesse.report.reading import read_summary
from vitesse.report.summary import Reading, RunSummary


@pytest.fixture
def summary(folder: Path) -> RunSummary:
    return read_summary(folder)


def reading(step: int, loss: float | None, accuracy: float | None = None) -> Reading:
    return Reading(step=step, epoch=0, loss=loss, lr=1e-3, accuracy=accuracy)


def test_each_stage_has_loss_and_accuracy(summary: RunSummary) -> None:
    figures = curve_figures(summary)
    assert list(figures) == ["teacher", "supernet", "finish"]
    for stage, figure in figures.items():
        loss, accuracy = figure["data"]
        assert len(loss["x"]) <= POINTS
        scored = [item for item in summary.curves[stage] if item.accuracy is not None]
        assert accuracy["x"] == [item.step for item in scored]
        assert accuracy["y"] == [100 * item.accuracy for item in scored if item.accuracy is not None]


def test_short_curves_are_drawn_reading_by_reading(summary: RunSummary) -> None:
    short = replace(summary, curves={"train": (reading(1, 2.0), reading(2, None), reading(3, 1.0))})
    figure = curve_figures(short)["train"]
    assert len(figure["data"]) == 1 and figure["each"] == 1
    assert (figure["data"][0]["x"], figure["data"][0]["y"]) == ([1, 3], [2.0, 1.0])


def test_long_curves_are_means_of_neighbours(summary: RunSummary) -> None:
    long = tuple(reading(step, float(step % 2)) for step in range(2 * POINTS))
    figure = curve_figures(replace(summary, curves={"train": long}))["train"]
    assert figure["each"] == 2
    assert figure["data"][0]["y"] == [0.5] * POINTS


def test_a_stage_that_only_logged_accuracy_still_has_a_plot(summary: RunSummary) -> None:
    figure = curve_figures(replace(summary, curves={"train": (reading(1, None, 0.5),)}))["train"]
    assert figure["data"][1]["y"] == [50.0]


def test_plotly_knows_every_property(summary: RunSummary) -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    for figure in curve_figures(summary).values():
        assert len(graph_objects.Figure(data=figure["data"], layout=figure["layout"]).data) == 2
