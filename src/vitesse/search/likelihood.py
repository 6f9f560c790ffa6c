"""Networks of a space by their likelihood under a distribution over its choices between operations."""

from __future__ import annotations

import heapq
import itertools
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from vitesse.arch import Backbone, Options, largest, picks, resolve
from vitesse.search.candidate import Candidate, Feasible, Proposals
from vitesse.search.draw import draw
from vitesse.search.genome import genes

# For each slot, a choice between operations, the logit of each candidate; a slot is named by its path, or by its key.
Logits = Mapping[str, Sequence[float]]
EXPANDED = 3000  # beginnings of networks that are looked at for one set of sizes


def key_of(path: str, *, repeat: bool) -> str:
    """Which logits a slot has: its own or, where all blocks are to `repeat` one decision, those of its place in them."""
    return re.sub(r"^stages\.\d+\.blocks\.\d+\.", "", path) if repeat else path


def place_of(choice: Options, option: Any) -> int:
    """Which candidate of a supernet's host holds an option: options that differ in sizes alone share one."""
    return list(dict.fromkeys(map(largest, choice.options))).index(largest(option))


@dataclass(frozen=True, kw_only=True, slots=True)
class Likelihood:
    """A distribution over the networks of a space: independent choices by softmax(logits), sizes all alike.

    repeat: whether slots at the same place of every block have one logit vector, and so one decision.
    """

    logits: Logits
    repeat: bool = False

    def of(self, space: Backbone, arch: Backbone) -> float:
        """The logarithm of the likelihood of the operations of `arch`; 0 at most."""
        taken: dict[str, Any] = {}
        chosen = picks(space, arch)

        def note(path: str, choice: Options) -> Any:
            taken.setdefault(self._key(path), (choice, chosen[path]))
            return chosen[path]

        resolve(space, note)
        return sum(
            _log_shares(self.logits[key])[place_of(choice, option)]
            for key, (choice, option) in taken.items()
            if key in self.logits
        )

    def sample(self, space: Backbone, rng: random.Random) -> Backbone:
        """A network drawn from it; sizes with equal chances."""
        known: dict[str, Any] = {}

        def pick(path: str, choice: Options) -> Any:
            key = self._key(path)
            if key not in self.logits:
                return rng.choice(choice.options)
            if key not in known:
                shares = [math.exp(one) for one in _log_shares(self.logits[key])]
                known[key] = rng.choices(choice.options, [shares[place_of(choice, one)] for one in choice.options])[0]
            return known[key]

        return resolve(space, pick)

    def likeliest(
        self, space: Backbone, *, feasible: Feasible, sizes: Mapping[str, Any] = MappingProxyType({})
    ) -> Iterator[Backbone]:
        """The feasible networks with these `sizes` (by path; else the smallest), the likeliest first (a best-first search).

        Beginnings that even their smallest completion makes infeasible are not followed, and no more than `EXPANDED` are.
        """
        order = itertools.count()  # of equally likely ones the first found
        waiting: list[tuple[float, int, dict[str, Any]]] = [(0.0, next(order), {})]
        for _ in range(EXPANDED):
            if not waiting:
                return
            behind, _, decided = heapq.heappop(waiting)
            arch, opened = self._completed(space, decided, sizes)
            if opened is None and feasible(arch):
                yield arch
            if opened is None or not feasible(arch):
                continue
            key, choice = opened
            shares = _log_shares(self.logits[key])
            for option in choice.options:
                lost = max(shares) - shares[place_of(choice, option)]
                heapq.heappush(waiting, (behind + lost, next(order), {**decided, key: option}))

    def _completed(
        self, space: Backbone, decided: Mapping[str, Any], sizes: Mapping[str, Any]
    ) -> tuple[Backbone, tuple[str, Options] | None]:
        """The network with these decisions and else the smallest, and its first slot that is not decided."""
        opened: list[tuple[str, Options]] = []

        def pick(path: str, choice: Options) -> Any:
            key = self._key(path)
            if key not in self.logits:
                # Of two operations a field of the same name may have other options.
                return sizes[path] if sizes.get(path) in choice.options else choice.ordered[0]
            if key in decided:
                return decided[key]
            opened.append((key, choice))
            return choice.ordered[0]

        arch = resolve(space, pick)
        return arch, opened[0] if opened else None

    def _key(self, path: str) -> str:
        return key_of(path, repeat=self.repeat)


@dataclass(frozen=True, kw_only=True, slots=True)
class Likeliest:
    """`population` networks each generation, in the order of their likelihood.

    Where the space leaves sizes open, too, those of each network are of a random one within the limits, and its operations
    the likeliest for them.
    """

    likelihood: Likelihood
    population: int = 50

    def propose(
        self,
        space: Backbone,
        history: Sequence[Candidate],
        *,
        generation: int,
        rng: random.Random,
        feasible: Feasible,
    ) -> Proposals:
        """The next likeliest that are feasible and were never tried before."""
        seen = {candidate.arch for candidate in history}
        if not has_sizes(space, self.likelihood):
            fresh = (arch for arch in self.likelihood.likeliest(space, feasible=feasible) if arch not in seen)
            return [(arch, "likely") for arch in itertools.islice(fresh, self.population)]
        found: list[Backbone] = []
        for drawn in draw(space, self.population, rng=rng, feasible=feasible, seen=seen):
            ways = self.likelihood.likeliest(space, feasible=feasible, sizes=picks(space, drawn))
            arch = next((arch for arch in ways if arch not in seen), None)
            if arch is not None:
                seen.add(arch)
                found.append(arch)
        found.sort(key=lambda arch: -self.likelihood.of(space, arch))
        return [(arch, "likely") for arch in found]


def candidates(space: Backbone, likelihood: Likelihood) -> dict[str, tuple[str, ...]]:
    """What each choice between operations leaves open, in words, by its key; options that differ in sizes alone once."""
    table = {key_of(path, repeat=likelihood.repeat): options for path, options in genes(space).items()}
    return {key: tuple(map(str, dict.fromkeys(map(largest, table[key])))) for key in likelihood.logits}


def has_sizes(space: Backbone, likelihood: Likelihood) -> bool:
    """Whether a network of the space is more than its operations."""
    return any(key_of(path, repeat=likelihood.repeat) not in likelihood.logits for path in genes(space))


def _log_shares(logits: Sequence[float]) -> list[float]:
    """The logarithm of softmax(logits)."""
    top = max(logits)
    total = top + math.log(sum(math.exp(one - top) for one in logits))
    return [one - total for one in logits]
