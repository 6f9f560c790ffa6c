from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vitesse.errors import VitesseError
from vitesse.report.page import page
from vitesse.report.plot_spaces import space_figures
from vitesse.report.reading import read_summary
from vitesse.report.spaces import guideline
from vitesse.report.wording import came_out, dimension_name, interval, training_name


def told(options: list[float], following: list[float], slope: tuple[float, float, float] | None) -> dict[str, Any]:
    return {
        "name": "stages.0.dim", "options": options, "step": 8, "choices": [0.5, None, 0.4], "decided": True, "held": None,
        "slope": None if slope is None else dict(zip(("value", "low", "high"), slope, strict=True)),
        "importance": {"value": 0.34, "low": 0.2, "high": 0.48}, "next": following,
    }  # fmt: skip


def write(folder: Path, *dimensions: dict[str, Any]) -> None:
    error = {"networks": 128, "expected": 0.4, "top": 0.3, "both": 0.35} | dict.fromkeys(
        ("expected_error", "top_error", "both_error"), 0.01
    )
    spaces = [
        {"size": "1e3", "error": error, "supernet_epochs": 10 * place, "dimensions": [one]}
        for place, one in enumerate(dimensions, start=1)
    ]
    (folder / "space_evolution.json").write_text(json.dumps({"spaces": spaces}))


def test_where_a_dimension_went_what_a_step_does_and_what_it_mattered(folder: Path) -> None:
    write(
        folder,
        told([16, 24, 32], [24, 32, 40], (-0.01, -0.012, -0.008)),
        told([24, 32, 40], [24, 32, 40], (0.001, -0.001, 0.003)),
    )
    spaces = read_summary(folder).spaces
    last = guideline(spaces, "stages.0.dim")
    assert last.startswith(
        "Width of stage 1 went from 16–32 by 8 to 24–40 by 8: a step of 8 changes the error by 0.10 "
    )
    assert "34 (20 to 48) % of the variance" in last
    first = guideline(spaces[:1], "stages.0.dim")
    assert "a step of 8 up lowers the error by 1.00 (0.80 to 1.20) points" in first
    assert first.endswith("The next move would be to 24–40 by 8.")
    moved = space_figures(spaces)["intervals"]["data"]
    assert [bar["text"] for bar in moved] == [["16–32 by 8"], ["24–40 by 8"]]
    assert [bar["base"] for bar in moved] == [[0.0], [1.0]] and [bar["y"] for bar in moved] == [[2.0], [2.0]]
    whole = page(read_summary(folder))
    assert 'href="#spaces"' in whole and "space-errors-figure" in whole and "35.00 % ± 1.96 %" in whole


def test_the_headline_of_a_run_that_only_moved_a_space_says_where_it_went(folder: Path) -> None:
    (folder / "result.json").unlink()
    (folder / "arch.json").unlink()
    began, moved = told([16, 24, 32], [24, 32, 40], None), told([24, 32, 40], [24, 32, 40], None)
    write(folder, began, moved)
    went = "a space that moved: width of stage 1 from 16–32 by 8 to 24–40 by 8 (E-T error 35.00 % at first, 35.00 % at last)"
    assert came_out(read_summary(folder)) == went
    assert "There is no result yet" not in page(read_summary(folder))
    write(folder, began)
    assert came_out(read_summary(folder)) == "a space that has not moved (E-T error 35.00 %)"
    write(folder, began, moved, began)
    assert came_out(read_summary(folder)).startswith("a space that came back to where it began (")


def test_what_is_not_known_is_said_so(folder: Path) -> None:
    write(folder, told([16, 24, 32], [16, 24, 32], None) | {"held": "it must be even."})
    words = guideline(read_summary(folder).spaces, "stages.0.dim")
    assert "what a step does is not known" in words and words.endswith(
        "It should have moved further, but: it must be even."
    )


def test_a_run_without_an_evolution_says_nothing_of_it(folder: Path) -> None:
    assert "The search space" not in page(read_summary(folder))
    write(folder, told([16], [16], None) | {"step": "wide"})
    with pytest.raises(VitesseError, match="`step` must be a"):
        read_summary(folder)


@pytest.mark.parametrize(
    ("path", "name"),
    [("stages.0.dim", "width of stage 1"), ("stages.1.blocks.0.window", "window of branch 1, stage 2"),
     ("stages.0.blocks.2.1.ratio", "expansion ratio of branch 2, stage 1, from block 3"),
     ("stages.0.blocks.2.kernels.0", "kernels 1 of branch 3, stage 1")],
)  # fmt: skip
def test_names_of_dimensions(path: str, name: str) -> None:
    assert dimension_name(path) == name


def test_spaces_are_counted_from_one_where_their_trainings_are_named() -> None:
    assert training_name("space-0-supernet") == "supernet of space 1"
    assert training_name("supernet") == "supernet"


def test_intervals_in_words() -> None:
    assert interval((1, 2)) == "1 and 2"
    assert interval((0.5, 0.6, 0.7)) == "0.5–0.7 by 0.1"
    assert interval((16, 24, 40)) == "16, 24 and 40"
