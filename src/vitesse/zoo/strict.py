"""A foreign state dict must hold exactly the expected keys and shapes; one message names all that does not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from vitesse.errors import VitesseError


def require_keys(state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], what: str) -> None:
    """Raise VitesseError unless `state` has the keys and shapes of `shapes`, no more and no less."""
    other = [
        f"{name} {tuple(state[name].shape)} instead of {shape}"
        for name, shape in shapes.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    wrong = {
        "missing": [name for name in shapes if name not in state],
        "unknown": [name for name in state if name not in shapes],
        "of another shape": other,
    }
    found = [f"{kind}: {_some(names)}" for kind, names in wrong.items() if names]
    if found:
        raise VitesseError(
            f"These weights are not those of this {what} configuration. {'; '.join(found)}. "
            "Check the configuration, or the file."
        )


def _some(names: Iterable[str], most: int = 6) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
