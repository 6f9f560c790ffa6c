"""How a run speaks to a person: progress bars on a terminal, plain lines elsewhere. All of it on stderr.

stdout is for results alone, so that they can be piped.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

Report = Callable[[int, int, str], None]
EVERY = 5.0  # seconds between two plain lines of a stage
PIPED_WIDTH = 200  # of a table that is not on a terminal


class Speaker:
    """Progress and remarks. `silent`, as in the processes beside the first of a run on several devices, says nothing."""

    def __init__(
        self,
        *,
        silent: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console(stderr=True, quiet=silent, highlight=False, soft_wrap=True)
        self._clock = clock

    def say(self, message: str) -> None:
        """One remark."""
        self._console.print(Text(message))

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Report]:
        """Show how a stage gets on: `with speaker.stage("search") as progress: progress(done, total, note)`."""
        begun = self._clock()
        with self._bar(name) if self._console.is_terminal else self._lines(name) as report:
            yield report
        self.say(f"{name}: done in {duration(self._clock() - begun)}")

    @contextlib.contextmanager
    def _bar(self, name: str) -> Iterator[Report]:
        note = TextColumn("{task.fields[note]}", markup=False)
        share = TextColumn("{task.percentage:>3.0f}%")
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), share, TimeRemainingColumn(), note)
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(name, total=None, note="")
            yield lambda done, total, note: bar.update(task, completed=done, total=total, note=note)

    @contextlib.contextmanager
    def _lines(self, name: str) -> Iterator[Report]:
        begun = last = self._clock()
        self.say(f"{name}: begun")

        def report(done: int, total: int, note: str) -> None:
            nonlocal last
            now = self._clock()
            if now - last >= EVERY:
                last = now
                left = f", {duration((now - begun) * (total - done) / done)} left" if 0 < done < total else ""
                self.say(f"{name}: {done} of {total}{left}{note and f', {note}'}")

        yield report


def duration(seconds: float) -> str:
    """`8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def result(text: str) -> None:
    """A result, on stdout."""
    print(text)


def result_json(value: object) -> None:
    """A result for another program, on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def result_table(headings: Mapping[str, str], rows: Sequence[Sequence[str]]) -> None:
    """A result for a person, on stdout. headings: to "<" or ">", the side to which the column is aligned."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, side in headings.items():
        table.add_column(heading, justify="right" if side == ">" else "left", no_wrap=side == ">", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)
