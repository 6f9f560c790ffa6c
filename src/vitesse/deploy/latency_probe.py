"""The latency of architectures in the runtime that will serve them, before any of them is trained.

The weights do not change how long a network takes, so it is built with random ones, exported exactly as it would be
served (normalisation inside, free batch size), and timed. Exporting takes seconds, so what was measured is kept, and the
order of the blocks in a stage is not asked: the same blocks in another order are the same work.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from vitesse.arch import Arch, Backbone, to_json
from vitesse.data import Preprocess
from vitesse.deploy.metadata import Metadata, installed_version
from vitesse.deploy.onnx_export import draft_onnx
from vitesse.deploy.preparing import open_way
from vitesse.deploy.served import Served, served
from vitesse.deploy.ways import Way, version_of
from vitesse.errors import VitesseError
from vitesse.measure import Conditions, Latency, time_interleaved, usable_cores

# So many are timed against each other at once: it bounds the memory, and what an interrupted search loses.
GROUP = 16


class LatencyProbe:
    """Measures architectures, and remembers them.

    build: the network of an architecture. threads: of one operation; None takes every core that this process may use.
    runtime: in which they are timed. cache: a file of JSON lines, one a measurement; only what was measured on the same
    processor, with as many threads, the same batch and the same version of the same runtime is taken from it.
    """

    def __init__(
        self,
        build: Callable[[Arch], nn.Module],
        *,
        runtime: str = "onnxruntime",
        cache: Path | None = None,
        threads: int | None = None,
        batch: int = 1,
        rounds: int = 50,
    ) -> None:
        self._build, self._cache, self._batch, self._rounds = build, cache, batch, rounds
        self._threads, self._way = threads or usable_cores(), Way(runtime)
        now = Conditions.now(threads=self._threads)
        self._where = {"cpu": now.cpu, "threads": now.threads, "batch": batch, runtime: version_of(runtime)}
        self._known = {} if cache is None else _read(cache, self._where)

    def __call__(
        self, archs: Sequence[Arch], *, progress: Callable[[int, int, str], None] | None = None
    ) -> list[Latency]:
        """The latency of one batch for each architecture, in their order; new ones are timed interleaved."""
        keys = [_work(arch) for arch in archs]
        new = {key: arch for key, arch in zip(keys, archs, strict=True) if key not in self._known}
        waiting = list(new.items())
        for start in range(0, len(waiting), GROUP):
            group = dict(waiting[start : start + GROUP])
            for key, latency in self._time(group, done=start, total=len(waiting), progress=progress).items():
                self._known[key] = latency
                self._keep(key, latency)
        return [self._known[key] for key in keys]

    def _time(
        self,
        archs: dict[str, Arch],
        *,
        done: int,
        total: int,
        progress: Callable[[int, int, str], None] | None,
    ) -> dict[str, Latency]:
        calls = {}
        with tempfile.TemporaryDirectory() as folder:
            for at, (key, arch) in enumerate(archs.items()):
                if progress is not None:
                    progress(done + at, total, "exporting to time it")
                file = Path(folder) / f"{at}.onnx"
                network = self._export(arch, file)
                shape = (self._batch, arch.stem.channels, *arch.stem.image)  # (B, C, H, W)
                images = np.random.default_rng(0).random(shape, dtype=np.float32)
                calls[key] = open_way(self._way, file, network, threads=self._threads).bind(images)
            return time_interleaved(calls, rounds=self._rounds)

    def _export(self, arch: Arch, file: Path) -> Served:
        half = (0.5,) * arch.stem.channels
        preprocess = Preprocess(size=arch.stem.image, channels=arch.stem.channels, mean=half, std=half)
        classes = tuple(str(number) for number in range(arch.head.classes))
        metadata = Metadata(
            preprocess=preprocess, classes=classes, arch_json=to_json(arch), version=installed_version()
        )
        network = served(self._build(arch), preprocess)
        draft_onnx(network, file, metadata=metadata)
        return network

    def _keep(self, key: str, latency: Latency) -> None:
        if self._cache is None:
            return
        samples = [round(sample, 6) for sample in latency.samples_ms]
        self._cache.parent.mkdir(parents=True, exist_ok=True)
        with self._cache.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"arch": key, "where": self._where, "samples_ms": samples}) + "\n")


def _work(arch: Arch) -> str:
    """What all architectures of the same latency have in common: the architecture with its blocks in one fixed order."""
    if not isinstance(arch, Backbone):  # what cells are made of has one order alone
        return to_json(arch)
    stages = tuple(replace(stage, block=tuple(sorted(stage.blocks, key=to_json))) for stage in arch.stages)
    return to_json(replace(arch, stages=stages))


def _read(cache: Path, where: dict[str, object]) -> dict[str, Latency]:
    """What was measured under the same conditions; a last line that was cut off by a crash is left out and removed."""
    if not cache.exists():
        return {}
    text = cache.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        cache.write_text(whole, encoding="utf-8")
    known = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            entry = json.loads(line)
            if entry["where"] == where:
                known[entry["arch"]] = Latency(samples_ms=tuple(entry["samples_ms"]))
        except (KeyError, TypeError, ValueError) as error:
            raise VitesseError(f"Line {number} of {cache} is no measurement ({error!r}). Remove the file.") from error
    return known
