"""A run folder as `vitesse shrink` leaves it, with made-up numbers, from which tests take parts away."""

from __future__ import annotations

import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Choice,
    Head,
    PatchEmbed,
    Stage,
    cost,
    from_json,
    mutate,
    sample,
    to_data,
    to_json,
)

HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


def vit(*, dim: Any, depth: Any, heads: Any, ratio: Any, classes: int = 37) -> Backbone:
    block = Block(Attention(heads=heads), MLP(ratio=ratio))
    return Backbone(
        stem=PatchEmbed(), stages=(Stage(dim=dim, depth=depth, block=block),), head=Head(classes=classes, pool="mean")
    )


SPACE = vit(dim=Choice(192, 216, 240), depth=Choice(12, 13, 14), heads=Choice(3, 4), ratio=Choice(3.0, 3.5, 4.0))
TEACHER = vit(dim=384, depth=12, heads=6, ratio=4.0)
RUN = """[run]
command = "vitesse shrink --data 'Oxford pets/images' --max-params 6.5M --max-latency 12ms"
created = "2026-05-04T10:11:12+00:00"
seed = 7

[versions]
vitesse = "0.1.0"
torch = "2.9.1"
python = "3.12.4"

[device]
name = "AMD Ryzen 7 7840U"
threads = 8

[data]
image = 224
search_part = 0.1

[supernet]
epochs = 300
batch = 256
lr = 5e-4

[search]
population = 50
generations = 20
"""


def _score(arch: Backbone, rng: random.Random) -> float:
    return 0.905 + 0.022 * math.log(cost(arch).params / 4.5e6) + rng.gauss(0, 0.0035)


def candidates(rng: random.Random, *, count: int) -> list[dict[str, Any]]:
    """Searched as evolution would: half at random, then mutations of the best."""
    found: list[tuple[float, Backbone, str, int]] = []
    for place in range(count):
        generation = place // (count // 8)
        if generation < 2:
            arch, origin = sample(SPACE, rng), "random"
        else:
            parent = rng.choice(sorted(found, key=lambda item: item[0])[-12:])[1]
            arch, origin = mutate(SPACE, parent, rng, stage_rate=0.2, block_rate=0.3), "mutation"
        found.append((_score(arch, rng), arch, origin, generation))
    return [_candidate(*item, rng=rng) for item in found]


def _candidate(score: float, arch: Backbone, origin: str, generation: int, *, rng: random.Random) -> dict[str, Any]:
    price = cost(arch)
    costs = {
        "params": price.params,
        "macs": price.macs,
        "memory_bytes": price.memory_bytes,
        "latency_ms": 2.1 + price.macs / 2.1e8 + rng.gauss(0, 0.05),
    }
    return {"arch": to_data(arch), "score": score, "costs": costs, "origin": origin, "generation": generation}


def metrics(rng: random.Random) -> list[dict[str, Any]]:
    lines = []
    stages = (("teacher", 40, 0.16, 0.948), ("supernet", 60, 0.55, 0.89), ("finish", 30, 0.21, 0.936))
    for stage, epochs, low, top in stages:
        for step in range(epochs * 40):
            done = (step + 1) / (epochs * 40)
            loss = low + 3.2 * math.exp(-5 * done) + rng.gauss(0, 0.06)
            line = {
                "stage": stage,
                "step": step,
                "epoch": step // 40,
                "loss": loss,
                "lr": 5e-4 * (1 + math.cos(3.14 * done)) / 2,
            }
            if step % 40 == 39:
                line["accuracy"] = top * (1 - math.exp(-6 * done)) + rng.gauss(0, 0.004)
            lines.append(line)
    return lines


def result(winner: Backbone) -> dict[str, Any]:
    price, big = cost(winner), cost(TEACHER)
    return {
        "asked": {"data": "Oxford pets/images", "budget": {"max_params": 6_500_000, "max_latency_ms": 12.0}},
        "params": price.params,
        "macs": price.macs,
        "memory_bytes": price.memory_bytes,
        "latency_ms": 8.31,
        "test_accuracy": 0.9341,
        "test_interval": [0.9253, 0.9421],
        "teacher_test_accuracy": 0.9468,
        "teacher_params": big.params,
        "teacher_macs": big.macs,
        "teacher_latency_ms": 24.6,
        "classes": ["Abyssinian", "Bengal", "Birman", "Bombay", "British Shorthair", "Beagle", "Boxer", "Pug"],
        "data_notes": [
            "2 images could not be read and were left out: cats/201.jpg, cats/202.jpg",
            "14 images occur twice; each pair was kept in one part",
        ],
        "data_fingerprint": "sha256:5f0c1a7b9d3e46f2a8",
        "seconds": 15432.5,
        "seconds_by_stage": {
            "teacher": 4210.0,
            "supernet": 7600.0,
            "search": 1180.5,
            "finish": 2300.0,
            "export": 142.0,
        },
        "budget_met": True,
        "search": {"space_size": "3.1e17", "strategy": "evolution", "candidates": 240},
    }


SPEED = {
    "conditions": {"runtime": "ONNX Runtime 1.31", "threads": 8, "batch": 1, "precision": "float32", "repeats": 200},
    "rows": [
        {"name": "winner", "median_ms": 8.31, "p10_ms": 8.22, "p90_ms": 8.57, "spread": 0.042, "verdict": "steady"},
        {"name": "teacher", "median_ms": 24.6, "p10_ms": 24.1, "p90_ms": 26.9, "spread": 0.114, "verdict": "noisy"},
    ],
}
GATE = {
    "tolerance": 1e-4,
    "rows": [{"batch": 1, "max_difference": 2.1e-6}, {"batch": 8, "max_difference": 3.4e-6}],
    "accuracy_torch": 0.9341,
    "accuracy_onnx": 0.9341,
}


def write_run(folder: Path, *, count: int = 96) -> Path:
    """Every file of a finished shrink run."""
    rng = random.Random(5)
    searched = candidates(rng, count=count)
    priced = [item for item in searched if item["costs"]["params"] <= 6_500_000 and item["costs"]["latency_ms"] <= 12]
    best = max(priced, key=lambda item: item["score"])
    (folder / "teacher").mkdir(parents=True)
    (folder / "run.toml").write_text(RUN)
    (folder / "arch.json").write_text(json.dumps(best["arch"]))
    (folder / "teacher" / "arch.json").write_text(to_json(TEACHER))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics(rng)))
    (folder / "candidates.jsonl").write_text("".join(json.dumps(line) + "\n" for line in searched))
    (folder / "result.json").write_text(json.dumps(result(from_json(json.dumps(best["arch"])))))
    (folder / "speed.json").write_text(json.dumps(SPEED))
    (folder / "gate.json").write_text(json.dumps(GATE))
    (folder / "model.safetensors").write_bytes(b"\0" * 1_000_000)
    (folder / "model.onnx").write_bytes(b"\0" * 2_000_000)
    return folder


def change(path: Path, **values: object) -> None:
    """Put other values into a file's JSON object."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished shrink run, made once; tests change a copy."""
    return write_run(tmp_path_factory.mktemp("finished") / "pets")


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A finished shrink run, to be changed at will."""
    return Path(shutil.copytree(finished, tmp_path / "pets"))


@pytest.fixture
def hostile_folder(folder: Path) -> Path:
    """A run in which every string that a user may choose tries to break out of the page."""
    change(
        folder / "result.json",
        asked={"data": HOSTILE, "budget": {"max_params": 6.5e6}},
        classes=[HOSTILE, "a & b"],
        data_notes=[HOSTILE],
        data_fingerprint=HOSTILE,
        teacher_name=HOSTILE,
        teacher_licence=HOSTILE,
        search={HOSTILE: HOSTILE},
        seconds_by_stage={HOSTILE: 3.0},
    )
    row = {"name": HOSTILE, "median_ms": 1.0, "verdict": HOSTILE}
    change(folder / "speed.json", conditions={HOSTILE: HOSTILE}, rows=[row])
    text = json.dumps(HOSTILE)
    (folder / "run.toml").write_text(
        f"[run]\ncommand = {text}\ncreated = {text}\n[versions]\n{text} = {text}\n[device]\nname = {text}\n"
    )
    lines = [json.loads(line) for line in (folder / "candidates.jsonl").read_text().splitlines()]
    (folder / "candidates.jsonl").write_text("".join(json.dumps({**line, "origin": HOSTILE}) + "\n" for line in lines))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"stage": HOSTILE, "step": 1, "loss": 1.0}) + "\n")
    # A file name may hold all of it but the slash.
    return folder.rename(folder.with_name(HOSTILE.replace("/", "")))
