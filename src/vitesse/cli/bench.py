"""`vitesse bench`: networks timed against each other on this device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from vitesse.deploy.bench import BenchResult


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Time networks against each other on this device, each in the runtime that serves its file.

    All take turns, so that what disturbs the machine disturbs them alike. The others are compared with the first; where a
    difference is not larger than the noise, there is no verdict.

    Examples:
      vitesse bench runs/digits
      vitesse bench runs/photos resnet18 deit_tiny_patch16_224 --threads 1
      vitesse bench runs/photos/model.onnx runs/photos/model.xml --batch 16
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL...")]
    """Runs' folders, exported files (.onnx, .xml, .pt2, .pte), or timm names (in ONNX Runtime, with random weights)."""
    batch: int = 1
    """Images in one call."""
    threads: int | None = None
    """Threads of one operation; every core where none are given."""
    rounds: int = 100
    """How often each is timed."""
    json: bool = False
    """Print the result as JSON, for another program."""

    def run(self) -> None:
        """Do it."""
        from vitesse.cli.console import Speaker, result_json
        from vitesse.deploy.bench import bench

        with Speaker().stage("bench") as progress:
            timed = bench(self.models, batch=self.batch, threads=self.threads, rounds=self.rounds, progress=progress)
        if self.json:
            result_json(timed.to_dict())
        else:
            _show(timed)


def _show(timed: BenchResult) -> None:
    from vitesse.cli.console import result, result_table

    figures = {"Median ms": ">", "p10": ">", "p90": ">", "Spread": ">", "Images/s": ">"}
    rows = [
        [
            row.name,
            *(f"{value:.3f}" for value in (row.latency.median_ms, row.latency.p10_ms, row.latency.p90_ms)),
            f"{row.latency.spread:.0%}",
            f"{row.images_per_second:.0f}",
            "is the first" if row.against_first is None else row.against_first.verdict,
        ]
        for row in timed.rows
    ]
    result_table({"Model": "<", **figures, "Against the first": "<"}, rows)
    about = timed.conditions
    clock = "clock unknown" if about.clock_mhz is None else f"{about.clock_mhz:.0f} MHz"
    load = "load unknown" if about.load is None else f"load {about.load:.1f}"
    result(
        f"\n{timed.runtime}; {about.threads} threads of {about.cores} cores; {about.cpu}; {clock}; {load}; {about.date}"
    )
    result(f"{about.system}; Python {about.python}; torch {about.torch}; onnxruntime {about.onnxruntime}")
