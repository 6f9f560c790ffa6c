"""The fastest way to serve a network, as `vitesse bench` finds it, against timm eager, timm compiled, and plain ONNX Runtime.

    python benchmarks/runtimes.py [--quick] [--models NAME ...] [--no-compile] [--json FILE]

The same weights in all. First `choose` tries every runtime that is installed, in float32 and bfloat16, at batch 1 and 16, and
names the fastest; then that one is timed anew beside timm's module, the same compiled, and timm's ONNX file in ONNX
Runtime: all by turns, wall clock, one thread. `peak` is the share of what a product of two large matrices reaches here in the
same precision, counting two operations for each multiply-add. The weights are random, so outputs are compared, not accuracies:
`off` is the largest difference of a logit as a share of the largest. Compiling takes minutes for each network: `--no-compile`
leaves it out. Target: best at least 3 times timm eager everywhere.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from showing import Row, conditions, end, options, show

from vitesse.arch import cost
from vitesse.data import Preprocess
from vitesse.deploy.choosing import choose
from vitesse.deploy.metadata import Metadata, installed_version
from vitesse.deploy.onnx_export import draft_onnx
from vitesse.deploy.onnx_runtime import OnnxRuntime
from vitesse.deploy.preparing import Subject
from vitesse.deploy.runtime import Runtime
from vitesse.deploy.served import served, unfolded
from vitesse.deploy.torch_runtime import CompiledRuntime, TorchRuntime
from vitesse.deploy.tried import Choice
from vitesse.deploy.ways import usable, ways
from vitesse.measure import compare, time_interleaved
from vitesse.measure.latency import MIN_ROUNDS
from vitesse.zoo import from_timm

MODELS = (*(f"efficientvit_m{number}" for number in range(6)), "tiny_vit_5m_224", "deit_tiny_patch16_224")
PREPROCESS = Preprocess()


def peak(dtype: torch.dtype, *, seconds: float = 1.0) -> float:
    """Operations a second of a product of two matrices of 2,048, at its best."""
    a, b = (torch.randn(2048, 2048, dtype=dtype) for _ in range(2))
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - began)
    return 2 * 2048**3 / best


def write(module: Any, file: Path) -> Path:
    """An ONNX file of a module with normalisation inside."""
    classes = tuple(str(number) for number in range(1000))
    about = Metadata(preprocess=PREPROCESS, classes=classes, arch_json=None, version=installed_version())
    draft_onnx(module, file, metadata=about)
    return file


def best_of(choice: Choice, batch: int) -> tuple[str, Runtime, float]:
    """The way that was named, opened, and how far its outputs are off."""
    way = next(one.way for one in choice.fastest if one.batch == batch)
    row = next(one for one in choice.tried if one.way == way)
    assert row.ready is not None and row.fidelity is not None
    return way.label, row.ready.open(threads=1), row.fidelity.difference


def cases(
    name: str, folder: Path, peaks: dict[str, float], *, left_out: set[str], rounds: int, seconds: float
) -> tuple[list[Row], Choice]:
    """One network at both batch sizes."""
    torch.manual_seed(0)
    theirs = timm.create_model(name, pretrained=False, num_classes=1000).eval()
    ours, plain = from_timm(theirs).eval(), unfolded(theirs, PREPROCESS)
    macs = cost(ours.arch).macs
    module = served(ours, PREPROCESS)
    subject = Subject(name=name, file=write(module, folder / "ours.onnx"), module=module)
    choice = choose(
        [subject], ways([one for one in usable(["all"]) if one not in left_out], ["bf16"]), folder,
        batches=(1, 16), threads=(1,), rounds=rounds, seconds=seconds,
    )  # fmt: skip
    others = {
        "eager": TorchRuntime(plain, threads=1),
        "compile": CompiledRuntime(plain, threads=1),
        "onnxruntime": OnnxRuntime(write(plain, folder / "timm.onnx"), threads=1),
    }
    others = {key: runtime for key, runtime in others.items() if key not in left_out}
    rows = []
    for batch in (1, 16):
        images = np.random.default_rng(0).random((batch, 3, 224, 224), dtype=np.float32)
        label, best, off = best_of(choice, batch)
        calls = {key: runtime.bind(images) for key, runtime in {"best": best, **others}.items()}
        timed = time_interleaved(calls, rounds=rounds, warmup=2, seconds=seconds, at_least=MIN_ROUNDS)
        ratios = {key: compare(timed[key], timed["best"]) for key in others}
        rate = batch / timed["best"].median_ms * 1e3
        rows.append(
            {
                "model": name,
                "batch": batch,
                "best": label,
                "images/s": f"{rate:.0f}",
                "peak": f"{2 * macs * rate / peaks[label.split()[1]]:.0%}",
                "off": f"{off:.0e}",
                **{f"x {key}": f"{1 / one.ratio:.2f} ({1 / one.high:.2f}–{1 / one.low:.2f})" for key, one in ratios.items()},
                "rounds": timed["best"].rounds,
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows, choice


def main() -> None:
    """Run the cases and show them, then all that was tried."""
    args = options(
        __doc__, more={"models": {"nargs": "+", "default": list(MODELS)}, "no-compile": {"action": "store_true"}}
    )
    before = conditions()
    names = ["efficientvit_m0"] if args.quick else args.models
    rounds, seconds = (10, 3.0) if args.quick else (40, 30.0)
    left_out = {"executorch"} | ({"compile"} if args.no_compile else set())
    peaks = {"fp32": peak(torch.float32), "bf16": peak(torch.bfloat16)}
    rows: list[Row] = []
    tried: list[Row] = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            found, choice = cases(name, Path(folder), peaks, left_out=left_out, rounds=rounds, seconds=seconds)
        rows += found
        for one in choice.tried:
            times = {f"batch {each.batch}": f"{each.latency.median_ms:.2f} ms" for each in one.timed}
            tried.append(
                {"model": name, "way": one.way.label, "batch 1": "–", "batch 16": "–", **times, "not kept": one.refused}
            )
    show("The best way against others with the same weights (one thread)", rows)
    show("All ways that were tried", tried)
    print("\npeak: " + ", ".join(f"{key} {value / 1e9:.0f} GFLOP/s" for key, value in peaks.items()))
    end(args, before, {"rows": rows, "tried": tried, "peaks": peaks})


if __name__ == "__main__":
    main()
