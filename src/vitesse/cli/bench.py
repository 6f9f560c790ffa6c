"""`vitesse bench`: networks timed against each other on this device."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vitesse.cli.options import PrecisionOptions
from vitesse.errors import UsageError

if TYPE_CHECKING:
    from vitesse.deploy.bench import BenchResult


@dataclass(frozen=True, kw_only=True)
class Bench(PrecisionOptions):
    """Time networks against each other on this device, each in the runtime of its file or in all that are installed.

    All take turns, so that what disturbs the machine disturbs them alike. The others are compared with the first; where a
    difference is not larger than the noise, there is no verdict. With --runtime each network is tried in each runtime, and
    in the smaller numbers that are asked for; with --data, too, the fastest is named that keeps the accuracy.

    Examples:
      vitesse bench runs/digits
      vitesse bench runs/photos resnet18 deit_tiny_patch16_224 --threads 1
      vitesse bench runs/photos/model.onnx runs/photos/model.xml --batch 16
      vitesse bench runs/photos --runtime all --int8 --bf16 --data photos/ --batch 1 16 --keep
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL...")]
    """Runs' folders, exported files (.onnx, .xml, .pt2, .pte), or timm names (in ONNX Runtime, with random weights)."""
    runtime: tuple[Literal["all", "onnxruntime", "openvino", "compile", "eager", "executorch"], ...] = ()
    """In which runtimes; several may be named, and all are those that are installed."""
    batch: tuple[int, ...] = (1,)
    """Images in one call; several may be named."""
    threads: tuple[int, ...] = ()
    """Threads of one operation, several may be named; every core where none are."""
    data: str | None = None
    """Images that the accuracy is judged on: a folder of images, .tar shards, a saved dataset, or digits."""
    rounds: int = 100
    """How often each is timed; in --runtime for two minutes at most at one batch size and number of threads."""
    keep: bool = False
    """Serve the runs with what was found to be the fastest, from now on: `vitesse.load(RUN).runtime()`."""
    json: bool = False
    """Print the result as JSON, for another program."""

    def run(self) -> None:
        """Do it."""
        if self.runtime:
            self._try_ways()
        else:
            self._time_networks()

    def _time_networks(self) -> None:
        from vitesse.cli.console import Speaker, result_json
        from vitesse.deploy.bench import bench

        if self.data or self.keep or self.precisions:
            raise UsageError("--data, --keep and smaller numbers are of --runtime. Name one, or --runtime all.")
        timed = []
        with Speaker().stage("bench") as progress:
            for batch, threads in itertools.product(self.batch, self.threads or (None,)):
                timed.append(bench(self.models, batch=batch, threads=threads, rounds=self.rounds, progress=progress))
        if self.json:
            result_json(timed[0].to_dict() if len(timed) == 1 else [one.to_dict() for one in timed])
        else:
            for one in timed:
                _show(one)

    def _try_ways(self) -> None:
        from vitesse.cli.console import Speaker, result_json
        from vitesse.cli.ways import SECONDS, show_choice
        from vitesse.deploy.choosing import choose
        from vitesse.deploy.serving import settle
        from vitesse.deploy.subjects import subject_of
        from vitesse.deploy.ways import usable, ways
        from vitesse.measure import usable_cores

        if self.data is None and (self.int8 or self.keep):
            raise UsageError("Int8 is calibrated on images, and --keep decides by accuracy. Name images with --data.")
        asked, speaker = ways(usable(self.runtime), self.precisions), Speaker()
        with tempfile.TemporaryDirectory() as folder:
            with speaker.stage("prepare") as progress:
                subjects = [
                    subject_of(
                        model, Path(folder) / f"{at}.onnx", data=self.data, tolerance=self.tolerance, progress=progress
                    )
                    for at, model in enumerate(self.models)
                ]
            with speaker.stage("bench") as progress:
                choice = choose(
                    subjects,
                    asked,
                    Path(folder),
                    batches=self.batch,
                    threads=self.threads or (usable_cores(),),
                    rounds=self.rounds,
                    seconds=SECONDS,
                    progress=progress,
                )
            for model, subject in zip(self.models, subjects, strict=True):
                if self.keep and Path(model).is_dir():
                    settle(choice, subject)
        if self.json:
            result_json(choice.to_dict())
        else:
            show_choice(choice)


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
