"""Architectures timed as they will be served, and remembered."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vitesse.arch import MLP, Attention, Backbone, Block
from vitesse.deploy import LatencyProbe
from vitesse.errors import VitesseError
from vitesse.nets import Network, build


class Counted:
    def __init__(self) -> None:
        self.built: list[Backbone] = []

    def __call__(self, arch: Backbone) -> Network:
        self.built.append(arch)
        return build(arch)


def test_measured_once_and_never_again(small_arch: Callable[..., Backbone], tmp_path: Path) -> None:
    one, two = small_arch(depth=1), small_arch(depth=1, dim=36)
    counted, cache, told = Counted(), tmp_path / "latency" / "probe.jsonl", []
    probe = LatencyProbe(counted, cache=cache, threads=1, rounds=5)
    found = probe([one, two, one], progress=lambda *step: told.append(step))
    assert counted.built == [one, two] and [step[:2] for step in told] == [(0, 2), (1, 2)]
    assert found[0] is found[2] and [latency.rounds for latency in found] == [5, 5, 5]
    assert probe([two]) == [found[1]] and len(counted.built) == 2

    # A resumed search reads what was measured, also when it was killed in the middle of a line.
    with cache.open("a") as lines:
        lines.write('{"arch": "half')
    resumed = LatencyProbe(counted, cache=cache, threads=1, rounds=5)([one, two])
    assert len(counted.built) == 2
    assert [latency.median_ms for latency in resumed] == pytest.approx([f.median_ms for f in found[:2]], abs=1e-5)
    assert all(json.loads(line) for line in cache.read_text().splitlines())

    # With another number of threads it is another measurement.
    LatencyProbe(counted, cache=cache, threads=2, rounds=2)([one])
    assert len(counted.built) == 3 and len(cache.read_text().splitlines()) == 3


def test_another_runtime_is_another_measurement(small_arch: Callable[..., Backbone], tmp_path: Path) -> None:
    counted, cache, arch = Counted(), tmp_path / "probe.jsonl", small_arch(depth=1)
    for runtime in ("onnxruntime", "eager", "eager"):
        LatencyProbe(counted, runtime=runtime, cache=cache, threads=1, rounds=2)([arch])
    assert len(counted.built) == 2
    assert [set(json.loads(line)["where"]) & {"onnxruntime", "eager"} for line in cache.read_text().splitlines()] == [
        {"onnxruntime"},
        {"eager"},
    ]


def test_the_order_of_the_blocks_is_no_other_work(small_arch: Callable[..., Backbone]) -> None:
    stage = small_arch().stages[0]
    narrow, wide = (Block(Attention(heads=heads, head_dim=12), MLP(ratio=2.0)) for heads in (1, 2))

    def ordered(*blocks: Block) -> Backbone:
        return replace(small_arch(), stages=(replace(stage, block=blocks),))

    counted = Counted()
    one, two, other = LatencyProbe(counted, threads=1, rounds=2)(
        [ordered(narrow, wide), ordered(wide, narrow), ordered(wide, wide)]
    )
    assert len(counted.built) == 2
    assert one is two and other is not one


def test_a_damaged_cache_is_said(tmp_path: Path) -> None:
    cache = tmp_path / "probe.jsonl"
    cache.write_text('{"other": 1}\n')
    with pytest.raises(VitesseError, match=r"Line 1 of .*probe\.jsonl is no measurement"):
        LatencyProbe(build, cache=cache)


def test_nothing_to_measure() -> None:
    assert LatencyProbe(build)([]) == []
