"""`Choice(a, b, c)`: a field of a value that is still open. A value with an open field is a space, one without is an arch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """What an open field may become; made by `Choice`.

    shrinks: whether a greater option makes the network smaller; the field that holds the choice says so (`SHRINKS`).
    """

    options: tuple[Any, ...]
    shrinks: bool = dataclasses.field(default=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.options, tuple) or not self.options:
            raise ValueError(f"A Choice needs at least one option, but got {self.options!r}. Write Choice(3, 4).")
        if len(set(self.options)) != len(self.options):
            raise ValueError(f"The options of a Choice must differ, but got {self.options}. Name each one once.")

    def __repr__(self) -> str:
        return f"Choice({', '.join(map(repr, self.options))})"

    @property
    def ordered(self) -> tuple[Any, ...]:
        """The options from the smallest network to the largest: sorted where they are numbers, else as written."""
        numbers = all(isinstance(option, (int, float)) for option in self.options)
        return tuple(sorted(self.options, reverse=self.shrinks)) if numbers else self.options


# The metadata of a field of which more means a smaller network: dataclasses.field(metadata=SHRINKS).
SHRINKS = {"shrinks": True}
# The metadata of a field that came later: a file says nothing of it where it has its default, so that it stays as it was.
QUIET = {"quiet": True}


def Choice(*options: T) -> T:  # noqa: N802 - reads as the value that it stands for
    """Leave a field open: `dim=Choice(192, 216, 240)`.

    For a type checker the result has the type of its options, so that a field is declared once, as what it becomes.
    """
    return cast(T, Options(options))


def options(value: Any) -> tuple[Any, ...]:
    """Everything that `value` may be: its options where it is open, else itself alone."""
    return value.options if isinstance(value, Options) else (value,)


def require(owner: object, **rules: tuple[bool, str]) -> None:
    """Raise ValueError for the first broken rule: `require(self, heads=(all(...), "must be at least 1"))`."""
    for field, (holds, rule) in rules.items():
        if not holds:
            raise ValueError(f"{type(owner).__name__}.{field} {rule}, but got {getattr(owner, field)!r}.")


def every(value: Any, kind: Any, low: float, high: float = float("inf")) -> bool:
    """Whether each thing that `value` may be is a number of that kind (a type or a tuple of types) in [low, high]."""
    items = options(value)
    return all(isinstance(item, kind) and not isinstance(item, bool) and low <= item <= high for item in items)


def instances(value: Any, *kinds: type) -> bool:
    """Whether each thing that `value` may be is an instance of one of `kinds`."""
    return all(isinstance(item, kinds) for item in options(value))


def among(value: Any, *allowed: Any) -> bool:
    """Whether each thing that `value` may be is one of `allowed`."""
    return all(
        any(item is one or (type(item) is type(one) and item == one) for one in allowed) for item in options(value)
    )


def has_choice(value: object) -> bool:
    """Whether anything in the tree is still open."""
    if isinstance(value, Options):
        return True
    if isinstance(value, tuple):
        return any(has_choice(item) for item in value)
    fields = getattr(value, "__dataclass_fields__", None)
    return fields is not None and any(has_choice(getattr(value, name)) for name in fields)
