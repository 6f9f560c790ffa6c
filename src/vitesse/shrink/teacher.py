"""The teacher of a run: found and loaded, or made here; tuned to the data where it knows other classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitesse.arch import Backbone, to_json
from vitesse.data.preprocess import Preprocess
from vitesse.distill.foreign import foreign_preprocess, foreign_teacher, is_timm_name
from vitesse.distill.huggingface import ClipModel, is_hub_name
from vitesse.distill.licence import licence_of, warning_about
from vitesse.distill.store.writing import fingerprint
from vitesse.distill.view import fitting
from vitesse.errors import UsageError, VitesseError
from vitesse.nets import Network, build
from vitesse.runs.files import write_text
from vitesse.saved import load_network, save_network
from vitesse.shrink.design import teacher_arch
from vitesse.shrink.job import Job
from vitesse.tasks.classification import plain
from vitesse.tasks.teaching import Teaching
from vitesse.train.checkpoint import load_checkpoint, save_checkpoint
from vitesse.train.loop import Progress
from vitesse.train.settings import TrainSettings
from vitesse.zoo import from_timm

NETWORK = "teacher/model.safetensors"
ARCH = "teacher/arch.json"  # for the report
FOREIGN = "teacher/timm.pt"


class Teacher:
    """Who teaches. `network` may be any module that gives logits; `arch` is its value where it is a network of ours.

    given: a module of one's own, taken as it is, instead of the one that the settings name. lead: whether images are
    prepared as the teacher wants them; else it gets the student's view in its own colours and size. encoders: whether a
    model without classes teaches by its features instead of learning the classes first.
    """

    def __init__(self, job: Job, *, given: nn.Module | None = None, lead: bool = True, encoders: bool = False) -> None:
        self.job, self.given, self.encoders = job, given, encoders
        self.network: nn.Module | None = given
        self.ready = given is not None  # whether it knows the classes of the data already
        self.wanted: Preprocess | None = None
        name = job.settings.teacher.model
        if name and given is None:
            self.network = teacher_named(name, say=job.voice.say)
            self.wanted = preprocess_of(self.network, size=job.settings.data.size)
            if lead and job.store is None:
                job.preprocess = self.wanted
        elif isinstance(known := getattr(given, "preprocess", None), Preprocess):
            self.wanted = known

    @property
    def encoder(self) -> bool:
        """Whether it teaches by its features alone."""
        role, blank = self.job.settings.teacher.role, not self.job.settings.data.labels
        if role == "classifier" and blank:
            raise UsageError("Images without labels have no classes: teacher.role must be encoder or auto.")
        unclassed = self.encoders and role == "auto" and getattr(self.network, "num_classes", None) == 0
        return role == "encoder" or blank or (unclassed and not isinstance(self.network, ClipModel))

    @property
    def arch(self) -> Backbone | None:
        """The teacher's architecture, known before it is trained; None for a network that is not of ours."""
        if self.network is None:
            parts = self.job.parts
            return teacher_arch(parts.preprocess, classes=len(parts.classes), budget=self.job.settings.budget)
        if not isinstance(self.network, Network):
            return None
        if not self.encoder:
            self._fit_classes(self.network)
        arch = self.network.arch
        return arch if isinstance(arch, Backbone) else None

    def train(self, progress: Progress) -> dict[str, Any]:
        """The stage: leaves the teacher, as good as it gets on these data, in the run folder."""
        job = self.job
        network = self.network
        if network is None:
            arch = self.arch
            assert arch is not None  # a teacher that is made here is ours
            torch.manual_seed(job.settings.seed)
            network = build(arch, drop_path=job.settings.teacher.train.drop_path)
        elif not self.encoder:
            self._fit_classes(network)
        if job.store is not None:
            job.store.store.check(teacher=fingerprint(network))
            self.ready = True
        if not (self.ready or self.encoder):
            given = job.settings.teacher
            settings = job.scaled(given.train if self.network is None else given.tune, offset=1)
            viewing = self._viewing(network)
            kept = job.train(viewing, settings, stage="teacher", losses=plain(Teaching()), progress=progress)
            network = kept if viewing is network else kept.inner  # type: ignore[assignment]
        if job.main:
            self._save(network)
        name = job.settings.teacher.model
        licence = licence_of(name) if name else None
        if (warning := warning_about(name, licence)) is not None:
            job.voice.say(warning)
        trained = not (self.ready or self.encoder)
        return {"trained": trained, "model": name, "licence": licence, "licence_note": warning}

    def load(self) -> nn.Module:
        """The teacher that the stage left, ready to teach."""
        job, name = self.job, self.job.settings.teacher.model
        if self.given is not None:
            network = self.given
        elif job.path(NETWORK).exists():
            network = load_network(job.path(NETWORK))
        elif job.path(FOREIGN).exists():
            network = foreign_teacher(name, classes=len(job.parts.classes), pretrained=False)
            network.load_state_dict(load_checkpoint(job.path(FOREIGN), device=torch.device("cpu")))
        else:
            assert self.network is not None  # a model of the Hub that needed no training is taken as it is found
            network = self.network
            if not self.encoder:
                self._fit_classes(network)
        return self._viewing(network).eval()

    def _viewing(self, network: nn.Module) -> nn.Module:
        seen = self.job.parts.preprocess
        return network if self.wanted is None else fitting(network, seen=seen, wanted=self.wanted)

    def _save(self, network: nn.Module) -> None:
        parts = self.job.parts
        if isinstance(network, Network):
            if not self.encoder:
                network.preprocess, network.class_names = self.wanted or parts.preprocess, parts.classes
            save_network(network, self.job.path(NETWORK))
            write_text(self.job.path(ARCH), to_json(network.arch) + "\n")
        elif self.given is None and not (self.ready or self.encoder):
            save_checkpoint(self.job.path(FOREIGN), network.state_dict())

    def _fit_classes(self, network: nn.Module) -> None:
        """Give the teacher a new classifier where it names other classes than the data have."""
        classes = self.job.parts.classes
        if self.given is not None:
            return
        if getattr(network, "class_names", ()) == classes:
            self.ready = True
        elif isinstance(network, ClipModel):
            network.name_classes(classes, prompt=self.job.settings.teacher.prompt)
            self.ready = True
        elif not self.ready and getattr(network, "num_classes", None) != len(classes):
            torch.manual_seed(self.job.settings.seed)  # the new classifier is the same after a restart
            network.reset_classifier(len(classes))  # type: ignore[operator]


def classifies(job: Job, teacher: nn.Module) -> bool:
    """Whether a teacher gives logits of the classes of the data; an encoder gives features only."""
    classes = len(job.parts.classes)
    known = getattr(teacher, "num_classes", None)
    return bool(classes) and job.settings.teacher.role != "encoder" and known in (None, classes)


def teaching_of(job: Job, teacher: nn.Module | None, *, train: TrainSettings) -> Teaching:
    """What the students of a run are told in a training, as the settings, the teacher and its store have it."""
    knows = teacher is not None and classifies(job, teacher)
    labelled, store = job.settings.data.labels, job.store
    if store is None:
        return Teaching(teacher, job.settings.distill, classifies=knows, labelled=labelled)
    answers = store.answers(job.parts.learn.steps(train.batch))
    return Teaching(teacher, job.settings.distill, labelled=labelled, answers=answers, temperature=store.temperature)


def teacher_named(name: str, *, say: Callable[[str], None]) -> nn.Module:
    """The network of that name: a run folder or file of ours, or a model of timm or the Hub; VitesseError if there is none."""
    if is_hub_name(name):
        return foreign_teacher(name)
    path = Path(name)
    if path.exists():
        return load_network(path)
    if path.suffix in (".safetensors", ".pth", ".pt", ".onnx") or name.startswith((".", "/", "~")):
        raise VitesseError(f"The teacher {name} does not exist. Name a run folder, a file of weights, or a timm model.")
    try:
        return from_timm(name)
    except VitesseError as error:
        # A model of another kind can teach as it is. An unknown one, or one whose weights could not be fetched, cannot.
        if not is_timm_name(name) or error.__cause__ is not None:
            raise
        say(f"{error} It teaches, but the space is not made around it.")
        return foreign_teacher(name)


def preprocess_of(network: nn.Module, *, size: int | None) -> Preprocess:
    """How pictures become what a teacher sees; size: of the picture's side, over what timm says of a network of its own."""
    if isinstance(network, Network) and network.preprocess is not None:
        return network.preprocess
    return foreign_preprocess(network, size=size)
