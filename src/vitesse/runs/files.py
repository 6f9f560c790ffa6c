"""Files that appear whole or not at all: written under a temporary name beside the target, synced, then renamed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vitesse.errors import VitesseError

_UNWRITABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
)


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success sync it and rename it to `path`, on failure remove it.

    Raises VitesseError where the disk is full or the folder cannot be written; what stood at `path` is left untouched.
    """
    target = Path(path)
    # The suffix is kept last, because writers (ONNX, images) choose their format by it.
    draft = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.tmp{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        _open_up(draft)
        _sync(draft)
        os.replace(draft, target)
        _sync(target.parent)
    except OSError as error:
        raise explained(error, target) from error
    except Exception as error:
        # torch and safetensors tell of a full disk in words of their own.
        if not _full(target.parent):
            raise
        raise explained(OSError(errno.ENOSPC, "no space left"), target) from error
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file; VitesseError where it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VitesseError(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise VitesseError(f"{path} cannot be read as JSON: {error}") from error


def _open_up(path: Path) -> None:
    """The permissions that the umask gives to new files; some writers (safetensors) give their files to the owner alone."""
    umask = os.umask(0o077)  # it can only be read by setting it
    os.umask(umask)
    path.chmod(0o666 & ~umask)


def _full(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < 2**16


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def explained(error: OSError, target: Path) -> OSError | VitesseError:
    """The plain reason for the failures that a user can mend; any other error stays itself."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return VitesseError(f"No space left to write {target}. Nothing was lost; free some space and start again.")
    if error.errno in _UNWRITABLE:
        return VitesseError(
            f"{target} cannot be written ({error.strerror}). Choose another place, or mend the permissions."
        )
    return error
