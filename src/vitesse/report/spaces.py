"""What the evolution of a space found: which dimensions mattered, where they went, and what that did to the errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vitesse.report.markup import Html, folded, joined, section, table, tag
from vitesse.report.plot_style import Figure
from vitesse.report.sections import NO_SCRIPT
from vitesse.report.summary import Dimension, Estimate, Space
from vitesse.report.wording import dimension_name, interval, percent

CAPTIONS = {
    "errors": "What networks of each space err by",
    "intervals": "Where the dimensions went",
    "importance": "How much of what networks err each dimension explains (functional ANOVA)",
}


def spaces_section(spaces: Sequence[Space], figures: Mapping[str, Figure]) -> Html:
    """Guidelines in words, the plots, and the same as tables; empty where no space evolved."""
    if not spaces:
        return Html("")
    note = (
        f"{len(spaces)} spaces were judged by random networks near the budget, on the search part, with weights inherited "
        "from the supernet. The E-T error is the mean of their expected error and that of the best of them (top-tier). "
        "Intervals are of 95 % and say how much depends on which networks were drawn, not on which images. The supernet "
        "learns on between two spaces, so a fall of the errors is not the moves' alone."
    )
    plots = [
        tag(
            "figure",
            tag("figcaption", tag("h3", CAPTIONS[name])),
            tag("div", class_="plot", id=f"space-{name}", data_figure=f"space-{name}-figure"),
        )
        for name in figures
    ]
    return section(
        "spaces",
        "The search space",
        tag("p", note, class_="note"),
        tag("h3", "Guidelines"),
        tag("ul", joined(tag("li", guideline(spaces, one.name)) for one in _by_importance(spaces))),
        *plots,
        NO_SCRIPT,
        _errors(spaces),
        folded("The dimensions of each space as a table", _table(spaces)),
    )


def guideline(spaces: Sequence[Space], name: str) -> str:
    """What is known of one dimension, in a sentence: where it went, what a step of it does, and how much it matters."""
    history = [one for space in spaces for one in space.dimensions if one.name == name]
    last = history[-1]
    begun, ended = interval(history[0].options), interval(last.options)
    went = f"stayed {begun}" if begun == ended else f"went from {begun} to {ended}"
    share = f"it explains {_points(last.importance, 0)} % of the variance of the errors"
    words = f"{dimension_name(name)} {went}: {_effect(last)}; {share}."
    if last.held:
        words += f" It should have moved further, but: {last.held}"
    elif list(last.following) != list(last.options):
        words += f" The next move would be to {interval(last.following)}."
    return words[0].upper() + words[1:]


def _effect(one: Dimension) -> str:
    """What a step does to the error, where that is told."""
    if one.slope is None:
        return "what a step does is not known"
    slope = one.slope
    if slope.low <= 0 <= slope.high:
        return f"a step of {one.step:g} changes the error by {_points(slope, 2)} points, which may be nothing"
    if slope.value < 0:
        falls = Estimate(value=-slope.value, low=-slope.high, high=-slope.low)
        return f"a step of {one.step:g} up lowers the error by {_points(falls, 2)} points"
    return f"a step of {one.step:g} up raises the error by {_points(slope, 2)} points"


def _points(value: Estimate, digits: int) -> str:
    numbers = (f"{100 * number:.{digits}f}" for number in (value.value, value.low, value.high))
    middle, low, high = numbers
    return f"{middle} ({low} to {high})"


def _by_importance(spaces: Sequence[Space]) -> list[Dimension]:
    return sorted(spaces[-1].dimensions, key=lambda one: -one.importance.value)


def _errors(spaces: Sequence[Space]) -> Html:
    rows = [
        (
            str(place + 1),
            space.size,
            str(space.networks),
            *(
                f"{percent(value)} ± {percent(1.96 * error)}"
                for value, error in (space.expected, space.top, space.both)
            ),
            str(space.supernet_epochs),
        )
        for place, space in enumerate(spaces)
    ]
    heads = ("space", "size", "networks drawn", "expected error", "top-tier error", "E-T error", "supernet epochs")
    return table(heads, rows, numbers=range(7))


def _table(spaces: Sequence[Space]) -> Html:
    rows = [
        (
            dimension_name(one.name),
            str(place + 1),
            ", ".join(f"{option:g}" for option in one.options),
            ", ".join("–" if value is None else percent(value) for value in one.choices),
            "–" if one.slope is None else _points(one.slope, 2),
            _points(one.importance, 0),
            "yes" if one.decided else "no",
        )
        for place, space in enumerate(spaces)
        for one in space.dimensions
    ]
    heads = ("dimension", "space", "options", "their E-T errors", "points a step", "importance, %", "decided")
    return table(heads, rows)
