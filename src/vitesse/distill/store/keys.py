"""Names of samples, in a store that was converted from one that knows them by name: one line each, in their order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from vitesse.distill.store.manifest import Manifest
from vitesse.errors import VitesseError
from vitesse.runs.files import atomic_path

KEYS = "keys.txt"


def digest_of(keys: Sequence[str]) -> str:
    """The SHA-256 of the file that holds them."""
    return hashlib.sha256(_text(keys)).hexdigest()


def save_keys(folder: Path, keys: Sequence[str]) -> None:
    """Write `keys.txt`, whole or not at all."""
    with atomic_path(folder / KEYS) as draft:
        draft.write_bytes(_text(keys))


def load_keys(folder: Path, manifest: Manifest) -> list[str]:
    """The samples' names; their numbers where the store has none. VitesseError where the file is damaged."""
    if manifest.keys is None:
        return [str(number) for number in range(manifest.samples)]
    try:
        data = (folder / KEYS).read_bytes()
    except OSError as error:
        raise VitesseError(f"{folder / KEYS} cannot be read: {error.strerror}.") from error
    if hashlib.sha256(data).hexdigest() != manifest.keys:
        raise VitesseError(f"{folder / KEYS} is not the file that the store was made with. Copy the store again.")
    return data.decode().split("\n")[:-1]


def _text(keys: Sequence[str]) -> bytes:
    return "".join(f"{key}\n" for key in keys).encode()
