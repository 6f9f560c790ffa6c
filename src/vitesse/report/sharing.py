"""Whether blocks share weights, and what that did: chosen by the search, or made of a trained network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitesse.report.markup import Html, folded, section, table, tag
from vitesse.report.summary import RunSummary
from vitesse.report.wording import listed, percent, quantity


def sharing(summary: RunSummary) -> Html:
    """The section; empty where a run had nothing to do with it."""
    searched: Any = summary.search.get("sharing")
    return section(
        "sharing",
        "Shared weights",
        _searched(searched) if isinstance(searched, Mapping) else "",
        *(_made(summary.multiplex) if summary.multiplex else ()),
    )


def _searched(found: Mapping[str, Any]) -> Html:
    """What the search chose, and the best of each kind as it scored them."""
    chosen = listed(str(size) for size in found["share"])
    words = (
        "The search could let blocks share their weights, and chose "
        + ("that each has its own." if set(found["share"]) == {1} else f"groups of {chosen}.")
        + " The best of each kind within the budget, on the search part with inherited weights:"
    )
    names = {"shared": "with shared weights", "unshared": "each its own"}
    rows = [
        (name, percent(best["score"]), quantity("params", best["params"]), str(best["candidates"]))
        if (best := found.get(kind))
        else (name, "–", "–", "0")
        for kind, name in names.items()
    ]
    return tag(
        "div", tag("p", words), table(("blocks", "score", "parameters", "candidates"), rows, numbers=range(1, 4))
    )


def _made(found: Mapping[str, Any]) -> tuple[Html, ...]:
    """How the network began that was made of a trained one."""
    ways: Mapping[str, Any] = found["ways"]
    words = (
        f"Each {found['share']} consecutive blocks use one set of weights, which began by “{found['init']}”. "
        "Before any training, on the search part, and how far the features after the last block had drifted:"
    )
    rows = [
        (way, percent(row["accuracy"]), f"{row['blocks'][-1]['relative_l2']:.3f}", f"{row['blocks'][-1]['cosine']:.3f}")
        for way, row in ways.items()
    ]
    blocks = [
        (str(one["block"] + 1), str(one["group"] + 1), f"{one['relative_l2']:.3f}", f"{one['cosine']:.3f}")
        for one in ways[found["init"]]["blocks"]
    ]
    heads = ("relative L2", "cosine")
    return (
        tag("p", words),
        table(("begun by", "accuracy", *heads), rows, numbers=range(1, 4)),
        folded("The drift block by block", table(("block", "group", *heads), blocks, numbers=range(4))),
    )
