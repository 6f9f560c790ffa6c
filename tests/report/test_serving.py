"""The section on ways to serve: every way that was tried, the fastest marked, the refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vitesse.errors import VitesseError
from vitesse.report import read_summary
from vitesse.report.page import page


def way(runtime: str, precision: str, *, times: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    fidelity = {"accuracy": 0.9341, "lost": 0.0012, "difference": 0.0213}
    common = {"model": "run", "bytes": 2_000_000, "note": "", "fidelity": fidelity, "kept": True, "refused": ""}
    return {"runtime": runtime, "precision": precision, **common, "times": times, **more}


def time(batch: int, median: float, verdict: str) -> dict[str, Any]:
    figures = {"median_ms": median, "p10_ms": median * 0.9, "p90_ms": median * 1.1, "spread": 0.2, "rounds": 50}
    return {"batch": batch, "threads": 2, **figures, "ratio": 0.5, "verdict": verdict}


SERVING = {
    "network": "model.onnx",
    "conditions": {"cpu": "a processor", "cores": 2},
    "reference": "eager fp32",
    "tolerance": 0.005,
    "fastest": [{"model": "run", "batch": 1, "threads": 2, "way": "openvino int8"}],
    "tried": [
        way("eager", "fp32", times=[time(1, 8.0, "the reference"), time(16, 90.0, "the reference")], bytes=None),
        way(
            "openvino",
            "int8",
            times=[time(1, 2.0, "4.00 times faster (3.81 to 4.20)"), time(16, 40.0, "2.25 times faster (2.1 to 2.4)")],
            note="3 of 40 products kept in float",
        ),
        way("compile", "bf16", times=[], fidelity=None, kept=False, refused="The network <b> cannot be compiled"),
    ],
}


@pytest.fixture
def served(tmp_path: Path) -> Path:
    (tmp_path / "run.toml").write_text("")
    (tmp_path / "serving.json").write_text(json.dumps(SERVING))
    return tmp_path


def test_what_was_tried_is_read(served: Path) -> None:
    found = read_summary(served).serving
    assert found is not None and (found.reference, found.tolerance) == ("eager fp32", 0.005)
    assert [(row.way, row.batch, row.fastest) for row in found.rows] == [
        ("eager fp32", 1, False),
        ("eager fp32", 16, False),
        ("openvino int8", 1, True),
        ("openvino int8", 16, False),
        ("compile bf16", None, False),
    ]


def test_the_table_says_it(served: Path) -> None:
    source = page(read_summary(served))
    assert 'id="serving"' in source and 'href="#serving"' in source
    assert "yes, the fastest; 3 of 40 products kept in float" in source
    assert "4.00 times faster (3.81 to 4.20)" in source and "against eager fp32" in source
    assert "no: The network &lt;b&gt; cannot be compiled" in source
    assert "0.50 % of accuracy may be lost" in source and "93.41 %" in source


def test_a_wrong_value_is_named(served: Path) -> None:
    wrong = {**SERVING, "tried": [way("eager", "fp32", times=[{"batch": 1}])]}
    (served / "serving.json").write_text(json.dumps(wrong))
    with pytest.raises(VitesseError, match=r"serving\.json"):
        read_summary(served)
