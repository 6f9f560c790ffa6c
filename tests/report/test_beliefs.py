from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitesse.errors import VitesseError
from vitesse.report.page import page
from vitesse.report.plot_beliefs import beliefs_figure
from vitesse.report.reading import read_summary


def write(folder: Path, *logits: list[float]) -> None:
    (folder / "supernet").mkdir(exist_ok=True)
    cycles = [{"step": 10 * (place + 1), "logits": {"stages.0.down": one}} for place, one in enumerate(logits)]
    data = {"repeat": False, "candidates": {"stages.0.down": ["Fast(<b>)", "Slow()"]}, "beliefs": cycles}
    (folder / "supernet" / "beliefs.json").write_text(json.dumps(data))


def test_what_was_believed_is_shown_over_time(folder: Path) -> None:
    write(folder, [1.0, 1.0], [0.0, 1.0], [3.0, 0.0])
    summary = read_summary(folder)
    figure = beliefs_figure(summary.beliefs)
    assert figure is not None
    (line,) = figure["data"]
    assert line["x"] == [10, 20, 30]
    assert line["y"] == pytest.approx([50.0, 26.894, 95.257], abs=1e-3)
    assert line["customdata"] == ["Fast(&lt;b&gt;)", "Slow()", "Fast(&lt;b&gt;)"]
    whole = page(summary)
    assert 'href="#beliefs"' in whole and "beliefs-figure" in whole
    for cell in ("stages.0.down", "Fast(&lt;b&gt;)", "95.26 %", "50.00 %"):
        assert cell in whole[whole.index('id="beliefs"') :], cell


def test_a_run_without_a_cyclic_search_says_nothing_of_it(folder: Path) -> None:
    assert beliefs_figure(read_summary(folder).beliefs) is None
    assert "What the search believed" not in page(read_summary(folder))


def test_what_is_wrong_in_beliefs_is_named(folder: Path) -> None:
    write(folder, [1.0])
    with pytest.raises(VitesseError, match=r"`stages\.0\.down` must be a list of 2 numbers"):
        read_summary(folder)
