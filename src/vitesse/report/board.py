"""The paths that taught the others while the supernet was trained."""

from __future__ import annotations

from vitesse.report.markup import Html, section, table, tag
from vitesse.report.plot_style import Figure
from vitesse.report.sections import NO_SCRIPT
from vitesse.report.summary import Board
from vitesse.report.wording import described, percent, quantity


def board_section(board: Board, figure: Figure | None) -> Html:
    """What the board held at the end of the training; empty where there was none."""
    if figure is None:
        return Html("")
    taught = sum(path.taught for path in board.paths)
    note = (
        "In a step of the supernet's training one of the paths that then stood on the board taught the path of that step. "
        f"Those that stand there at the end did so in {taught} steps, those that have left in {board.gone}. "
        "The accuracy is that of images which the supernet did not learn from (by the published rule, of a batch that it "
        "did), and says less than a score of the search. The larger a point, the more steps its path taught."
    )
    rows = [
        (percent(path.accuracy), quantity("macs", path.macs), str(path.step), str(path.taught), "; ".join(described(path.arch)))
        for path in board.paths
    ]  # fmt: skip
    return section(
        "board",
        "The board",
        tag("p", note, class_="note"),
        tag("div", class_="plot", id="board-plot", data_figure="board-figure"),
        NO_SCRIPT,
        table(("accuracy", "MACs", "came at step", "steps taught", "path"), rows, numbers=range(4)),
    )
