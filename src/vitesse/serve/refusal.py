"""A request that is answered by a status and a plain sentence instead of classes."""

from __future__ import annotations


class RefusedError(Exception):
    """Why a request gets no classes: a status of 400 or more, and a sentence for whoever sent it."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence

    def named(self, name: str | None) -> RefusedError:
        """The same of one file among several."""
        return self if name is None else RefusedError(self.status, f"{name}: {self.sentence}")
