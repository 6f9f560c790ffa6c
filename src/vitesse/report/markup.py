"""HTML by small functions that escape whatever is not already HTML, so that no name or path can break the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import final


@final
class Html(str):
    """Text that is HTML already; every other string is escaped where it is put in."""

    __slots__ = ()


def text(value: object) -> Html:
    """`value` as HTML: itself where it is HTML, escaped where it is not."""
    return value if isinstance(value, Html) else Html(escape(said(value), quote=True))


def said(value: object) -> str:
    """A value of a settings file as a person writes it: yes and no, short numbers, lists by commas."""
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case Mapping():
            return ", ".join(f"{key} {said(item)}" for key, item in value.items())
        case list() | tuple():
            return ", ".join(said(item) for item in value)
    return str(value)


def tag(name: str, *content: object, **attributes: str) -> Html:
    """An element; a trailing underscore in an attribute's name is dropped (`class_`), others become dashes."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{written}>{joined(content)}</{name}>")


def joined(parts: Iterable[object], between: str = "") -> Html:
    """The parts one after another, each escaped where it is not HTML."""
    return Html(between.join(text(part) for part in parts))


def section(anchor: str, title: str, *content: object) -> Html:
    """A part of the page with its heading; empty where it has no content."""
    filled = [part for part in content if part]
    if not filled:
        return Html("")
    heading = tag("h2", title, id=f"{anchor}-title")
    return tag("section", heading, *filled, id=anchor, aria_labelledby=f"{anchor}-title")


def facts(pairs: Mapping[str, object]) -> Html:
    """Names and what they are, as a definition list; empty where there is nothing to say."""
    rows = [tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs.items() if value not in (None, "")]
    return tag("dl", *rows, class_="facts") if rows else Html("")


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Iterable[int] = ()) -> Html:
    """A table whose first column heads its rows; `numbers` are the columns set to the right."""
    right = set(numbers)

    def cell(name: str, place: int, value: object, **attributes: str) -> Html:
        return tag(name, value, **({"class_": "number"} if place in right else {}), **attributes)

    head = joined(cell("th", place, value, scope="col") for place, value in enumerate(heads))
    body = joined(
        tag(
            "tr",
            *(
                cell("th", place, value, scope="row") if place == 0 else cell("td", place, value)
                for place, value in enumerate(row)
            ),
        )
        for row in rows
    )
    return tag("div", tag("table", tag("thead", tag("tr", head)), tag("tbody", body)), class_="scroll")


def code(source: str) -> Html:
    """Lines to copy, kept as they are."""
    return tag("pre", tag("code", source.strip("\n")))


def folded(title: str, *content: object) -> Html:
    """Content that opens on demand."""
    return tag("details", tag("summary", title), *content)
