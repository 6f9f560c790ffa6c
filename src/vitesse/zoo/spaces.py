"""Spaces and architectures by name, or from a JSON file."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from vitesse.arch import Arch, Backbone, from_json
from vitesse.arch.choice import has_choice
from vitesse.errors import UsageError
from vitesse.zoo.autoformer import autoformer_base_space, autoformer_small_space, autoformer_tiny_space
from vitesse.zoo.cream_space import cream_space
from vitesse.zoo.published import MODELS

SPACES: dict[str, Callable[[], Backbone]] = {
    "autoformer_tiny": autoformer_tiny_space,
    "autoformer_small": autoformer_small_space,
    "autoformer_base": autoformer_base_space,
    **{f"cream_{band}": partial(cream_space, max_flops=band) for band in (14, 43, 114, 287, 481, 604)},
}


def space_named(name: str) -> Backbone:
    """The space of that name, as published; UsageError with the closest names where there is none."""
    if name not in SPACES:
        near = difflib.get_close_matches(name, SPACES, n=3, cutoff=0.0)
        raise UsageError(
            f"A space is a JSON file, auto, mobile, cells, or one of {', '.join(SPACES)}, but got {name!r}. "
            f"Did you mean {near[0]}?"
        )
    return SPACES[name]()


def arch_named(name: str) -> Arch:
    """A published model of that name, or the architecture in a JSON file; UsageError with the closest names."""
    if Path(name).is_file():
        try:
            arch = from_json(Path(name).read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise UsageError(f"{name} holds no architecture: {error}") from None
        if has_choice(arch):
            raise UsageError(f"{name} holds a space, not an architecture: it has choices. Search it, or close them.")
        return arch
    makers = {model.name: model.make for model in MODELS}
    if name not in makers:
        near = ", ".join(difflib.get_close_matches(name, makers, n=3, cutoff=0.3)) or "vitesse models shows all"
        raise UsageError(f"An architecture is a JSON file or a published model, but got {name!r}. The closest: {near}.")
    return makers[name]()
