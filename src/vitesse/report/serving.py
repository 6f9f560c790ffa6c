"""The ways to serve a network that were tried, as a table: what each takes, what each loses, and which are kept."""

from __future__ import annotations

from vitesse.report.markup import Html, facts, section, table, tag
from vitesse.report.summary import Served, Serving
from vitesse.report.wording import percent, size

HEADS = ("way", "batch", "threads", "median", "p10", "p90", "size", "accuracy", "difference")


def serving(found: Serving | None) -> Html:
    """The section; empty where nothing was tried."""
    if found is None:
        return Html("")
    rows = [_row(one) for one in found.rows]
    allowed = "" if found.tolerance is None else f" At most {percent(found.tolerance)} of accuracy may be lost."
    note = (
        "All took turns on this device. The accuracy is of the search part; the difference is the largest of an output, as a "
        f"share of the network’s largest.{allowed} Smaller numbers are kept only where they are also faster."
    )
    conditions = {name.replace("_", " "): value for name, value in found.conditions.items()}
    return section(
        "serving",
        "Ways to serve",
        tag("p", note, class_="note"),
        table((*HEADS, f"against {found.reference}", "kept"), rows, numbers=range(1, len(HEADS))),
        facts(conditions),
    )


def _row(one: Served) -> tuple[object, ...]:
    times = (one.timing.median_ms, one.timing.p10_ms, one.timing.p90_ms) if one.timing else (None,) * 3
    return (
        one.way,
        one.batch or "–",
        one.threads or "–",
        *(f"{value:.3g} ms" if value is not None else "–" for value in times),
        size(one.bytes) if one.bytes is not None else "–",
        percent(one.accuracy) if one.accuracy is not None else "–",
        f"{one.difference:.1e}" if one.difference is not None else "–",
        one.timing.verdict if one.timing else "–",
        _kept(one),
    )


def _kept(one: Served) -> Html:
    if one.refused:
        return tag("span", f"no: {one.refused}")
    words = "yes, the fastest" if one.fastest else "yes"
    return tag("span", f"{words}; {one.note}" if one.note else words, class_="good" if one.fastest else "")
