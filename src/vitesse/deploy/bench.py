"""The logic of `vitesse bench`: any number of networks timed against each other, each as the file that serves it.

A run folder stands for its model.onnx, or its detector.onnx; an exported file, of whatever origin, for itself; a timm name
for that network with random weights, exported to a temporary ONNX file. So like is compared with like: eager PyTorch is
slower than a runtime by a factor that differs from network to network, and would turn the ranking round.
"""

from __future__ import annotations

import difflib
import importlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitesse.data import Preprocess
from vitesse.deploy.metadata import Metadata, installed_version
from vitesse.deploy.onnx_export import draft_onnx
from vitesse.deploy.opening import RUN_FILE, file_bytes, file_of_run, is_exported, opened
from vitesse.deploy.runtime import FileRuntime, Images
from vitesse.deploy.served import Served, served
from vitesse.errors import UsageError
from vitesse.measure import Comparison, Conditions, Latency, compare, time_interleaved, usable_cores
from vitesse.measure.latency import MIN_ROUNDS

# For a foreign file that leaves its channels or a side of its images open.
_OTHERS = (3, 224, 224)


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchRow:
    """One network."""

    name: str
    source: str  # "run folder", "onnx file" (or of another format) or "timm, random weights"
    shape: tuple[int, ...]  # (B, C, H, W)
    file_bytes: int
    latency: Latency  # of one batch
    against_first: Comparison | None  # None for the first itself

    @property
    def images_per_second(self) -> float:
        """At the median."""
        return self.shape[0] / self.latency.median_ms * 1e3

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "source": self.source,
            "shape": list(self.shape),
            "file_bytes": self.file_bytes,
            **self.latency.to_dict(),
            "images_per_second": self.images_per_second,
            "against_first": self.against_first and self.against_first.to_dict(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchResult:
    """All networks in the order in which they were named, and the conditions at the end of the timing."""

    rows: tuple[BenchRow, ...]
    runtime: str
    conditions: Conditions

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = [row.to_dict() for row in self.rows]
        return {"runtime": self.runtime, "conditions": self.conditions.to_dict(), "models": rows}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entrant:
    """A network that was named: the file that stands for it, and the module where it had to be made."""

    name: str
    source: str
    file: Path
    module: Served | None = None


def bench(
    models: Sequence[str | Path],
    *,
    batch: int = 1,
    threads: int | None = None,
    rounds: int = 100,
    seconds: float | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> BenchResult:
    """Time one batch of each network, interleaved; each is then compared with the first.

    `threads`: of one operation; None takes every core that this process may use. UsageError for a name that is no run
    folder, file or timm network, and for a file whose input does not fit the batch.
    """
    if not models or batch < 1 or rounds < 1 or (threads is not None and threads < 1):
        raise UsageError(
            "At least one network, batch >= 1, threads >= 1 and rounds >= 1 are needed, but got "
            f"{len(models)} networks, batch={batch}, threads={threads}, rounds={rounds}."
        )
    used = threads or usable_cores()
    with tempfile.TemporaryDirectory() as folder:
        entrants = []
        for at, model in enumerate(models):
            if progress is not None:
                progress(at, len(models), f"preparing {model}")
            entrants.append(entrant(str(model), Path(folder) / f"{at}.onnx"))
        names = _distinct([entrant.name for entrant in entrants])
        runtimes = [opened(entrant.file, threads=used) for entrant in entrants]
        images = [_images(runtime, batch) for runtime in runtimes]
        calls = {name: runtime.bind(one) for name, runtime, one in zip(names, runtimes, images, strict=True)}
        timed = time_interleaved(calls, rounds=rounds, seconds=seconds, at_least=MIN_ROUNDS, progress=progress)
        rows = tuple(
            BenchRow(
                name=name,
                source=entrant.source,
                shape=one.shape,
                file_bytes=file_bytes(entrant.file),
                latency=timed[name],
                against_first=None if name == names[0] else compare(timed[names[0]], timed[name]),
            )
            for name, entrant, one in zip(names, entrants, images, strict=True)
        )
    served_by = " and ".join(dict.fromkeys(runtime.name for runtime in runtimes))
    return BenchResult(rows=rows, runtime=f"{served_by}, CPU", conditions=Conditions.now(threads=used))


def entrant(model: str, draft: Path) -> Entrant:
    """Find the file that stands for `model`, or export it to `draft`; UsageError for what stands for nothing."""
    path = Path(model)
    if path.is_dir():
        file = file_of_run(path)
        if not file.is_file():
            raise UsageError(f"{model} holds no {RUN_FILE}, so it cannot be timed. Run `vitesse export {model}` first.")
        return Entrant(name=model, source="run folder", file=file)
    if is_exported(path):
        if not path.is_file():
            raise UsageError(f"{model} does not exist.")
        return Entrant(name=model, source=f"{path.suffix[1:]} file", file=path)
    return Entrant(name=model, source="timm, random weights", file=draft, module=_export_timm(model, draft))


def _export_timm(name: str, draft: Path) -> Served:
    timm: Any = importlib.import_module("timm")  # slow to import, and not needed to time files
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f" Perhaps {' or '.join(near)}?" if near else ""
        raise UsageError(f"A run folder, an exported file or a timm network's name is needed, but got {name!r}.{hint}")
    model = timm.create_model(name, pretrained=False)
    config: dict[str, Any] = timm.data.resolve_model_data_config(model)
    channels, height, width = config["input_size"]
    preprocess = Preprocess(
        size=(height, width), channels=channels, mean=tuple(config["mean"]), std=tuple(config["std"])
    )
    classes = tuple(str(number) for number in range(model.num_classes))
    metadata = Metadata(preprocess=preprocess, classes=classes, arch_json=None, version=installed_version())
    network = served(model, preprocess)
    draft_onnx(network, draft, metadata=metadata)
    return network


def _images(runtime: FileRuntime, batch: int) -> Images:
    """Random images of the shape that the file wants; what is in them does not change the time."""
    wanted = runtime.shape
    if wanted[0] not in (None, batch):
        raise UsageError(f"{runtime.path} takes batches of {wanted[0]} only. Ask for --batch {wanted[0]}.")
    about = runtime.metadata
    others = _OTHERS if about is None else (about.preprocess.channels, *about.preprocess.size)
    shape = tuple(n or other for n, other in zip(wanted, (batch, *others), strict=True))
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, a repeated one numbered: timing a network against itself shows the noise."""
    turns = [names[: at + 1].count(name) for at, name in enumerate(names)]
    return [name if turn == 1 else f"{name} #{turn}" for name, turn in zip(names, turns, strict=True)]
