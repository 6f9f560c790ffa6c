"""The two errors that a user meets: the work failed (exit code 1), or it was asked for wrongly (exit code 2)."""

from __future__ import annotations


class VitesseError(Exception):
    """Something that the user can understand and mend: the message states the rule, the values and the mend."""


class UsageError(VitesseError):
    """The request itself is wrong: an option, a budget, a settings file."""
