"""What was found of each way to serve a network, as it is shown and kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from vitesse.deploy.fidelity import Fidelity
from vitesse.deploy.preparing import Ready, Subject
from vitesse.deploy.ways import Way
from vitesse.measure import Comparison, Conditions, Latency


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """The time of one batch, at one batch size and number of threads."""

    batch: int
    threads: int
    latency: Latency
    against: Comparison | None  # as seen from the reference; None for itself

    @property
    def verdict(self) -> str:
        """In words, about this way as seen from the reference."""
        return "the reference" if self.against is None else self.against.verdict

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        times = {"batch": self.batch, "threads": self.threads, **self.latency.to_dict()}
        return {**times, "ratio": self.against and self.against.ratio, "verdict": self.verdict}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tried:
    """One way for one network; `refused` says why it is not kept, and is empty where it is."""

    subject: Subject
    way: Way
    ready: Ready | None = None
    fidelity: Fidelity | None = None
    timed: tuple[Timed, ...] = ()
    refused: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "model": self.subject.name,
            "runtime": self.way.runtime,
            "precision": self.way.precision,
            "bytes": self.ready and self.ready.bytes,
            "note": self.ready.note if self.ready else "",
            "fidelity": self.fidelity and self.fidelity.to_dict(),
            "times": [one.to_dict() for one in self.timed],
            "kept": not self.refused,
            "refused": self.refused,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Fastest:
    """The fastest way that is kept, at one batch size and number of threads."""

    subject: Subject
    batch: int
    threads: int
    way: Way

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"model": self.subject.name, "batch": self.batch, "threads": self.threads, "way": self.way.label}


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """All that was tried, and the fastest of it.

    reference: the way that times are compared with. tolerance: the share of the accuracy that might be lost; None where
    there were no images to judge by.
    """

    tried: tuple[Tried, ...]
    fastest: tuple[Fastest, ...]
    reference: Way
    tolerance: float | None
    conditions: Conditions

    def of(self, subject: Subject) -> Choice:
        """What concerns one network."""
        return replace(
            self,
            tried=tuple(one for one in self.tried if one.subject is subject),
            fastest=tuple(one for one in self.fastest if one.subject is subject),
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "conditions": self.conditions.to_dict(),
            "reference": self.reference.label,
            "tolerance": self.tolerance,
            "fastest": [one.to_dict() for one in self.fastest],
            "tried": [one.to_dict() for one in self.tried],
        }
