"""Checkpoints of a training under way: tensors and numbers only, read without running any code in them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vitesse.errors import VitesseError
from vitesse.runs.files import atomic_path


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` to `path`, whole or not at all."""
    with atomic_path(path) as draft:
        torch.save(state, draft)


def load_checkpoint(path: Path, *, device: torch.device) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote; VitesseError where the file is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums that torch.save wrote
            if (bad := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"the checksum of {bad} is wrong")
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # damaged bytes make the reader fail in every way there is
        raise VitesseError(
            f"The checkpoint {path} cannot be read ({type(error).__name__}): it is damaged, or holds more than tensors "
            "and numbers. Remove it to start its stage again."
        ) from error
    return state


@contextmanager
def restoring(path: Path, what: str) -> Iterator[None]:
    """Where a state that was read does not fit, say whose it is not: VitesseError; `what` is a word for that."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise VitesseError(
            f"The checkpoint {path} is of another {what} ({str(error).splitlines()[0]}). Remove it to start its stage again."
        ) from error
