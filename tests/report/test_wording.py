from __future__ import annotations

from pathlib import Path

import pytest

from vitesse.report import wording
from vitesse.report.reading import read_summary
from vitesse.report.summary import CostName, Costs, Outcome


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("params", 5_717_416, "5.72 M"),
        ("params", 999_960, "1.00 M"),
        ("params", 950, "950"),
        ("macs", 1.3e9, "1.30 G"),
        ("macs", 86.57e9, "86.6 G"),
        ("latency_ms", 12.04, "12.0 ms"),
        ("latency_ms", 0.123, "0.12 ms"),
        ("memory_bytes", 40_000_000, "38.1 MiB"),
        ("memory_bytes", 512, "512 B"),
    ],
)
def test_quantities_have_three_digits_and_a_unit(name: CostName, value: float, words: str) -> None:
    assert wording.quantity(name, value) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.21, "4.2 s"), (192, "3 min 12 s"), (59.99, "60.0 s"), (7500, "2 h 05 min")]
)
def test_durations_have_two_units(seconds: float, words: str) -> None:
    assert wording.duration(seconds) == words


def test_lists_end_in_and() -> None:
    assert [wording.listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_accuracy_is_told_with_its_interval_where_there_is_one() -> None:
    assert wording.accuracy(Outcome(costs=Costs())) is None
    assert wording.accuracy(Outcome(costs=Costs(), accuracy=0.5)) == "50.00 %"
    assert wording.accuracy(Outcome(costs=Costs(), accuracy=0.5, interval=(0.4, 0.61))) == "50.00 % (40.0–61.0)"


def test_a_run_in_one_line(folder: Path) -> None:
    summary = read_summary(folder)
    assert wording.asked(summary) == "images from Oxford pets/images, at most 6.50 M parameters and 12.0 ms latency"
    said = wording.came_out(summary)
    assert "8.31 ms and 93.41 % (92.5–94.2) right on the test part (teacher: 94.68 %)" in said


def test_an_architecture_in_words_tells_what_changes(folder: Path) -> None:
    summary = read_summary(folder)
    assert summary.arch is not None and summary.teacher is not None and summary.teacher.arch is not None
    assert wording.described(summary.teacher.arch) == ("384 wide, 12 blocks", "heads 6", "MLP ratio 4")
    stage = summary.arch.stages[0]
    heads = " ".join(str(block.branches[0].heads) for block in stage.blocks)  # type: ignore[attr-defined]
    assert wording.described(summary.arch)[:2] == (f"{stage.dim} wide, {stage.depth} blocks", f"heads {heads}")
