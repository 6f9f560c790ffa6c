"""What a cyclic search believed of each choice between operations."""

from __future__ import annotations

from collections.abc import Sequence

from vitesse.report.markup import Html, section, table, tag
from vitesse.report.plot_style import Figure
from vitesse.report.sections import NO_SCRIPT
from vitesse.report.summary import Belief
from vitesse.report.wording import percent


def beliefs_section(beliefs: Sequence[Belief], figure: Figure | None) -> Html:
    """How the choices were decided, cycle by cycle, and how in the end; empty where no cyclic search was made."""
    if figure is None:
        return Html("")
    note = (
        "The search network runs the candidates of each choice mixed, each by its share; the shares learn with its weights. "
        "A line is a choice: the share of the candidate that had the greatest one in the end. Even shares mean that nothing "
        "was learned of a choice. What is believed is no measurement."
    )
    rows = [
        (
            one.choice,
            one.candidates[one.likeliest],
            percent(one.shares[-1][one.likeliest]),
            percent(1 / len(one.candidates)),
        )
        for one in beliefs
    ]
    return section(
        "beliefs",
        "What the search believed",
        tag("p", note, class_="note"),
        tag("div", class_="plot", id="beliefs-plot", data_figure="beliefs-figure"),
        NO_SCRIPT,
        table(("choice", "likeliest", "its share", "an even share"), rows, numbers=range(2, 4)),
    )
