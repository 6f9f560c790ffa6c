"""The fields of a run's JSON files, each looked at when it is asked for: what is not what it should be is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vitesse.errors import VitesseError
from vitesse.runs.files import read_json

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fields:
    """One JSON object and where it stands, so that a wrong value can be named."""

    where: str
    values: Mapping[str, object]

    def get(self, key: str, kind: type[T]) -> T | None:
        """The value, None where it is missing or null; VitesseError where it is of another kind."""
        value = self.values.get(key)
        if value is None or (isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)):
            return value
        raise self.wrong(key, kind.__name__)

    def number(self, key: str) -> float | None:
        """A number, whole or not; None where it is missing."""
        whole = self.values.get(key)
        return whole if isinstance(whole, int) and not isinstance(whole, bool) else self.get(key, float)

    def need(self, key: str) -> float:
        """A number that must be there."""
        value = self.number(key)
        if value is None:
            raise self.wrong(key, "number")
        return value

    def text(self, key: str) -> str | None:
        """A text; None where it is missing."""
        return self.get(key, str)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list as texts; empty where it is missing."""
        return tuple(str(item) for item in self.get(key, list) or ())

    def pair(self, key: str) -> tuple[float, float] | None:
        """A list of two numbers; None where it is missing."""
        match self.get(key, list):
            case None:
                return None
            case [int() | float() as low, int() | float() as high]:
                return float(low), float(high)
        raise self.wrong(key, "list of two numbers")

    def part(self, key: str) -> Fields:
        """An object within; empty where it is missing."""
        return Fields(where=f"{self.where}, `{key}`", values=self.get(key, dict) or {})

    def parts(self, key: str) -> Iterator[Fields]:
        """The objects of a list; none where it is missing."""
        for place, item in enumerate(self.get(key, list) or ()):
            yield fields_of(item, f"{self.where}, `{key}`, entry {place + 1}")

    def numbers(self) -> dict[str, float]:
        """All entries, which must be numbers."""
        return {key: value for key in self.values if (value := self.number(key)) is not None}

    def wrong(self, key: str, kind: str) -> VitesseError:
        """The error that names a value."""
        return VitesseError(f"{self.where}: `{key}` must be a {kind}, but is {self.values.get(key)!r}.")


def fields_of(value: object, where: str) -> Fields:
    """A value that must be an object."""
    if not isinstance(value, dict):
        raise VitesseError(f"{where} must be a JSON object, but is a {type(value).__name__}.")
    return Fields(where=where, values=value)


def json_file(folder: Path, name: str) -> Fields:
    """The object in a file; empty where there is no file."""
    path = folder / name
    return fields_of(read_json(path) if path.is_file() else {}, str(path))


def json_lines(path: Path) -> Iterator[Fields]:
    """The objects of a file of JSON lines; none where there is no file."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").split("\n")
    # What stands behind the last line break is a line that a killed run did not finish: it will be written again.
    for place, line in enumerate(lines[:-1], start=1):
        if line.strip():
            yield fields_of(parsed(line, f"{path}, line {place}", json.loads), f"{path}, line {place}")


def parsed(text: str, where: str, parse: Callable[[str], T]) -> T:
    """What `parse` makes of a text; VitesseError, saying where it stands, for its ValueError."""
    try:
        return parse(text)
    except ValueError as error:  # JSON's, TOML's and the architectures' errors are ValueErrors
        raise VitesseError(f"{where} cannot be read: {error}") from error
