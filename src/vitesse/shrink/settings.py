"""Everything that can be set about a run of `vitesse shrink`; the defaults suit a few thousand small images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from vitesse.arch import Budget
from vitesse.data.augment import Augment
from vitesse.data.load import DataSettings
from vitesse.data.mix import Mix
from vitesse.deploy.ways import Precision, smaller
from vitesse.search.evolving import EvolveSettings
from vitesse.search.prioritizing import PrioritizedSettings
from vitesse.tasks.cyclic.settings import CyclicSettings
from vitesse.tasks.settings import DistillSettings
from vitesse.train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherSettings:
    """Who teaches; what of it is listened to is `distill`.

    model: a timm name, "hf:owner/name", "clip:owner/name", a run folder, or a file of weights; empty to train one here.
    role: "classifier", "encoder" (its features alone), or "auto": an encoder where it knows no classes and `vitesse
    distill` asks, else a classifier. prompt: of a CLIP, with {} for the name of a class. store: a folder that
    `vitesse logits write` wrote; its records stand for the teacher's logits, and its views are what students see. train:
    how it is trained where none is named. tune: how one that is named is trained on where it knows other classes than the
    data have.
    """

    model: str = ""
    role: Literal["auto", "classifier", "encoder"] = "auto"
    prompt: str = "a photo of a {}."
    store: str = ""
    train: TrainSettings = field(
        default_factory=lambda: TrainSettings(steps=3000, lr=2e-3, ema=0.995, drop_path=0.1, evaluate_every=10)
    )

    tune: TrainSettings = field(default_factory=lambda: TrainSettings(steps=1000, lr=1e-4, ema=0.99, evaluate_every=2))


@dataclass(frozen=True, kw_only=True, slots=True)
class SupernetSettings:
    """The space, and how its supernet is trained.

    space: "auto" (around the teacher), "mobile" (convolutions, for the data and the budget), "cells" (cells of DARTS, found
    by the rule cyclic), a name of the zoo ("autoformer_tiny"), or a JSON file of a space.
    rule: "sandwich" (largest, smallest and `randoms` random subnets a step, in-place distillation; of operations, which have
    no order, the ends have random ones), "single" (one subnet a step, as AutoFormer), "prioritized" (one a step, which the
    best so far teach, as Cream; how is `prioritized`) or "cyclic" (choices between operations learned by gradients, as
    CDARTS; how is `cyclic`). elastic: start from the teacher's weights where the space's largest network is the teacher.
    multiplex: whether blocks of the space "auto" may share weights: "none", "auto" (the search chooses how many), or how
    many always do.
    """

    space: str = "auto"
    rule: Literal["sandwich", "single", "prioritized", "cyclic"] = "sandwich"
    prioritized: PrioritizedSettings = field(default_factory=PrioritizedSettings)
    cyclic: CyclicSettings = field(default_factory=CyclicSettings)
    randoms: int = 2
    elastic: bool = True
    multiplex: int | Literal["none", "auto"] = "none"
    train: TrainSettings = field(
        default_factory=lambda: TrainSettings(steps=1000, lr=1e-3, ema=0.99, evaluate_every=10)
    )

    def __post_init__(self) -> None:
        if self.randoms < 0:
            raise ValueError(f"randoms must be at least 0, but got {self.randoms}.")
        if isinstance(self.multiplex, int) and self.multiplex < 2:
            raise ValueError(f'multiplex must be "none", "auto" or at least 2, but got {self.multiplex}.')
        if self.multiplex != "none" and self.space != "auto":
            raise ValueError(
                f'multiplex is of the space "auto"; the space {self.space!r} says itself what its blocks share. Leave one out.'
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiplexSettings:
    """How `vitesse multiplex` makes blocks share their weights.

    share: how many consecutive blocks use one set, or "all". mix: what tells them apart beside norms: maps over the heads,
    a convolution over the map (of `kernel` patches a side), both, or nothing. init: where the shared weights begin: "first"
    of the group, its "mean", a least-squares "fit" on so many `images`, with a `ridge` towards the mean, or "auto", the
    most accurate of these on the search part.
    """

    share: int | Literal["all"] = 2
    mix: Literal["heads", "local", "both", "none"] = "heads"
    kernel: int = 7
    init: Literal["auto", "first", "mean", "fit"] = "auto"
    images: int = 512
    ridge: float = 0.01

    def __post_init__(self) -> None:
        if self.share != "all" and self.share < 2:
            raise ValueError(f'share must be at least 2 or "all", but got {self.share}. One block shares with none.')
        if self.images < 1 or self.kernel < 1 or self.kernel % 2 == 0 or not 0 < self.ridge < float("inf"):
            raise ValueError(
                "images must be at least 1, kernel odd and ridge a positive number, but got "
                f"{self.images}, {self.kernel}, {self.ridge}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    """How the space is searched.

    strategy: "evolution" (as published), "nsga2", "contraction" (from the largest network downwards, as TinyViT),
    "prioritized" (the board of a supernet trained by the rule of that name, which it sets), "cyclic" (the likeliest by what
    a cyclic search believes; it sets that rule, too), or "random" (the baseline).
    z: how many standard errors behind the best ten a candidate is scored no further; 0 scores all on all images.
    precision: of scoring. storage: a database URL shared by many workers; empty for `study.db` in the run folder. measured:
    how many networks are timed for a latency budget.
    """

    strategy: Literal["evolution", "nsga2", "contraction", "prioritized", "cyclic", "random"] = "evolution"
    population: int = 50
    generations: int = 10
    z: float = 1.5
    batch: int = 256
    precision: Literal["fp32", "bf16"] = "fp32"
    storage: str = ""
    measured: int = 24

    def __post_init__(self) -> None:
        least = {"population": 4, "generations": 1, "batch": 1, "measured": 8, "z": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, but got {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSettings:
    """How the result is exported, checked and served.

    tolerance: of the file against the network. accuracy_tolerance: the accuracy that the file, and smaller numbers, may
    lose. rounds: how often it is timed. time_teacher: whether the teacher is exported, too, and timed beside it. runtime: in
    which latencies are measured, and kept to. int8, bf16, fp16: smaller numbers to try; runtimes: in which, where it is not
    those of files that are installed. What is fastest serves.
    """

    tolerance: float = 1e-4
    accuracy_tolerance: float = 0.005
    rounds: int = 200
    time_teacher: bool = True
    runtime: Literal["onnxruntime", "openvino", "compile", "eager"] = "onnxruntime"
    runtimes: tuple[Literal["onnxruntime", "openvino", "compile", "eager"], ...] = ()
    int8: bool = False
    bf16: bool = False
    fp16: bool = False

    def __post_init__(self) -> None:
        if not (self.tolerance > 0 and self.accuracy_tolerance >= 0 and self.rounds >= 10):
            raise ValueError(
                "tolerance must be above 0, accuracy_tolerance at least 0 and rounds at least 10, but got "
                f"{self.tolerance}, {self.accuracy_tolerance}, {self.rounds}."
            )

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The smaller numbers that are tried."""
        return smaller(int8=self.int8, bf16=self.bf16, fp16=self.fp16)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShrinkSettings:
    """From images and a budget to a small network.

    augment: None for what suits the data. effort: multiplies the length of every training. distill: what students are
    told, by labels and teacher; a supernet hears its logits alone. finish: how the winner is trained with the teacher
    once it is cut out.
    """

    seed: int = 0
    effort: float = 1.0
    data: DataSettings = field(default_factory=DataSettings)
    augment: Augment | None = None
    mix: Mix = field(default_factory=lambda: Mix(smoothing=0.05))
    budget: Budget = field(default_factory=Budget)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    distill: DistillSettings = field(default_factory=DistillSettings)
    supernet: SupernetSettings = field(default_factory=SupernetSettings)
    evolve: EvolveSettings = field(default_factory=EvolveSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    multiplex: MultiplexSettings = field(default_factory=MultiplexSettings)
    finish: TrainSettings = field(
        default_factory=lambda: TrainSettings(steps=2000, lr=2e-3, ema=0.995, evaluate_every=10)
    )
    export: ExportSettings = field(default_factory=ExportSettings)

    def __post_init__(self) -> None:
        if not 0 < self.effort < float("inf"):
            raise ValueError(f"effort must be a positive number, but got {self.effort}.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be a whole number from 0 to 2**32 - 1, but got {self.seed}.")
        if self.evolve.space and self.supernet_rule == "cyclic":
            raise ValueError(
                "A space evolves by its sizes, and a cyclic search decides between operations, but got evolve.space=true with "
                "the rule or strategy cyclic. Leave one out."
            )

    @property
    def supernet_rule(self) -> Literal["sandwich", "single", "prioritized", "cyclic"]:
        """How the supernet is trained: some searches need what one rule leaves."""
        strategy = self.search.strategy
        return strategy if strategy in ("prioritized", "cyclic") else self.supernet.rule
