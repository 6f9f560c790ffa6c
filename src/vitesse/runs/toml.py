"""TOML out (the standard library only reads it): nested tables of strings, numbers, booleans and lists of these."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from vitesse.errors import VitesseError


def to_toml(tables: Mapping[str, object]) -> str:
    """The text of nested tables; `tomllib.loads` gives them back equal (tuples as lists).

    VitesseError for text that UTF-8 cannot hold, TypeError for a value that TOML does not know.
    """
    return "\n\n".join("\n".join(lines) for lines in _tables(tables, ())) + "\n"


def _tables(table: Mapping[str, object], path: tuple[str, ...]) -> Iterator[list[str]]:
    """The table's own values under its heading, then the tables within it: the order that TOML asks for."""
    own = [f"{_key(key)} = {_value(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    heading = [f"[{'.'.join(map(_key, path))}]"] if path and (own or not inner) else []
    if heading or own:
        yield heading + own
    for key, value in inner.items():
        yield from _tables(value, (*path, key))


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _string(key)


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value)
        case str():
            return _string(value)
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
    raise TypeError(f"TOML holds strings, numbers, booleans, lists and tables, but got {value!r}.")


def _string(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise VitesseError(f"Names must be valid UTF-8, but {text!r} is not. Rename it.") from None
    # TOML's strings are JSON's, but for the one control character that JSON lets stand.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
