"""`metrics.jsonl`: one JSON object a line, appended while a run works, cut back to where a killed run goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitesse.errors import VitesseError
from vitesse.runs.files import explained, write_text


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Add one record as one line, in one write; numbers that JSON does not know (NaN, infinities) become null."""
    values = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()
    }
    try:
        with path.open("ab", buffering=0) as file:
            file.write(json.dumps(values, allow_nan=False).encode() + b"\n")
    except OSError as error:
        raise explained(error, path) from error


def drop_unfinished_line(path: Path) -> None:
    """Cut off what stands behind the last line break: a line that a killed process did not finish."""
    if path.is_file():
        text = path.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            with path.open("r+b") as file:
                file.truncate(whole)


def drop_after(path: Path, stage: str, *, step: int) -> None:
    """Drop the records of `stage` beyond `step`, so that the steps that are repeated stand there once."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [
        line
        for place, line in enumerate(lines, start=1)
        if not _beyond(line, stage, step, where=f"{path}, line {place}")
    ]
    if len(kept) < len(lines):
        write_text(path, "".join(kept))


def _beyond(line: str, stage: str, step: int, *, where: str) -> bool:
    try:
        record = json.loads(line)
        return bool(record["stage"] == stage and record["step"] > step)
    except (ValueError, TypeError, KeyError) as error:
        raise VitesseError(f"{where} is no record with a stage and a step ({error}). Remove that line.") from None
