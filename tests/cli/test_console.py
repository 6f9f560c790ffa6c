from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from vitesse.cli.console import Speaker, duration, result_json, result_table


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_elsewhere_than_on_a_terminal_lines_come_now_and_then() -> None:
    clock, out = Clock(), io.StringIO()
    speaker = Speaker(console=Console(file=out, width=200), clock=clock)
    with speaker.stage("search") as progress:
        for done in range(1, 11):
            clock.now += 2
            progress(done, 10, "" if done < 6 else "best [0.9]")
    assert out.getvalue().splitlines() == [
        "search: begun",
        "search: 3 of 10, 14 s left",
        "search: 6 of 10, 8 s left, best [0.9]",
        "search: 9 of 10, 2 s left, best [0.9]",
        "search: done in 20 s",
    ]


def test_on_a_terminal_there_is_a_bar() -> None:
    out = io.StringIO()
    speaker = Speaker(console=Console(file=out, width=120, force_terminal=True, color_system=None))
    with speaker.stage("search") as progress:
        progress(5, 10, "loss [0.5]")
    shown = out.getvalue()
    assert "50%" in shown
    assert "loss [0.5]" in shown
    assert "search: done in 0 s" in shown


def test_a_stage_that_fails_is_not_called_done() -> None:
    out = io.StringIO()
    with pytest.raises(KeyError), Speaker(console=Console(file=out)).stage("search"):
        raise KeyError
    assert "done" not in out.getvalue()


def test_remarks_go_to_stderr_and_the_silent_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Speaker().say("[bold]x")
    assert capsys.readouterr() == ("", "[bold]x\n")
    silent = Speaker(silent=True)
    with silent.stage("a"):
        silent.say("x")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_results_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    result_json({"a": ["ü"]})
    assert json.loads(capsys.readouterr().out) == {"a": ["ü"]}
    result_table({"Model": "<", "ms": ">"}, [["[red]", "1.5"], ["b" * 150, "10"]])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["Model", "ms"], ["[red]", "1.5"], ["b" * 150, "10"]]
