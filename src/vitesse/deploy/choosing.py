"""All ways to serve a network tried on this device: what each loses, what each takes, and which is the fastest.

A way is kept where it loses no more than the tolerance and, with smaller numbers than float32, is faster than its runtime
with float32 beyond chance. All take turns, so that what disturbs the machine disturbs them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from vitesse.deploy.fidelity import Judge
from vitesse.deploy.onnx_runtime import OnnxRuntime
from vitesse.deploy.preparing import Subject, prepare
from vitesse.deploy.runtime import Images
from vitesse.deploy.tried import Choice, Fastest, Timed, Tried
from vitesse.deploy.ways import Way
from vitesse.errors import UsageError
from vitesse.measure import Conditions, Latency, compare, time_interleaved
from vitesse.measure.latency import MIN_ROUNDS

REFERENCE = Way("eager")  # what times are given in multiples of, where it is among those tried
JUDGED = 32  # random images that outputs are compared on, where there are no others
_SIDE, _CHANNELS = 224, 3  # of a foreign file that leaves a side of its images open

Progress = Callable[[int, int, str], None]


def choose(
    subjects: Sequence[Subject],
    ways: Sequence[Way],
    folder: Path,
    *,
    batches: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    rounds: int = 100,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> Choice:
    """Try each way for each network at each batch size and number of threads; files are written below `folder`.

    seconds: after which the timing of one batch size and number of threads ends, once there are enough rounds for a verdict.
    UsageError for an empty request; what one way cannot do is said in its row.
    """
    if not (subjects and ways and batches and threads) or min(*batches, *threads, rounds) < 1:
        raise UsageError(
            "At least one network, way, batch size and number of threads are needed, and all numbers at least 1, but got "
            f"{len(subjects)} networks, {len(ways)} ways, batches {list(batches)}, threads {list(threads)}, rounds {rounds}."
        )
    tried: list[Tried] = []
    for at, subject in enumerate(subjects):
        own = folder / str(at)
        own.mkdir()
        tried += _tried(subject, ways, own, batch=batches[0], threads=threads[0], progress=progress)
    settings = list(product(batches, threads))
    reference = _reference(ways, tried)
    for batch, count in settings:
        tried = _timed(tried, reference, batch, count, rounds=rounds, seconds=seconds, progress=progress)
    tried = [one if one.refused else replace(one, refused=_refused(one, tried)) for one in tried]
    fastest = [_fastest(subject, tried, batch, count) for subject in subjects for batch, count in settings]
    return Choice(
        tried=tuple(tried),
        fastest=tuple(one for one in fastest if one is not None),
        reference=reference,
        tolerance=None if subjects[0].evidence is None else subjects[0].evidence.tolerance,
        conditions=Conditions.now(threads=threads[0]),
    )


def _tried(
    subject: Subject, ways: Sequence[Way], folder: Path, *, batch: int, threads: int, progress: Progress | None
) -> list[Tried]:
    """Each way made ready and judged by its outputs, at the first batch size; not yet timed."""
    network = OnnxRuntime(subject.file, threads=threads)
    evidence = subject.evidence
    images = _random(network, max(JUDGED // batch, 1) * batch) if evidence is None else evidence.judged.images
    judge = Judge(network, images, None if evidence is None else evidence.judged.labels, batch=batch)
    rows = []
    for at, way in enumerate(ways):
        if progress is not None:
            progress(at, len(ways), f"{subject.name}: {way.label}")
        row = Tried(subject=subject, way=way)
        try:
            ready = prepare(way, subject, folder, progress=progress)
            row = replace(row, ready=ready, fidelity=judge(ready.open(threads=threads)))
        except Exception as error:  # a quantizer's and a runtime's errors share no other class; the table shows them
            row = replace(row, refused=_said(error))
        rows.append(row)
    return rows


def _reference(ways: Sequence[Way], tried: Sequence[Tried]) -> Way:
    """The first way that works for every network, eager float32 before all others; the first where none does."""
    failed = {one.way for one in tried if one.refused}
    return next((way for way in (REFERENCE, *ways) if way in ways and way not in failed), ways[0])


def _timed(
    tried: Sequence[Tried],
    reference: Way,
    batch: int,
    threads: int,
    *,
    rounds: int,
    seconds: float | None,
    progress: Progress | None,
) -> list[Tried]:
    """The rows with their times at one batch size and number of threads; those that cannot be run as they are."""
    inputs = {one.subject: _random(OnnxRuntime(one.subject.file, threads=1), batch) for one in tried}
    calls: dict[str, Callable[[], object]] = {}
    rows = list(tried)
    for at, one in enumerate(tried):
        if one.ready is None or one.refused:
            continue
        try:
            calls[str(at)] = one.ready.open(threads=threads).bind(inputs[one.subject])
        except Exception as error:  # as in `_tried`
            rows[at] = replace(one, refused=f"at batch {batch}: {_said(error)}")
    if not calls:
        return rows
    latencies = time_interleaved(calls, rounds=rounds, seconds=seconds, at_least=MIN_ROUNDS, progress=progress)
    timed = {rows[int(at)]: latency for at, latency in latencies.items()}

    def with_time(one: Tried) -> Tried:
        first = next((other for other in timed if other.subject is one.subject and other.way == reference), one)
        against = None if first is one else compare(timed[first], timed[one])
        more = Timed(batch=batch, threads=threads, latency=timed[one], against=against)
        return replace(one, timed=(*one.timed, more))

    return [with_time(one) if one in timed else one for one in rows]


def _refused(one: Tried, tried: Sequence[Tried]) -> str:
    """Why a row that was judged and timed is not kept; empty where it is."""
    assert one.fidelity is not None
    evidence = one.subject.evidence
    if evidence is not None and one.subject.trained and not one.fidelity.lost <= evidence.tolerance:
        return f"loses {one.fidelity.lost:.2%} of accuracy, where {evidence.tolerance:.2%} may be lost"
    if one.way.precision == "fp32":
        return ""
    plain = Way(one.way.runtime)
    float32 = next(row for row in tried if row.subject is one.subject and row.way == plain)
    seen = [compare(before.latency, after.latency) for before, after in zip(float32.timed, one.timed, strict=False)]
    if not seen or any(verdict.beyond_chance and verdict.ratio < 1 for verdict in seen):
        return ""
    return f"not faster than {plain.label}"


def _fastest(subject: Subject, tried: Sequence[Tried], batch: int, threads: int) -> Fastest | None:
    """The fastest that is kept; of those that chance does not tell from it, the first, as the plainest."""
    kept = {
        one: timed.latency
        for one in tried
        if one.subject is subject and not one.refused
        for timed in one.timed
        if (timed.batch, timed.threads) == (batch, threads)
    }
    if not kept:
        return None
    best = min(kept.values(), key=lambda latency: latency.median_ms)
    first = next(one for one, latency in kept.items() if not _slower(latency, best))
    return Fastest(subject=subject, batch=batch, threads=threads, way=first.way)


def _slower(latency: Latency, best: Latency) -> bool:
    against = compare(best, latency)
    return against.beyond_chance and against.ratio > 1


def _said(error: Exception) -> str:
    """Its first line that says something: OpenVINO's begin with the places in its code."""
    lines = [line for line in str(error).strip().splitlines() if not line.startswith("Exception from ")]
    return (lines or [type(error).__name__])[0]


def _random(network: OnnxRuntime, batch: int) -> Images:
    """Random images of the shape that the file wants; what is in them does not change the time."""
    sides = (batch, _CHANNELS, _SIDE, _SIDE)
    shape = (batch, *(n or other for n, other in zip(network.shape[1:], sides[1:], strict=True)))
    return np.random.default_rng(0).random(shape, dtype=np.float32)
