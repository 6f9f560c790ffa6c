"""What all benchmarks share: their options, the conditions they ran under, and a table to show."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from vitesse.measure import Conditions
from vitesse.runs.files import write_json
from vitesse.runs.folder import RunFolder
from vitesse.shrink.job import Job, Voice
from vitesse.shrink.settings import ShrinkSettings

Row = Mapping[str, Any]
PACKAGES = ("torch", "timm", "optuna", "numpy", "pillow", "scikit-learn")


def options(
    doc: str | None, *, folder: bool = False, more: Mapping[str, Mapping[str, Any]] | None = None
) -> argparse.Namespace:
    """Read the command line; one thread from here on, so that figures of busy machines still compare.

    more: a script's own options, by name.
    """
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a smaller run, under a minute, to see that it works")
    parser.add_argument("--json", type=Path, help="also write conditions and rows into this file")
    if folder:
        parser.add_argument(
            "--out", type=Path, required=True, help="folder of the run; started again, it goes on there"
        )
    for name, how in (more or {}).items():
        parser.add_argument(f"--{name}", **how)
    torch.set_num_threads(1)
    return parser.parse_args()


def quiet_job(settings: ShrinkSettings, folder: Path) -> Job:
    """A run whose stages are called one by one, and which keeps silent."""
    folder.mkdir(parents=True, exist_ok=True)
    return Job(settings, RunFolder(folder), voice=Voice(stage=lambda name: nullcontext(unseen), say=lambda text: None))


def unseen(done: int, total: int, note: str) -> None:
    """Progress that nobody looks at."""


def conditions() -> dict[str, Any]:
    """The machine, the versions of what was measured, and how busy it was."""
    now = Conditions.now(threads=torch.get_num_threads()).to_dict()
    return {**now, **{package: metadata.version(package) for package in PACKAGES}, "load": round(os.getloadavg()[0], 1)}


def show(title: str, rows: Sequence[Row], *, notes: Sequence[str] = ()) -> None:
    """Print rows of equal keys as a Markdown table."""
    lines = [list(rows[0])] + [[_text(value) for value in row.values()] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    print(f"\n### {title}\n")
    for line in lines:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
    for note in notes:
        print(f"\n{note}")


def end(args: argparse.Namespace, before: Row, results: Mapping[str, Any]) -> None:
    """Print the conditions, at the beginning and now; write all of it where a file was asked for."""
    after = conditions()
    print(f"\nload {before['load']} before, {after['load']} after; " + ", ".join(f"{k} {v}" for k, v in before.items()))
    if args.json:
        write_json(args.json, {"before": dict(before), "after": after, **results})


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
