"""The ways to serve a finished network tried against each other, and the fastest of them kept in the run's folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from vitesse.deploy.choosing import choose
from vitesse.deploy.evidence import gather
from vitesse.deploy.onnx_export import served
from vitesse.deploy.preparing import Subject
from vitesse.deploy.serving import settle
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
    return {"fastest": [one.way.label for one in choice.fastest]}
