"""What `bench` and `export` say of the ways to serve a network: which are tried, and what came of it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vitesse.cli.console import Speaker, result, result_table

if TYPE_CHECKING:
    from vitesse.deploy.evidence import Evidence
    from vitesse.deploy.tried import Choice, Timed, Tried
    from vitesse.deploy.ways import Precision
    from vitesse.nets import Network

SECONDS = 120.0  # of timing, at one batch size and number of threads


def try_exported(
    network: Network,
    file: Path,
    evidence: Evidence,
    *,
    runtimes: Sequence[str],
    precisions: Sequence[Precision],
    speaker: Speaker,
) -> None:
    """Try an exported network in smaller numbers, keep what is worth it beside its file, and show the table."""
    from vitesse.deploy.choosing import choose
    from vitesse.deploy.preparing import Subject
    from vitesse.deploy.served import served
    from vitesse.deploy.serving import settle
    from vitesse.deploy.ways import usable, ways
    from vitesse.measure import usable_cores

    assert network.preprocess is not None  # or it could not have been exported
    module, asked = served(network, network.preprocess), ways(usable(runtimes), precisions)
    with speaker.stage("smaller numbers") as progress, tempfile.TemporaryDirectory() as folder:
        subject = Subject(name=str(file), file=file, module=module, evidence=evidence)
        choice = choose([subject], asked, Path(folder), threads=(usable_cores(),), seconds=SECONDS, progress=progress)
        settle(choice, subject)
    show_choice(choice)


def show_choice(choice: Choice) -> None:
    """The table of everything that was tried, what was judged on, and the fastest."""
    several = len({one.subject.name for one in choice.tried}) > 1
    rows = []
    for one in choice.tried:
        for timed in one.timed or (None,):
            name = [one.subject.name] if several else []
            rows.append([*name, one.way.label, *_times(timed), *_outcome(one), _kept(one, choice, timed)])
    heads = {"Batch": ">", "Threads": ">", "Median ms": ">", "p10": ">", "p90": ">"}
    heads |= {f"Against {choice.reference.label}": "<", "MB": ">", "Accuracy": ">", "Difference": ">", "Kept": "<"}
    result_table({**({"Model": "<"} if several else {}), "Way": "<", **heads}, rows)
    result("")
    subjects = dict.fromkeys(one.subject for one in choice.tried)
    for line in dict.fromkeys(
        _judged(choice.of(subject), f" of {subject.name}" if several else "") for subject in subjects
    ):
        result(line)
    result("The difference is the largest of an output, as a share of the network's largest.")
    for best in choice.fastest:
        of = f" of {best.subject.name}" if several else ""
        result(f"Fastest{of} at batch {best.batch} with {best.threads} threads: {best.way.label}")


def _times(timed: Timed | None) -> list[str]:
    if timed is None:
        return ["–"] * 6
    latency = timed.latency
    figures = [f"{value:.3f}" for value in (latency.median_ms, latency.p10_ms, latency.p90_ms)]
    return [str(timed.batch), str(timed.threads), *figures, timed.verdict]


def _outcome(one: Tried) -> list[str]:
    size = one.ready.bytes if one.ready is not None else None
    judged = one.fidelity
    return [
        "–" if size is None else f"{size / 1e6:.2f}",
        "–"
        if judged is None or one.subject.evidence is None or not one.subject.trained
        else f"{judged.accuracy.value:.2%}",
        "–" if judged is None else f"{judged.difference:.1e}",
    ]


def _kept(one: Tried, choice: Choice, timed: Timed | None) -> str:
    if one.refused:
        return f"no: {one.refused}"
    note = one.ready.note if one.ready is not None else ""
    best = timed is not None and any(
        (fastest.subject, fastest.way, fastest.batch, fastest.threads)
        == (one.subject, one.way, timed.batch, timed.threads)
        for fastest in choice.fastest
    )
    return "; ".join(filter(None, ["yes, the fastest" if best else "yes", note]))


def _judged(choice: Choice, of: str) -> str:
    """On what the accuracy of one network was measured."""
    first = choice.tried[0]
    evidence, judged = first.subject.evidence, next((one.fidelity for one in choice.tried if one.fidelity), None)
    if not first.subject.trained:
        return (
            f"{first.subject.name} has random weights: it is judged by time alone, and no accuracy can be told. Name a run of "
            "yours, or its .onnx file, with --data."
        )
    if evidence is None or judged is None or choice.tolerance is None:
        return "Judged by time alone: without --data nobody knows what accuracy is lost."
    what = "Accuracy" if evidence.judged.labels is not None else "Share of the network's own answers that stay"
    return (
        f"{what}{of} on {judged.network.total} images of the search part (network {judged.network.value:.2%}); "
        f"{choice.tolerance:.2%} may be lost."
    )
