"""A run in plain text: the model card that travels with its network, and the lines at the end of a command."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from vitesse.report.reading import read_summary
from vitesse.report.repeating import command_line, onnx_runtime, python
from vitesse.report.summary import RunSummary
from vitesse.report.wording import COST_NAMES, accuracy, asked, came_out, described, duration, percent, quantity
from vitesse.runs.files import write_text


def write_model_card(folder: Path | str) -> Path:
    """Write the model card of a run folder as its `README.md`; the path of the card."""
    path = Path(folder) / "README.md"
    write_text(path, model_card(read_summary(folder)))
    return path


def model_card(summary: RunSummary) -> str:
    """The run as a Hugging Face model card: YAML front matter, then the same facts as on the page."""
    # The card travels with its folder, so that its commands name the folder it lies in.
    summary = dataclasses.replace(summary, folder=".")
    return (
        "\n".join(
            [
                *_front_matter(summary),
                "",
                f"# {_plain(summary.name)}",
                "",
                *_result(summary),
                *_figures(summary),
                *_architecture(summary),
                *_use(summary),
                *_teacher(summary),
                *_data(summary),
                *_repeat(summary),
            ]
        ).rstrip()
        + "\n"
    )


def summary_lines(summary: RunSummary) -> list[str]:
    """What a person wants to know at the end of a run, in a few lines of plain text."""
    lines = []
    if asked(summary):
        lines.append(f"Asked:     {asked(summary)}")
    lines.append(f"Came out:  {came_out(summary) or 'no result yet'}")
    if summary.budget_met is not None:
        lines.append(f"Budget:    {'met' if summary.budget_met else 'MISSED'}")
    if summary.arch is not None:
        lines.append(f"Network:   {'; '.join(described(summary.arch))}")
    if summary.gate is not None:
        worst = max((row.max_difference for row in summary.gate.rows), default=0.0)
        verdict = "computes the same" if summary.gate.passed else "does NOT compute the same"
        lines.append(f"Export:    {verdict} (largest difference {worst:.1e}, tolerance {summary.gate.tolerance:.1e})")
    if summary.seconds is not None:
        lines.append(f"Time:      {duration(summary.seconds)}")
    lines += [f"Notice:    {note}" for note in summary.data.notes]
    return lines


def _front_matter(summary: RunSummary) -> Iterator[str]:
    yield from ("---", "license: mit", "library_name: vitesse", "pipeline_tag: image-classification")
    yield from ("tags:", "- vitesse", "- image-classification", "- vision-transformer")
    yield from ("metrics:", "- accuracy")
    if summary.outcome.accuracy is not None:
        # JSON's strings are YAML's, so that no name can break the front matter.
        yield from ("model-index:", f"- name: {json.dumps(summary.name)}", "  results:", "  - task:")
        yield from ("      type: image-classification", "    dataset:")
        yield from (f"      name: {json.dumps(summary.data.source or 'images')}", "      type: images")
        yield from ("    metrics:", "    - type: accuracy", f"      value: {summary.outcome.accuracy}")
    yield "---"


def _result(summary: RunSummary) -> Iterator[str]:
    if asked(summary):
        yield f"Asked: {_plain(asked(summary))}.  "
    yield f"Came out: {_plain(came_out(summary) or 'no result yet')}."
    if summary.budget_met is not None:
        yield f"The budget was {'met' if summary.budget_met else '**missed**'}."
    yield ""
    yield "Made by Vitesse; `report.html` in this folder shows the whole run."
    yield ""


def _figures(summary: RunSummary) -> Iterator[str]:
    teacher = summary.teacher.outcome if summary.teacher is not None else None
    scores = (accuracy(summary.outcome), accuracy(teacher) if teacher is not None else None)
    rows: list[tuple[str | None, ...]] = [("accuracy on the test part", *scores)]
    for name, title in COST_NAMES.items():
        mine = summary.outcome.costs.of(name)
        theirs = teacher.costs.of(name) if teacher is not None else None
        rows.append((title, *(quantity(name, cost) if cost is not None else None for cost in (mine, theirs))))
    known = [row for row in rows if any(row[1:])]
    if known:
        heads = ("", "this network", "teacher") if teacher is not None else ("", "this network")
        yield "| " + " | ".join(heads) + " |"
        yield "|---" * len(heads) + "|"
        for row in known:
            yield "| " + " | ".join(value or "–" for value in row[: len(heads)]) + " |"
        yield ""


def _architecture(summary: RunSummary) -> Iterator[str]:
    if summary.arch is not None:
        stem = summary.arch.stem
        down, across = stem.reduction
        size = f"{stem.image[0]} × {stem.image[1]}, {stem.channels} channels, {down} × {across} pixels a token"
        yield from _chapter("Architecture", [f"- images {size}", *(f"- {line}" for line in described(summary.arch))])


def _use(summary: RunSummary) -> Iterator[str]:
    blocks = (("sh", command_line(summary)), ("python", python(summary)), ("python", onnx_runtime(summary)))
    lines = [line for language, source in blocks if source for line in _fenced(language, source)]
    if summary.data.classes:
        lines.append(f"Classes, in the order of the outputs: {', '.join(map(_plain, summary.data.classes))}.")
    yield from _chapter("Use", lines)


def _teacher(summary: RunSummary) -> Iterator[str]:
    teacher = summary.teacher
    if teacher is None:
        return
    lines = [f"- {_plain(teacher.name)}" if teacher.name else "- a network of the same classes"]
    if teacher.outcome.accuracy is not None:
        lines.append(f"- accuracy on the test part: {percent(teacher.outcome.accuracy)}")
    if teacher.licence or teacher.name:
        lines.append(f"- licence: {_plain(teacher.licence or 'not known; look it up before you publish')}")
    if teacher.licence_note:
        lines.append(f"- {_plain(teacher.licence_note)}")
    yield from _chapter("Teacher", lines)


def _data(summary: RunSummary) -> Iterator[str]:
    data = summary.data
    lines = [f"- source: {_plain(data.source)}"] if data.source else []
    lines += [f"- fingerprint: `{_plain(data.fingerprint)}`"] if data.fingerprint else []
    yield from _chapter("Data", [*lines, *(f"- {_plain(note)}" for note in data.notes)])


def _repeat(summary: RunSummary) -> Iterator[str]:
    lines = list(_fenced("sh", summary.origin.command)) if summary.origin.command else []
    lines += [
        f"- {_plain(name)}: {_plain(str(value))}" for name, value in summary.origin.run.items() if name != "command"
    ]
    lines += [f"- {_plain(name)} {_plain(str(value))}" for name, value in summary.origin.versions.items()]
    lines += ["- settings: `run.toml` in this folder"]
    yield from _chapter("Repeat", lines)


def _chapter(title: str, lines: Iterable[str]) -> Iterator[str]:
    written = list(lines)
    if written:
        yield from (f"## {title}", "", *written, "")


def _fenced(language: str, source: str) -> Iterator[str]:
    fence = "```"
    while fence in source:
        fence += "`"
    yield from (f"{fence}{language}", source, fence, "")


def _plain(words: str) -> str:
    """Words as they are, on one line, whatever they would mean in Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(words.split()))
