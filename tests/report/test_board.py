from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.report.conftest import TEACHER

from vitesse.arch import to_data
from vitesse.errors import VitesseError
from vitesse.report.page import page
from vitesse.report.plot_board import LARGE, SMALL, board_figure
from vitesse.report.reading import read_summary


def write(folder: Path, *entries: dict[str, Any]) -> None:
    common = {"arch": to_data(TEACHER), "images": [0, 1]}
    (folder / "board.json").write_text(
        json.dumps({"size": 10, "rule": "paper", "gone": 17, "entries": [common | e for e in entries]})
    )


def test_the_board_is_shown_with_when_its_paths_came_and_how_often_they_taught(folder: Path) -> None:
    write(
        folder,
        {"accuracy": 0.75, "cost": 2.5e6, "step": 90, "taught": 200},
        {"accuracy": 0.5, "cost": 1e6, "step": 40, "taught": 0},
    )
    summary = read_summary(folder)
    figure = board_figure(summary.board.paths)
    assert figure is not None
    (trace,) = figure["data"]
    assert (trace["x"], trace["y"]) == ([2.5e6, 1e6], [75.0, 50.0])
    assert trace["marker"]["size"] == [LARGE, SMALL] and trace["marker"]["color"] == [90, 40]
    assert "came at step 90, taught 200 steps" in trace["customdata"][0]
    whole = page(summary)
    assert "in 200 steps, those that have left in 17." in whole
    assert 'href="#board"' in whole and "board-figure" in whole
    for cell in ("75.00 %", "2.50 M", ">90<", ">200<", "384 wide"):
        assert cell in whole[whole.index('id="board"') :], cell


def test_a_run_without_a_board_says_nothing_of_it(folder: Path) -> None:
    assert board_figure(read_summary(folder).board.paths) is None
    assert "The board" not in page(read_summary(folder))


def test_what_is_wrong_in_a_board_is_named(folder: Path) -> None:
    write(folder, {"accuracy": "high", "cost": 1, "step": 1, "taught": 1})
    with pytest.raises(VitesseError, match=r"board\.json, `entries`, entry 1: `accuracy` must be a"):
        read_summary(folder)
