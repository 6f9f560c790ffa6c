"""Numbers and architectures in words: one way to write each quantity, for the page, the model card and the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import singledispatch
from itertools import pairwise

from vitesse.arch import (
    MLP,
    Arch,
    Attention,
    CascadedAttention,
    Cell,
    CellNetwork,
    ConvMLP,
    LocalConv,
    MBConv,
    ShiftedWindowAttention,
    Skip,
    Stage,
    WindowAttention,
)
from vitesse.report.summary import CostName, Outcome, RunSummary, Space

COST_NAMES: dict[CostName, str] = {
    "params": "parameters",
    "macs": "MACs",
    "latency_ms": "latency",
    "memory_bytes": "memory",
}
DIMENSIONS = {"dim": "width", "head_dim": "width of heads", "key_dim": "width of keys", "ratio": "expansion ratio"}
LIMITS: dict[str, CostName] = {f"max_{name}": name for name in COST_NAMES}


def quantity(name: CostName, value: float) -> str:
    """A cost with its unit: `5.72 M`, `1.26 G`, `12.4 ms`, `38.1 MiB`."""
    match name:
        case "latency_ms":
            return f"{_three(value)} ms"
        case "memory_bytes":
            return size(value)
        case _:
            return scaled(value)


def scaled(value: float) -> str:
    """A count to three digits: `950`, `5.72 M`."""
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor * 0.9995:
            return f"{_three(value / factor)} {letter}"
    return f"{value:g}"


def size(value: float) -> str:
    """Bytes to three digits: `512 B`, `38.1 MiB`."""
    for factor, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= factor:
            return f"{_three(value / factor)} {unit}"
    return f"{value:g} B"


def percent(value: float) -> str:
    """A share of 1 as a percentage with two decimals."""
    return f"{100 * value:.2f} %"


def duration(seconds: float) -> str:
    """A duration by its two largest units: `2 h 05 min`, `3 min 12 s`, `4.2 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def times(big: float, small: float) -> str:
    """How much smaller: `3.8×`."""
    return f"{_three(big / small)}×"


def accuracy(outcome: Outcome) -> str | None:
    """The test accuracy with its interval, where one was measured."""
    if outcome.accuracy is None:
        return None
    if outcome.interval is None:
        return percent(outcome.accuracy)
    low, high = outcome.interval
    return f"{percent(outcome.accuracy)} ({100 * low:.1f}–{100 * high:.1f})"


def listed(items: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = list(items)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def asked(summary: RunSummary) -> str:
    """What was asked, as a sentence's part: `images from pets, at most 5.70 M parameters`."""
    limits = [_limit(name, value) for name, value in summary.budget.items()]
    data = [f"images from {summary.data.source}"] if summary.data.source else []
    return ", ".join([*data, *([f"at most {listed(limits)}"] if limits else [])])


def came_out(summary: RunSummary) -> str:
    """What came out, as a sentence's part: the network's figures, else where the space went; empty where nothing is known."""
    outcome, teacher = summary.outcome, summary.teacher
    parts = [
        f"{quantity(name, value)} {COST_NAMES[name]}" if name in ("params", "macs") else f"{quantity(name, value)}"
        for name in ("params", "macs", "latency_ms")
        if (value := outcome.costs.of(name)) is not None
    ]
    if (score := accuracy(outcome)) is not None:
        parts.append(f"{score} right on the test part")
    if isinstance(precision := summary.detection.get("mAP"), float):
        parts.append(f"a mean average precision of {percent(precision)}")
    if not parts and summary.spaces:
        return _space_went(summary.spaces)
    said = listed(parts)
    if said and teacher is not None and teacher.outcome.accuracy is not None:
        said += f" (teacher: {percent(teacher.outcome.accuracy)})"
    return said


def _space_went(spaces: Sequence[Space]) -> str:
    """Where the space went from the first one that was judged to the last, and its E-T error in both."""
    first, last = spaces[0], spaces[-1]
    ended = {one.name: one.options for one in last.dimensions}
    moves = [
        f"{dimension_name(one.name)} from {interval(one.options)} to {interval(ended[one.name])}"
        for one in first.dimensions
        if one.name in ended and ended[one.name] != one.options
    ]
    judged = f"E-T error {percent(first.both[0])}"
    if len(spaces) == 1:
        return f"a space that has not moved ({judged})"
    went = f"moved: {'; '.join(moves)}" if moves else "came back to where it began"
    return f"a space that {went} ({judged} at first, {percent(last.both[0])} at last)"


def described(arch: Arch) -> tuple[str, ...]:
    """An architecture in short lines, one or more a stage: widths, depth, and what changes from block to block."""
    if isinstance(arch, CellNetwork):
        return tuple(_cells(arch))
    return tuple(line for stage in arch.stages for line in _stage(stage))


def _cells(arch: CellNetwork) -> Iterator[str]:
    for stage in arch.stages:
        yield (
            f"{stage.dim} wide, {stage.depth} cell{'s' if stage.depth > 1 else ''} of {stage.channels} channels a node"
            + (", the last a reduction" if stage.halves else "")
        )
    for title, cell in different_cells(arch):
        nodes = (" + ".join(f"{edge.operation}({edge.source})" for edge in node) for node in cell.nodes)
        yield f"{title}: {', '.join(f'{n} = {node}' for n, node in enumerate(nodes, start=2))}"


def different_cells(arch: CellNetwork) -> Iterator[tuple[str, Cell]]:
    """Each different cell of a network with a title that says, where it needs saying, in which stages it stands."""
    found: dict[tuple[str, Cell], list[int]] = {}
    for s, stage in enumerate(arch.stages, start=1):
        keys = [("normal cell", stage.cells[0])] if stage.depth > 1 or not stage.halves else []
        keys += [("reduction cell", stage.cells[-1])] if stage.halves else []
        for key in keys:
            found.setdefault(key, []).append(s)
    for (what, cell), stages in found.items():
        where = "" if len(found) <= 2 else f", stage{'s' if len(stages) > 1 else ''} {', '.join(map(str, stages))}"
        yield what + where, cell


def _limit(name: str, value: float) -> str:
    if name not in LIMITS:
        return f"{name} {value:g}"
    cost = LIMITS[name]
    return f"{quantity(cost, value)} {COST_NAMES[cost]}"


def _stage(stage: Stage) -> tuple[str, ...]:
    columns: dict[str, list[str]] = {}
    for block in stage.blocks:
        for branch in block.branches:
            name, word = told(branch)
            columns.setdefault(name, []).append(word)
    rest = (f"{name} {words[0] if len(set(words)) == 1 else ' '.join(words)}" for name, words in columns.items())
    shared = f", each {stage.group} sharing weights" if stage.group > 1 else ""
    count = f"{stage.depth} block{'' if stage.depth == 1 else 's'}" if stage.depth else "no blocks"
    return (f"{stage.dim} wide, {count}{shared}", *rest)


@singledispatch
def told(branch: object) -> tuple[str, str]:
    """The measure that tells a branch from others of its kind: its name and its value."""
    return type(branch).__name__, ""


@told.register
def _(branch: Attention) -> tuple[str, str]:
    return "heads", f"{branch.heads}{'' if branch.mix is None else ' mixed'}"


@told.register
def _(branch: WindowAttention) -> tuple[str, str]:
    return "heads in windows", f"{branch.heads}/{branch.window}"


@told.register
def _(branch: ShiftedWindowAttention) -> tuple[str, str]:
    mixed = "" if branch.mix is None else " mixed"
    return "heads in shifted windows", f"{branch.heads}/{branch.window}{mixed}"


@told.register
def _(branch: CascadedAttention) -> tuple[str, str]:
    return "heads in a cascade", f"{branch.heads}/{branch.window}"


@told.register
def _(branch: ConvMLP) -> tuple[str, str]:
    return "MLP ratio", f"{branch.ratio:g}"


@told.register
def _(branch: MBConv) -> tuple[str, str]:
    gates = " gated" if branch.squeeze else ""
    return "MBConv ratio/kernel", f"{branch.ratio:g}/{branch.kernel}{gates}"


@told.register
def _(branch: Skip) -> tuple[str, str]:
    return "left out", "yes"


@told.register
def _(branch: LocalConv) -> tuple[str, str]:
    return "local kernel", str(branch.kernel)


@told.register
def _(branch: MLP) -> tuple[str, str]:
    return "MLP ratio", f"{branch.ratio:g}"


def _three(value: float) -> str:
    """Three digits that count, never in exponents."""
    decimals = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{decimals}f}"


def dimension_name(path: str) -> str:
    """A dimension of a space in words: `width of stage 1`, `heads of branch 1, stage 2`."""
    parts = path.split(".")
    stage = f"stage {int(parts[1]) + 1}" if parts[0] == "stages" else parts[0]
    if parts[2:3] != ["blocks"]:
        word = parts[-1]
        return f"{DIMENSIONS.get(word, word.replace('_', ' '))} of {stage}"
    numbers = [int(part) + 1 for part in parts[3:] if part.isdecimal()]
    word = next(part for part in parts[3:] if not part.isdecimal())
    named = DIMENSIONS.get(word, word.replace("_", " "))
    first = [part.isdecimal() for part in parts[3:]].index(False)
    branch, block = numbers[first - 1], f", from block {numbers[0]}" if first > 1 else ""
    place = f" {numbers[-1]}" if len(numbers) > first else ""
    return f"{named}{place} of branch {branch}, {stage}{block}"


def training_name(stage: str) -> str:
    """A stage that trains in words: spaces are counted from 1, as on the rest of the page."""
    moved = re.fullmatch(r"space-(\d+)-supernet", stage)
    return f"supernet of space {int(moved[1]) + 1}" if moved else stage


def interval(options: Sequence[float]) -> str:
    """Options as an interval where they are one: `16–32 by 8`, else all of them."""
    gaps = {round(high - low, 9) for low, high in pairwise(options)}
    if len(gaps) == 1 and len(options) > 2:
        return f"{options[0]:g}–{options[-1]:g} by {gaps.pop():g}"
    return listed(f"{option:g}" for option in options)
