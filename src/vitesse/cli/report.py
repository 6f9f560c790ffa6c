"""`vitesse report`: the page of a run, written again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write the page that shows a run again, from the files in its folder.

    Examples:
      vitesse report runs/digits
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder of a run."""

    def run(self) -> None:
        """Do it."""
        from vitesse.cli.console import result
        from vitesse.report import write_report

        result(f"Written: {write_report(self.folder)} (open it in a browser)")
