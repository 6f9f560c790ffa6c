from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, Stage
from vitesse.report.summary import Candidate, Costs, Gate, GateRow, Origin, RunSummary, front

STAGE = Stage(dim=64, depth=1, block=Block(Attention(heads=1), MLP()))
ARCH = Backbone(stem=PatchEmbed(image=(32, 32), patch=(8, 8)), stages=(STAGE,), head=Head(classes=2))


def candidate(params: int | None, score: float) -> Candidate:
    return Candidate(arch=ARCH, score=score, costs=Costs(params=params), origin="random", generation=0)


@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(1, 6)), st.integers(0, 6))))
def test_the_front_is_what_none_beats(pairs: list[tuple[int | None, int]]) -> None:
    def beaten(cost: int, score: int) -> bool:
        return any(
            other is not None and other <= cost and good >= score and (other, good) != (cost, score)
            for other, good in pairs
        )

    best = front(tuple(candidate(cost, score) for cost, score in pairs), "params")
    expected = sorted({(cost, score) for cost, score in pairs if cost is not None and not beaten(cost, score)})
    assert [(item.costs.params, item.score) for item in best] == expected


@pytest.mark.parametrize(
    ("command", "verb"),
    [("vitesse search --space tiny", "search"), ("python -m vitesse train", "train"), (None, "run"), ("other", "run")],
)
def test_the_verb_is_the_command_s(command: str | None, verb: str) -> None:
    run = {} if command is None else {"command": command}
    origin = Origin(run=run, versions={}, device={}, settings="")
    assert RunSummary(name="x", folder="x", origin=origin).verb == verb


@pytest.mark.parametrize(("difference", "passed"), [(1e-5, True), (1e-4, True), (2e-4, False), (math.nan, False)])
def test_the_gate_passes_within_the_tolerance(difference: float, passed: bool) -> None:
    row = GateRow(batch=1, max_difference=difference)
    assert Gate(tolerance=1e-4, rows=(row,), accuracy_torch=None, accuracy_onnx=None).passed is passed
