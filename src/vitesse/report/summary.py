"""What a run was asked, what it did and what came of it: the values that page and model card are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vitesse.arch import Arch, Backbone

CostName = Literal["params", "macs", "memory_bytes", "latency_ms"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What one network costs; None where it was not measured."""

    params: float | None = None
    macs: float | None = None
    memory_bytes: float | None = None
    latency_ms: float | None = None

    def of(self, name: CostName) -> float | None:
        """The cost of that name."""
        value: float | None = getattr(self, name)
        return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One architecture that the search scored; `score` is accuracy from 0 to 1 on the search part."""

    arch: Backbone
    score: float
    costs: Costs
    origin: str
    generation: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One line of a training log; `accuracy` from 0 to 1, or another `measure`, only where it was evaluated."""

    step: int
    epoch: int | None
    loss: float | None
    lr: float | None
    accuracy: float | None
    measure: str = "accuracy"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came out: a network, its costs and its accuracy on the test part."""

    costs: Costs
    accuracy: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """One network's measured time for one batch; `spread` as the measurement wrote it."""

    name: str
    median_ms: float
    p10_ms: float | None
    p90_ms: float | None
    spread: float | None
    verdict: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """The timings of a run and the conditions under which they were taken."""

    conditions: Mapping[str, object]
    rows: tuple[Timing, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class GateRow:
    """How far the exported file's outputs lay from the network's at one batch size."""

    batch: int
    max_difference: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """Whether the exported file computes the same as the network."""

    tolerance: float
    rows: tuple[GateRow, ...]
    accuracy_torch: float | None
    accuracy_onnx: float | None

    @property
    def passed(self) -> bool:
        """True where every difference keeps within the tolerance (a difference that is no number does not)."""
        return all(row.max_difference <= self.tolerance for row in self.rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """One way to serve the network, at one batch size and number of threads where it could be run.

    timing: its verdict is as seen from the reference. refused: why it is not kept, empty where it is.
    """

    way: str
    bytes: int | None = None
    batch: int | None = None
    threads: int | None = None
    timing: Timing | None = None
    accuracy: float | None = None
    difference: float | None = None
    fastest: bool = False
    refused: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """All ways that were tried.

    reference: the way that times are compared with. tolerance: the share of the accuracy that might be lost.
    """

    rows: tuple[Served, ...]
    reference: str
    tolerance: float | None
    conditions: Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """The images that were used: where they came from, their classes, and what was odd about them."""

    source: str | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    fingerprint: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What it takes to repeat a run: tables of `run.toml`, and its whole text."""

    run: Mapping[str, object]
    versions: Mapping[str, object]
    device: Mapping[str, object]
    settings: str

    @property
    def command(self) -> str | None:
        """The command that started the run, where one did."""
        command = self.run.get("command")
        return None if command is None else str(command)


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """The big network that taught; `name` and `licence` where they are known, with what must be said of that licence."""

    arch: Arch | None
    outcome: Outcome
    name: str | None = None
    licence: str | None = None
    licence_note: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A number with its 95 % interval, or the one that was asked for."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Dimension:
    """One dimension of a space that evolved: its options, what they err by, what it mattered, and what became of it."""

    name: str
    options: tuple[float, ...]
    step: float
    choices: tuple[float | None, ...]
    slope: Estimate | None
    importance: Estimate
    decided: bool
    following: tuple[float, ...]
    held: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """A space that evolved, judged by `networks` of it; errors of 1, each with its standard error."""

    networks: int
    size: str
    expected: tuple[float, float]
    top: tuple[float, float]
    both: tuple[float, float]
    supernet_epochs: int
    dimensions: tuple[Dimension, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardPath:
    """A path on the board of a training by prioritized paths: when it came, and how many steps it taught."""

    arch: Backbone
    accuracy: float
    macs: float
    step: int
    taught: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """What taught in a training by prioritized paths; `gone`: the steps that paths taught which have left the board."""

    paths: tuple[BoardPath, ...] = ()
    gone: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Belief:
    """What a cyclic search believed of one choice: the candidates, and their shares after each cycle, at these steps."""

    choice: str
    candidates: tuple[str, ...]
    steps: tuple[int, ...]
    shares: tuple[tuple[float, ...], ...]

    @property
    def likeliest(self) -> int:
        """The place of the candidate with the greatest share in the end."""
        return max(range(len(self.candidates)), key=self.shares[-1].__getitem__)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummary:
    """One run folder, read; whatever the run did not do is None or empty."""

    name: str
    folder: str
    origin: Origin
    arch: Arch | None = None
    outcome: Outcome = field(default_factory=lambda: Outcome(costs=Costs()))
    teacher: Teacher | None = None
    budget: Mapping[str, float] = field(default_factory=dict)
    budget_met: bool | None = None
    data: Data = field(default_factory=Data)
    search: Mapping[str, object] = field(default_factory=dict)
    multiplex: Mapping[str, object] = field(default_factory=dict)
    detection: Mapping[str, object] = field(default_factory=dict)
    spaces: tuple[Space, ...] = ()
    board: Board = field(default_factory=Board)
    beliefs: tuple[Belief, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    curves: Mapping[str, tuple[Reading, ...]] = field(default_factory=dict)
    speed: Speed | None = None
    gate: Gate | None = None
    serving: Serving | None = None
    seconds: float | None = None
    seconds_by_stage: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)

    @property
    def verb(self) -> str:
        """What the run was: "shrink", "train", … as its command says, else "run"."""
        words = (self.origin.command or "").split()
        verbs = ("shrink", "train", "supernet", "search", "search-space", "distill", "multiplex")
        known = [word for word in words if word in verbs]
        return known[0] if known else "run"


def front(candidates: tuple[Candidate, ...], cost: CostName) -> tuple[Candidate, ...]:
    """The candidates that none beats at a lower or equal cost, cheapest first."""
    priced = [(value, item) for item in candidates if (value := item.costs.of(cost)) is not None]
    best: list[Candidate] = []
    for _, item in sorted(priced, key=lambda pair: (pair[0], -pair[1].score)):
        if not best or item.score > best[-1].score:
            best.append(item)
    return tuple(best)
