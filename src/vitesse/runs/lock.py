"""One process at a time in a run folder: an advisory lock, which the system drops when its holder ends, however it ends."""

from __future__ import annotations

import errno
import os
import warnings
from pathlib import Path
from typing import IO

from vitesse.errors import VitesseError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FILE = ".lock"


def lock(folder: Path) -> IO[bytes]:
    """The folder's lock, held until what is returned is closed or the process ends.

    VitesseError, naming the process, where another holds it. Where the system or the file system knows no such locks, a
    warning says so and nothing is held.
    """
    file = (folder / FILE).open("a+b", buffering=0)
    try:
        held = _take(file.fileno(), folder)
    except BaseException:
        file.close()
        raise
    if held:
        file.truncate(0)
        file.write(str(os.getpid()).encode())
    # A forked worker must not hold on to the lock of a parent that was killed. (To close a copy releases nothing.)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=file.close)
    return file


def _take(handle: int, folder: Path) -> bool:
    if fcntl is None:
        _warn(folder, "this system has no locks on files")
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 20, 0).decode(errors="replace") or "unknown"
        raise VitesseError(
            f"One process at a time works on a run, but process {holder} works in {folder}. "
            "Wait for it, stop it, or choose another --out."
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            raise
        _warn(folder, "its file system has no locks")
        return False
    return True


def _warn(folder: Path, reason: str) -> None:
    warnings.warn(f"{folder} cannot be locked ({reason}). Start no second run in it.", RuntimeWarning, stacklevel=4)
