"""The ways to serve a finished network tried against each other, and the fastest of them kept in the run's folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from vitesse.deploy.choosing import choose
from vitesse.deploy.evidence import gather
from vitesse.deploy.preparing import Subject
from vitesse.deploy.served import served
from vitesse.deploy.serving import settle
from vitesse.deploy.tried import Tried
from vitesse.deploy.ways import usable, ways
from vitesse.measure import usable_cores
from vitesse.saved import load_network
from vitesse.shrink.finish import NETWORK, ONNX
from vitesse.shrink.job import Job
from vitesse.train.loop import Progress


def serving(job: Job, progress: Progress) -> dict[str, Any]:
    """The stage: each way measured on the learning and the search part; `serving.json` says what serves from now on."""
    if not job.main:
        return {}
    settings, network = job.settings.export, load_network(job.path(NETWORK))
    assert network.preprocess is not None  # the finish stage wrote it
    subject = Subject(
        name=job.folder.path.name,
        file=job.path(ONNX),
        module=served(network, network.preprocess),
        evidence=gather(job.parts, labelled=bool(job.parts.classes), tolerance=settings.accuracy_tolerance),
    )
    asked = ways(usable(settings.runtimes), settings.precisions)
    with tempfile.TemporaryDirectory() as folder:
        choice = choose(
            [subject], asked, Path(folder), threads=(usable_cores(),), rounds=settings.rounds, progress=progress
        )
        settle(choice, subject)
    for one in choice.tried:
        job.voice.say(_said(one))
    fastest = choice.fastest[0].way.label if choice.fastest else None
    job.voice.say(f"Fastest: {fastest or 'none can be run'}")
    return {"fastest": fastest}


def _said(one: Tried) -> str:
    """One way in one line: its time, what it loses, whether it is kept."""
    parts = [f"{timed.latency.median_ms:.3g} ms" for timed in one.timed]
    parts += [f"accuracy {one.fidelity.accuracy.value:.2%}"] if one.fidelity is not None else []
    parts.append(f"not kept: {one.refused}" if one.refused else "kept")
    return f"{one.way.label}: {', '.join(parts)}"
