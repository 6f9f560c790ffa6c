from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.report.conftest import change

from vitesse.report.page import page
from vitesse.report.reading import read_summary
from vitesse.report.sharing import sharing


def blocks(drift: float) -> list[dict[str, Any]]:
    return [{"block": b, "group": b // 2, "relative_l2": drift * b, "cosine": 1 - 0.1 * b} for b in range(4)]


def test_nothing_is_said_where_nothing_could_be_shared(folder: Path) -> None:
    assert sharing(read_summary(folder)) == ""


def test_what_the_search_chose_and_the_best_of_each_kind(folder: Path) -> None:
    best = {"score": 0.9123, "params": 4_200_000.0, "candidates": 17}
    found = {"share": [2], "shared": best, "unshared": None}
    change(folder / "result.json", search={"candidates": 20, "sharing": found})
    shown = sharing(read_summary(folder))
    assert "groups of 2" in shown and "91.23 %" in shown and "4.20 M" in shown
    assert shown.count("–") == 2  # no candidate without
    whole = page(read_summary(folder))
    assert 'href="#sharing"' in whole and "{&#x27;share" not in whole and "{'share" not in whole
    change(folder / "result.json", search={"sharing": found | {"share": [1]}})
    assert "each has its own" in sharing(read_summary(folder))


def test_how_a_multiplexed_network_began(folder: Path) -> None:
    ways = {"first": {"accuracy": 0.4, "blocks": blocks(0.1)}, "fit": {"accuracy": 0.5, "blocks": blocks(0.2)}}
    change(folder / "result.json", multiplex={"init": "fit", "share": 2, "ways": ways})
    shown = sharing(read_summary(folder))
    assert "Each 2 consecutive blocks" in shown and "“fit”" in shown
    assert "50.00 %" in shown and "0.600" in shown and "0.300" in shown  # both ways after the last block
