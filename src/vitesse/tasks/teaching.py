"""Teaching: the one place where the loss of a step is put together, from labels, a teacher's logits and its features."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from vitesse.data.part import Batch
from vitesse.errors import UsageError, VitesseError
from vitesse.losses import features as feature_losses
from vitesse.losses.classification import cross_entropy, distillation
from vitesse.losses.relations import attention_relations, hidden_relations
from vitesse.nets.cells import NetworkOfCells, auxiliary_head
from vitesse.nets.interface import initialize
from vitesse.nets.taps import Found, Layer, Site, layers_of, looking, taps
from vitesse.tasks.matching import Feature, feature_of, like, matched
from vitesse.tasks.settings import DistillSettings, Weights

# A teacher's logits (B, classes) for a batch in a step, from wherever they come: `batch.indices` and the step say which.
Answers = Callable[[Batch, int], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a network makes of a batch: logits (B, classes), what its taps read, and its features where they are asked for."""

    logits: Tensor | None
    found: Found = field(default_factory=dict)
    features: Tensor | None = None


class Pupil(nn.Module):
    """A network with what is trained with it and then dropped: projections from its widths to its teacher's, and an auxiliary
    classifier.
    """

    def __init__(self, network: nn.Module, projections: dict[str, nn.Module]) -> None:
        super().__init__()
        self.network = network
        self.projections = nn.ModuleDict(projections)

    def forward(self, images: Tensor) -> Tensor:
        """As the network alone."""
        logits: Tensor = self.network(images)
        return logits

    def no_weight_decay(self) -> set[str]:
        """As of the network."""
        known = getattr(self.network, "no_weight_decay", set)
        return {f"network.{name}" for name in known()}


class Teaching:
    """What a network is told about an image: its label, and what a teacher makes of the very same view.

    teacher: gives logits, or is an encoder without classes (`classifies` False); None for labels alone. answers: where
    its logits come from instead, such as a store. labelled: whether the images have labels. temperature: where the
    settings have none.
    """

    def __init__(
        self,
        teacher: nn.Module | None = None,
        settings: DistillSettings | None = None,
        *,
        classifies: bool = True,
        labelled: bool = True,
        answers: Answers | None = None,
        temperature: float = 2.0,
    ) -> None:
        self.settings = settings or DistillSettings()
        self.teacher = None if teacher is None else teacher.eval().requires_grad_(False)
        self.temperature = self.settings.temperature or temperature
        self.answers, self.labelled = answers, labelled
        told = answers is not None or (teacher is not None and classifies)
        kind = "classifier" if told else "none" if teacher is None else "encoder"
        self.weights: Weights = self.settings.weights(teacher=kind, labelled=labelled)  # type: ignore[arg-type]
        if self.weights.deep and teacher is None:
            raise VitesseError(
                "A store holds logits alone, but distill asks for attention, hidden states or features. Name the teacher, too."
            )
        self.layers: list[tuple[Layer, Layer]] = []
        self.feature: tuple[Feature, Feature] | None = None
        self.auxiliary: Site | None = None  # the map that the auxiliary classifier reads

    def logits_only(self) -> Teaching:
        """The same without what a supernet cannot be told: the features of networks of one shape."""
        shallow = copy.copy(self)
        shallow.weights = Weights(labels=self.weights.labels, logits=self.weights.logits)
        return shallow

    def prepare(self, student: nn.Module, images: Tensor, *, seed: int = 0) -> nn.Module:
        """Find what is compared; the module to be trained: the student, or a `Pupil` around it.

        images: one or more of the data, as the student sees them. VitesseError where what is asked for is not there.
        """
        widths = self._match(student, images) if self.weights.deep else {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            beside: dict[str, nn.Module] = {name: nn.Linear(*pair) for name, pair in widths.items()}
            if self.weights.auxiliary:
                beside |= self._auxiliary_of(student)
        return Pupil(student, beside).to(images.device) if beside else student

    def _match(self, student: nn.Module, images: Tensor) -> dict[str, tuple[int, int]]:
        """Find what is compared; the widths that projections lead from and to, by their names."""
        assert self.teacher is not None
        teacher, one = self.teacher.to(images.device), images[:1]
        widths: dict[str, tuple[int, int]] = {}
        if self.weights.attention or self.weights.hidden:
            ours, theirs = layers_of(student, one), layers_of(teacher, one)
            self.layers = matched(ours, theirs, settings=self.settings, teacher=teacher)
            if self.weights.hidden and self.settings.hidden_form == "l2":
                widths |= {f"hidden_{i}": (s.width, t.width) for i, (s, t) in enumerate(self.layers)}
        if self.weights.features or not self.labelled:  # without labels, how well it goes is seen by the features
            sides = ((student, self.settings.student_module), (teacher, self.settings.teacher_module))
            first, second = (feature_of(network, name, self.settings.feature_of, one) for network, name in sides)
            self.feature = first, second
            if self.weights.features and self.settings.feature_form != "relation":
                widths["features"] = first.width, second.width
        return widths

    def _auxiliary_of(self, student: nn.Module) -> dict[str, nn.Module]:
        """An auxiliary classifier for the student, unless it has one of its own; where it reads is remembered."""
        if not isinstance(student, NetworkOfCells):
            raise UsageError(
                f"An auxiliary classifier is for a network of cells, but the student is a {type(student).__name__}. Leave "
                "distill.auxiliary at 0."
            )
        value = student.arch.auxiliary or student.arch.usual_auxiliary
        self.auxiliary = Site(student.feature_info[value.stage]["module"])
        if student.arch.auxiliary is not None:
            return {}
        head = auxiliary_head(student.arch, value)
        initialize(head)
        return {"auxiliary": head}

    def told(self, batch: Batch, step: int = 0) -> Seen | None:
        """What the teacher makes of the batch; None where there is none."""
        if self.teacher is None and self.answers is None:
            return None
        with torch.no_grad():
            logits = None if self.answers is None else self.answers(batch, step)
            if self.teacher is None or not (self.weights.deep or (self.weights.logits and logits is None)):
                return Seen(logits=logits)
            seen = self._look(self.teacher.to(batch.images.device), batch.images, side=1)
            return seen if logits is None else Seen(logits=logits, found=seen.found, features=seen.features)

    def look(self, student: nn.Module, images: Tensor) -> Seen:
        """What the student, or a `Pupil`, makes of images, with everything that `loss` asks for."""
        return self._look(network_of(student), images, side=0)

    def loss(self, seen: Seen, batch: Batch, told: Seen | None, *, student: nn.Module | None = None) -> Tensor:
        """The weighted sum of the terms; `student` holds the projections where there are any."""
        weights, terms = self.weights, []
        if weights.labels:
            assert seen.logits is not None
            terms.append(weights.labels * cross_entropy(seen.logits, batch.targets))
        if weights.auxiliary:
            assert self.auxiliary is not None and student is not None
            beside = student.projections if isinstance(student, Pupil) else nn.ModuleDict()
            head = beside["auxiliary"] if "auxiliary" in beside else network_of(student).auxiliary
            logits = head(seen.found[self.auxiliary])  # type: ignore[operator]
            terms.append(weights.auxiliary * cross_entropy(logits, batch.targets))
        if told is not None:
            if weights.logits:
                assert seen.logits is not None and told.logits is not None
                term = distillation(seen.logits, told.logits, temperature=self.temperature, form=self.settings.form)
                terms.append(weights.logits * term)
            projections = student.projections if isinstance(student, Pupil) else nn.ModuleDict()
            terms += self._deep(seen, told, projections) if weights.deep else []
        return torch.stack(terms).sum() if len(terms) > 1 else terms[0]

    def _deep(self, seen: Seen, told: Seen, projections: nn.ModuleDict) -> Iterator[Tensor]:
        """The terms beside the logits, each the mean over its layers."""
        weights, settings = self.weights, self.settings
        if weights.attention:
            pairs = [(pair[0], pair[1]) for pair in settings.pairs]
            each = []
            for ours, theirs in self.layers:
                left, right = ours.qkv(seen.found), theirs.qkv(told.found)
                sides = {kind: like(left[kind], right[kind], ours.extra, theirs.extra) for kind in "qkv"}
                first, second = ({kind: side[i] for kind, side in sides.items()} for i in range(2))
                each.append(attention_relations(first, second, pairs=pairs, heads=settings.relation_heads))
            yield weights.attention * torch.stack(each).mean()
        if weights.hidden:
            each = []
            for i, (ours, theirs) in enumerate(self.layers):
                mine, wanted = like(ours.tokens(seen.found), theirs.tokens(told.found), ours.extra, theirs.extra)
                if settings.hidden_form == "relation":
                    each.append(hidden_relations(mine, wanted))
                else:
                    each.append(feature_losses.l2(projections[f"hidden_{i}"](mine), wanted))
            yield weights.hidden * torch.stack(each).mean()
        if weights.features:
            yield weights.features * self._features(seen, told, projections)

    def _features(self, seen: Seen, told: Seen, projections: nn.ModuleDict) -> Tensor:
        assert self.feature is not None and seen.features is not None and told.features is not None
        mine, wanted = self.feature[0].vectors(seen.features, told.features, other=self.feature[1])
        if self.settings.feature_form == "relation":  # of a pooled vector: between the images of the batch
            return hidden_relations(mine, wanted) if mine.ndim == 3 else hidden_relations(mine[None], wanted[None])
        projected = projections["features"](mine)
        if self.settings.feature_form == "cosine":
            return feature_losses.cosine(projected, wanted)
        return feature_losses.normalized_l2(projected, wanted)

    def _look(self, network: nn.Module, images: Tensor, *, side: int) -> Seen:
        layers = [pair[side] for pair in self.layers] if self.weights.deep else []
        own = [self.auxiliary] if self.auxiliary is not None and self.weights.auxiliary and side == 0 else []
        sites: list[Site] = [site for layer in layers for site in (*layer.projections, layer.hidden)]
        feature = self.feature[side] if self.feature is not None and self.weights.deep else None
        with taps(network, [*own, *sites, *(feature.sites if feature else ())]) as found:
            if feature is None:
                return Seen(logits=network(images), found=found)
            logits, features = feature.run(network, images, found)
            return Seen(logits=logits, found=found, features=features)

    def compare(self, student: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """The pooled features (B, C), (B, C') of student and teacher for the same images, without gradients."""
        assert self.feature is not None and self.teacher is not None
        network = network_of(student)
        with looking(network):
            mine = self._look(network, images, side=0).features
            wanted = self._look(self.teacher.to(images.device), images, side=1).features
        assert mine is not None and wanted is not None
        return self.feature[0].pooled(mine), self.feature[1].pooled(wanted)


def network_of(student: nn.Module) -> nn.Module:
    """The network itself, without the projections that it was trained with."""
    return student.network if isinstance(student, Pupil) else student
