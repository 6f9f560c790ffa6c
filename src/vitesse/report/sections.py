"""What came out of a run, section by section: the figures at a glance, then the plots, drawings and tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from vitesse.arch import Backbone
from vitesse.report.cell_drawing import draw_cells
from vitesse.report.drawing import draw, scale_of
from vitesse.report.markup import Html, code, facts, folded, joined, section, table, tag, text
from vitesse.report.plot_style import Figure
from vitesse.report.summary import CostName, Gate, RunSummary, Speed, Timing, front
from vitesse.report.wording import (
    COST_NAMES,
    accuracy,
    asked,
    came_out,
    described,
    percent,
    quantity,
    times,
    training_name,
)

NO_SCRIPT = Html(
    "<noscript><p class='note'>The plots need JavaScript; the tables say the same in numbers.</p></noscript>"
)


def headline(summary: RunSummary) -> Html:
    """What was asked and what came out, in one line."""
    # A number stays on one line with its unit.
    wish, result = (
        re.sub(r"(?<=\d) (?=%|ms|[kMGT])", "\N{NO-BREAK SPACE}", words(summary)) for words in (asked, came_out)
    )
    parts: list[object] = []
    if wish:
        parts.append(tag("span", f"Asked: {wish}. ", class_="asked"))
    parts.append(tag("strong", f"Came out: {result}. " if result else "There is no result yet. "))
    if summary.budget_met is not None:
        kind, words = ("good", "✓ within the budget") if summary.budget_met else ("bad", "✗ over the budget")
        parts.append(tag("span", words, class_=f"badge {kind}"))
    return tag("p", *parts, class_="headline")


def tiles(summary: RunSummary) -> Html:
    """The figures at a glance, each beside the teacher's."""
    shown = []
    score = accuracy(summary.outcome)
    if score is not None:
        value, _, interval = score.partition(" (")
        beside = [f"95 % interval {interval.rstrip(')')} %"] if interval else []
        if summary.teacher is not None and summary.teacher.outcome.accuracy is not None:
            beside.append(f"teacher {percent(summary.teacher.outcome.accuracy)}")
        shown.append(_tile("accuracy on the test part", value, *beside))
    for name, title in COST_NAMES.items():
        cost = summary.outcome.costs.of(name)
        if cost is not None:
            shown.append(_tile(title, quantity(name, cost), _beside_teacher(summary, name, cost)))
    return tag("dl", *shown, class_="tiles") if shown else Html("")


def front_section(summary: RunSummary, figure: Figure | None) -> Html:
    """Accuracy against cost, with the same front as a table."""
    if figure is None:
        return Html("")
    views = figure["views"]
    choices = joined(
        tag("label", _radio(view["name"], first=place == 0), tag("span", view["label"]))
        for place, view in enumerate(views)
    )
    note = tag(
        "p",
        "Each point is an architecture that the search scored on the search part, with weights inherited from the "
        "supernet. The star is the winner after it was finished and the diamond its teacher, both on the test part.",
        class_="note",
    )
    first: CostName = views[0]["name"]
    costs: list[CostName] = [view["name"] for view in views]
    best = front(summary.candidates, first)
    rows = [
        (
            percent(item.score),
            *(quantity(name, value) if (value := item.costs.of(name)) is not None else "–" for name in costs),
            "; ".join(described(item.arch)) + ("  ← winner" if item.arch == summary.arch else ""),
        )
        for item in best
    ]
    heads = ("score", *(COST_NAMES[name] for name in costs), "architecture")
    return section(
        "front",
        "Accuracy against cost",
        note,
        tag("fieldset", choices, class_="views", aria_label="Cost to show", hidden="") if len(views) > 1 else "",
        tag("div", class_="plot", id="front-plot", data_figure="front-figure"),
        NO_SCRIPT,
        # What the search made of shared weights has a section of its own.
        facts(_spaced({name: value for name, value in summary.search.items() if name != "sharing"})),
        folded(
            f"The front by {COST_NAMES[first]} as a table ({len(best)})",
            table(heads, rows, numbers=range(len(heads) - 1)),
        ),
    )


def architecture(summary: RunSummary) -> Html:
    """The network drawn, beside its teacher where there is one."""
    pairs = [("winner", "This network", summary.arch, summary.outcome)]
    if summary.teacher is not None:
        pairs.append(("teacher", "Its teacher", summary.teacher.arch, summary.teacher.outcome))
    known = [(kind, name, arch, outcome) for kind, name, arch, outcome in pairs if arch is not None]
    if not known:
        return Html("")
    scale = scale_of(arch for _, _, arch, _ in known if isinstance(arch, Backbone))
    figures = []
    for kind, name, arch, outcome in known:
        cost = outcome.costs.params
        beside = tag("span", f"{quantity('params', cost)} parameters", class_="note") if cost is not None else ""
        style: Literal["winner", "teacher"] = "teacher" if kind == "teacher" else "winner"
        drawing = Html(
            draw(arch, name=name, scale=scale, kind=style)
            if isinstance(arch, Backbone)
            else draw_cells(arch, name=name, kind=style)
        )
        figures.append(tag("figure", tag("figcaption", tag("h3", name), beside), drawing))
    blocks = sum(isinstance(arch, Backbone) for _, _, arch, _ in known)
    notes = [
        "One row a block. In the middle the residual stream; to its left the attention, one cell a head; to its right "
        "the hidden layer of the MLP with its width."
        if blocks
        else "",
        "Both drawings have the same scale." if blocks > 1 else "",
        "Above all cells, as high as they are wide, reductions dark; below each different one: a node is the sum of its rows, "
        "each an operation on the state of that number, and nodes with a bar are the cell's output."
        if blocks < len(known)
        else "",
    ]
    return section(
        "architecture",
        "Architecture",
        tag("p", " ".join(filter(None, notes)), class_="note"),
        tag("div", *figures, class_="columns"),
        *(folded(f"{name} in words", code("\n".join(described(arch)))) for _, name, arch, _ in known),
    )


def curves(summary: RunSummary, figures: dict[str, Figure]) -> Html:
    """The training curves, one plot a stage, with the last values in words."""
    drawn: list[Html] = []
    for stage, figure in figures.items():
        readings = summary.curves[stage]
        last = next((item for item in reversed(readings) if item.accuracy is not None), None)
        words = f"to step {readings[-1].step}"
        words += (
            f", last {last.measure} {percent(last.accuracy)}" if last is not None and last.accuracy is not None else ""
        )
        words += f"; each point is the mean of {figure['each']} readings" if figure["each"] > 1 else ""
        plot = tag("div", class_="plot", id=f"curve-{len(drawn)}", data_figure=f"curve-{len(drawn)}-figure")
        title = tag("h3", training_name(stage).capitalize())
        drawn.append(tag("figure", tag("figcaption", title, tag("span", words, class_="note")), plot))
    if not drawn:
        return Html("")
    part = "search" if not summary.detection else "examined"
    note = tag("p", f"Accuracies here are of the {part} part.", class_="note")
    return section("curves", "Training", note, tag("div", *drawn, class_="columns"), NO_SCRIPT)


def detection(summary: RunSummary) -> Html:
    """How well a detector finds boxes, and masks where it makes them."""
    if not summary.detection:
        return Html("")
    told = {name: value for name, value in summary.detection.items() if isinstance(value, float)}
    rows = [(name.replace("_", " "), percent(value)) for name, value in told.items()]
    note = (
        "As COCO defines them: mAP is the mean average precision over overlaps of 0.5 to 0.95, AP50 and AP75 are those at one "
        "overlap; small is below 32 × 32 pixels, large above 96 × 96."
    )
    return section(
        "detection", "Detection", tag("p", note, class_="note"), table(("", "precision"), rows, numbers=(1,))
    )


def speed(measured: Speed | None) -> Html:
    """The measured times, each with its range drawn, and the conditions."""
    if measured is None:
        return Html("")
    reach = max(row.p90_ms or row.median_ms for row in measured.rows)
    rows = [
        (
            row.name,
            *(f"{value:.3g} ms" if value is not None else "–" for value in (row.median_ms, row.p10_ms, row.p90_ms)),
            percent(row.spread) if row.spread is not None else "–",
            row.verdict,
            _range(row, reach),
        )
        for row in measured.rows
    ]
    heads = ("network", "median", "p10", "p90", "spread", "verdict", "from p10 to p90")
    return section(
        "speed", "Measured speed", table(heads, rows, numbers=range(1, 5)), facts(_spaced(measured.conditions))
    )


def gate(checked: Gate | None) -> Html:
    """Whether the exported file computes the same as the network."""
    if checked is None:
        return Html("")
    kind, words = ("good", "✓ passed") if checked.passed else ("bad", "✗ failed")
    badge = tag("span", words, class_=f"badge {kind}")
    rows = [
        (row.batch, f"{row.max_difference:.2e}", "yes" if row.max_difference <= checked.tolerance else "no")
        for row in checked.rows
    ]
    scores = {
        "accuracy in PyTorch": percent(checked.accuracy_torch) if checked.accuracy_torch is not None else None,
        "accuracy in ONNX Runtime": percent(checked.accuracy_onnx) if checked.accuracy_onnx is not None else None,
        "tolerance": f"{checked.tolerance:.2e}",
    }
    return section(
        "export",
        "Export gate",
        tag("p", "The exported file must compute the same as the network. ", badge),
        facts(scores),
        table(("batch", "largest difference", "within the tolerance"), rows),
    )


def _tile(title: str, value: str, *beside: str) -> Html:
    small = joined((text(line) for line in beside if line), "<br>")
    return tag(
        "div", tag("dt", title), tag("dd", tag("div", value, class_="value"), tag("div", small, class_="beside"))
    )


def _beside_teacher(summary: RunSummary, name: CostName, cost: float) -> str:
    theirs = summary.teacher.outcome.costs.of(name) if summary.teacher is not None else None
    if not theirs or not cost:
        return ""
    ratio = times(theirs, cost) + " less" if theirs >= cost else times(cost, theirs) + " more"
    return f"{ratio} than the teacher’s {quantity(name, theirs)}"


def _spaced(values: Mapping[str, object]) -> dict[str, object]:
    """The names of a file's keys as words."""
    return {name.replace("_", " "): value for name, value in values.items()}


def _radio(name: str, *, first: bool) -> Html:
    checked = " checked" if first else ""
    return Html(f'<input type="radio" name="front-plot-view" value="{text(name)}"{checked}>')


def _range(row: Timing, reach: float) -> Html:
    """A bar from p10 to p90 with a mark at the median, from zero to the slowest row's p90."""
    low, high = (100 * (value or row.median_ms) / reach for value in (row.p10_ms, row.p90_ms))
    middle = 100 * row.median_ms / reach
    return Html(
        '<svg class="range" viewBox="0 0 100 16" preserveAspectRatio="none" aria-hidden="true">'
        '<line x1="0" y1="8" x2="100" y2="8" vector-effect="non-scaling-stroke"/>'
        f'<rect class="span" x="{low:.2f}" y="4" width="{max(high - low, 0.5):.2f}" height="8"/>'
        f'<rect class="median" x="{max(0.0, middle - 0.4):.2f}" y="1" width="0.8" height="14"/></svg>'
    )
