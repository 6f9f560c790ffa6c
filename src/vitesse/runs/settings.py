"""Settings: nested frozen dataclasses, from a TOML file, with `--set key=value` and flags over it.

The dataclasses are the schema; whatever is wrong is named at once, with the closest known names.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vitesse.errors import UsageError

T = TypeVar("T")
Tree = dict[str, Any]
NONE = "none"  # TOML has no word for it
# What a run's own run.toml says beside the settings; so that file can be given as settings again.
FACTS = ("run", "versions", "device")


def load_settings(
    kind: type[T],
    *,
    file: Path | str | None = None,
    sets: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
    default: T | None = None,
) -> T:
    """Make a `kind` of its defaults (or `default`), overlaid by the file, then by `sets`, then by `flags`.

    sets: `key.sub=value`, the value as in TOML; quotes may be left out around text. flags: dotted keys to values; None
    counts as not given. UsageError names everything that is wrong.
    """
    problems: list[str] = []
    tree: Tree = {} if default is None else settings_tree(default)
    over: Tree = {} if file is None else {key: value for key, value in read_toml(file).items() if key not in FACTS}
    for entry in sets:
        key, equals, text = entry.partition("=")
        if not equals or not key.strip():
            problems.append(f"--set takes key=value, but got {entry!r}.")
        else:
            _put(over, key.strip(), _Word(text.strip()), problems)
    for key, value in (flags or {}).items():
        if value is not None:
            _put(over, key, value, problems)
    names = tuple(_names(kind))
    settings = _Reader(problems, names).table(kind, _merged(tree, over), "")
    if problems:
        raise UsageError("\n".join(["These settings cannot be used:", *(f"  {problem}" for problem in problems)]))
    return settings


def settings_tree(settings: object) -> Tree:
    """The settings as nested dictionaries for TOML: None becomes the word "none", tuples become lists."""
    table: Any = settings
    tree = {field.name: _plain(getattr(table, field.name)) for field in dataclasses.fields(table)}
    for name, kind in get_type_hints(type(settings)).items():
        if getattr(table, name) == NONE and types.NoneType in get_args(kind):
            raise UsageError(f"{name} must not be the word {NONE!r}, which stands for nothing given.")
    return tree


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Nested tables as one level of dotted keys."""
    pairs: dict[str, object] = {}
    for key, value in tree.items():
        pairs |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return pairs


def read_toml(path: Path | str) -> Tree:
    """The tables of a TOML file; UsageError where it is missing or damaged."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The settings file {path} cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"The settings file {path} must be TOML in UTF-8: {error}.") from None


class _Word(str):
    """Text of `--set`, whose type is decided by what it is for."""

    __slots__ = ()

    def readings(self) -> Iterator[object]:
        """What it may stand for: first the TOML value, then the text itself."""
        try:
            tables = tomllib.loads(f"value = {self}")
        except tomllib.TOMLDecodeError:
            tables = {}
        if tables.keys() == {"value"}:  # a line break in the text could smuggle more in
            yield tables["value"]
        yield str(self)


class _KindError(Exception):
    """A value is not of the kind it should be; the message says what kind that is."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Reader:
    """Turns trees into settings; collects what is wrong instead of stopping at the first."""

    problems: list[str]
    names: tuple[str, ...]  # every dotted key that exists

    def table(self, kind: type[T], tree: Mapping[str, Any], prefix: str) -> T:
        """One dataclass; what is returned after a problem is of no use, and load_settings never returns it."""
        before = len(self.problems)
        hints, fields = get_type_hints(kind), _fields(kind)
        for key in [key for key in tree if key not in fields]:
            self.problems.append(f"{prefix}{key} is not a setting.{_closest(prefix + key, self.names)}")
        values: dict[str, Any] = {}
        for name, field in fields.items():
            if name in tree:
                try:
                    values[name] = self.value(hints[name], tree[name], prefix + name)
                except _KindError as wanted:
                    self.problems.append(f"{prefix}{name} must be {wanted}, but got {_shown(tree[name])}.")
            elif field.default is MISSING and field.default_factory is MISSING:
                self.problems.append(f"{prefix}{name} must be set.")
        if len(self.problems) > before:
            return None  # type: ignore[return-value]
        try:
            return kind(**values)
        except (ValueError, UsageError) as error:
            self.problems.append(f"{prefix.rstrip('.')}: {error}" if prefix else str(error))
            return None  # type: ignore[return-value]

    def value(self, kind: Any, value: Any, where: str) -> Any:
        """The value as `kind`; _KindError where it is something else."""
        if isinstance(value, _Word):
            return self._word(kind, value, where)
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise _KindError(f"a table ({where}.{dataclasses.fields(kind)[0].name} and others)")
            return self.table(kind, value, f"{where}.")  # type: ignore[arg-type]
        origin, args = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):
            return self._union(args, value, where)
        if origin in (tuple, list):
            return self._sequence(kind, value, where)
        if origin is Literal:
            same = [one for one in args if type(one) is type(value) and one == value]
            if not same:
                raise _KindError(_described(kind))
            return same[0]
        return _scalar(kind, value)

    def _word(self, kind: Any, word: _Word, where: str) -> Any:
        for reading in word.readings():
            try:
                return self.value(kind, reading, where)
            except _KindError as error:
                mismatch = error
        raise mismatch

    def _union(self, kinds: Sequence[Any], value: Any, where: str) -> Any:
        # Exact before converted: in `int | float` a 5 stays an int.
        for kind in sorted(kinds, key=lambda kind: type(value) is not kind):
            if kind is types.NoneType and value in (None, NONE):
                return None
            try:
                if kind is not types.NoneType and not (value == NONE and types.NoneType in kinds):
                    return self.value(kind, value, where)
            except _KindError:
                continue
        raise _KindError(" or ".join(_described(kind) for kind in kinds))

    def _sequence(self, kind: Any, value: Any, where: str) -> Any:
        origin, args = get_origin(kind), get_args(kind)
        if not isinstance(value, (list, tuple)):
            raise _KindError(_described(kind))
        if origin is list or args[-1] is Ellipsis:
            args = (args[0],) * len(value)
        if len(args) != len(value):
            raise _KindError(_described(kind))
        try:
            items = [
                self.value(one, item, f"{where}.{place}")
                for place, (one, item) in enumerate(zip(args, value, strict=True))
            ]
        except _KindError:
            raise _KindError(_described(kind)) from None
        return items if origin is list else tuple(items)


def _scalar(kind: Any, value: Any) -> Any:
    if kind not in _SCALARS:
        raise TypeError(f"Settings hold bool, int, float, str, tuples, lists, Literals and dataclasses, not {kind}.")
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise _KindError(_described(kind))
    return value


_SCALARS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _described(kind: Any) -> str:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_described(one) for one in args)
    if origin is Literal:
        return " or ".join(map(repr, args))
    if origin is list or (origin is tuple and args[-1] is Ellipsis):
        return f"a list, each {_described(args[0])}"
    if origin is tuple:
        return f"a list of {len(args)}: {', '.join(map(_described, args))}"
    return "none" if kind is types.NoneType else _SCALARS.get(kind, "a table")


def _shown(value: object) -> str:
    return "a table" if isinstance(value, Mapping) else repr(str(value) if isinstance(value, _Word) else value)


def _put(tree: Tree, key: str, value: object, problems: list[str]) -> None:
    *tables, last = key.split(".")
    for name in tables:
        inner = tree.setdefault(name, {})
        if not isinstance(inner, dict):
            problems.append(f"{key} cannot be set, because {name} is set to {_shown(inner)}.")
            return
        tree = inner
    tree[last] = value


def _merged(base: Tree, over: Tree) -> Tree:
    both = {
        key: _merged(base[key], over[key])
        for key in over
        if isinstance(base.get(key), dict) and isinstance(over[key], dict)
    }
    return base | over | both


def _names(kind: Any) -> Iterator[str]:
    """Every dotted key of the settings."""
    hints = get_type_hints(kind)
    for field in _fields(kind):
        inner = [one for one in (hints[field], *get_args(hints[field])) if dataclasses.is_dataclass(one)]
        yield from (f"{field}.{name}" for one in inner for name in _names(one)) if inner else (field,)


def _closest(key: str, names: Sequence[str]) -> str:
    """The names that look like `key`; also those that differ in the table only (`epochs` for `supernet.epochs`)."""
    last = key.rpartition(".")[2]
    ends = [name for name in names if name.rpartition(".")[2] == last]
    close = (difflib.get_close_matches(key, names, n=3) + ends) or [
        name
        for end in difflib.get_close_matches(last, [n.rpartition(".")[2] for n in names], n=1)
        for name in names
        if name.rpartition(".")[2] == end
    ]
    tables = dict.fromkeys(name.partition(".")[0] for name in names)
    return f" Did you mean {' or '.join(dict.fromkeys(close))}?" if close else f" There are: {', '.join(tables)}."


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return settings_tree(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return NONE if value is None else value


def _fields(kind: Any) -> dict[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(kind)}
