"""The page that shows a run: one HTML file that needs nothing beside it, in the run's folder."""

from __future__ import annotations

import json
import string
from importlib.resources import files
from pathlib import Path

from vitesse.report import repeating, sections
from vitesse.report.beliefs import beliefs_section
from vitesse.report.board import board_section
from vitesse.report.markup import Html, joined, tag, text
from vitesse.report.plot_beliefs import beliefs_figure
from vitesse.report.plot_board import board_figure
from vitesse.report.plot_curves import curve_figures
from vitesse.report.plot_front import front_figure
from vitesse.report.plot_spaces import space_figures
from vitesse.report.plot_style import Figure
from vitesse.report.reading import read_summary
from vitesse.report.serving import serving
from vitesse.report.sharing import sharing
from vitesse.report.spaces import spaces_section
from vitesse.report.summary import RunSummary
from vitesse.runs.files import write_text

TITLES = {
    "detection": "Detection",
    "front": "Front",
    "spaces": "Spaces",
    "board": "Board",
    "beliefs": "Beliefs",
    "architecture": "Architecture",
    "sharing": "Shared weights",
    "curves": "Training",
    "speed": "Speed",
    "serving": "Ways to serve",
    "export": "Export",
    "use": "Use it",
    "data": "Data",
    "time": "Time",
    "repeat": "Repeat it",
}


def write_report(folder: Path | str) -> Path:
    """Write `report.html` into a run folder; the path of the page.

    VitesseError where the folder is no run's or one of its files is damaged.
    """
    path = Path(folder) / "report.html"
    write_text(path, page(read_summary(folder)))
    return path


def page(summary: RunSummary) -> str:
    """The whole page as HTML."""
    front, curves, spaces = front_figure(summary), curve_figures(summary), space_figures(summary.spaces)
    board, beliefs = board_figure(summary.board.paths), beliefs_figure(summary.beliefs)
    parts = {
        "detection": sections.detection(summary),
        "front": sections.front_section(summary, front),
        "spaces": spaces_section(summary.spaces, spaces),
        "board": board_section(summary.board, board),
        "beliefs": beliefs_section(summary.beliefs, beliefs),
        "architecture": sections.architecture(summary),
        "sharing": sharing(summary),
        "curves": sections.curves(summary, curves),
        "speed": sections.speed(summary.speed),
        "serving": serving(summary.serving),
        "export": sections.gate(summary.gate),
        "use": repeating.use(summary),
        "data": repeating.data(summary),
        "time": repeating.time(summary),
        "repeat": repeating.repeat(summary),
    }
    figures = {"front-figure": front} if front is not None else {}
    figures |= {"board-figure": board} if board is not None else {}
    figures |= {"beliefs-figure": beliefs} if beliefs is not None else {}
    figures |= {f"curve-{place}-figure": figure for place, figure in enumerate(curves.values())}
    figures |= {f"space-{name}-figure": figure for name, figure in spaces.items()}
    created = str(summary.origin.run.get("created", ""))[:16].replace("T", " ")  # to the minute; all of it stands below
    return string.Template(_asset("page.html")).substitute(
        title=text(f"{summary.name} · Vitesse"),
        style=_asset("page.css"),
        eyebrow=text(f"Vitesse {summary.verb}" + (f" · {created}" if created else "")),
        name=text(summary.name),
        headline=sections.headline(summary),
        nav=joined(tag("a", TITLES[anchor], href=f"#{anchor}") for anchor, part in parts.items() if part),
        main=joined([sections.tiles(summary), *parts.values()]),
        footer=text("Made by Vitesse. This page needs no network: everything in it is in this file."),
        scripts=_scripts(figures),
    )


def _scripts(figures: dict[str, Figure]) -> Html:
    """The figures as JSON and what draws them; nothing where there are none, so that such a page stays small."""
    if not figures:
        return Html("")
    from plotly.offline import get_plotlyjs  # late: it reads 4.5 MB

    values = joined(
        Html(f'<script type="application/json" id="{name}">{_json(figure)}</script>')
        for name, figure in figures.items()
    )
    return Html(f"{values}\n<script>{get_plotlyjs()}</script>\n<script>\n{_asset('page.js')}</script>")


def _json(figure: Figure) -> str:
    # Within a script element only "<" could end it or open a comment.
    return json.dumps(figure, allow_nan=False, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _asset(name: str) -> str:
    return files("vitesse.report").joinpath(name).read_text(encoding="utf-8")
