"""The teacher of a run: found and loaded, or made here; tuned to the data where it knows other classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timm.data.config import resolve_model_data_config
from torch import nn

from vitesse.arch import Backbone, to_json
from vitesse.data.preprocess import Preprocess
from vitesse.distill.foreign import is_timm_name, licence_of, timm_teacher
from vitesse.errors import VitesseError
from vitesse.nets import Network, build
from vitesse.runs.files import write_text
from vitesse.saved import load_network, save_network
from vitesse.shrink.design import teacher_arch
from vitesse.shrink.job import Job
from vitesse.tasks.classification import Teaching, plain
from vitesse.train.checkpoint import load_checkpoint, save_checkpoint
from vitesse.train.loop import Progress
from vitesse.zoo import from_timm

NETWORK = "teacher/model.safetensors"
ARCH = "teacher/arch.json"  # for the report
FOREIGN = "teacher/timm.pt"


class Teacher:
    """Who teaches. `network` may be any module that gives logits; `arch` is its value where it is a network of ours."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.network: nn.Module | None = None
        self.ready = False  # whether it knows the classes of the data already
        name = job.settings.teacher.model
        if name:
            self.network = teacher_named(name, say=job.voice.say)
            job.preprocess = preprocess_of(self.network, size=job.settings.data.size)

    @property
    def arch(self) -> Backbone | None:
        """The teacher's architecture, known before it is trained; None for a network that is not of ours."""
        if self.network is None:
            parts = self.job.parts
            return teacher_arch(parts.preprocess, classes=len(parts.classes), budget=self.job.settings.budget)
        if not isinstance(self.network, Network):
            return None
        self._fit_classes(self.network)
        return self.network.arch

    def train(self, progress: Progress) -> dict[str, Any]:
        """The stage: leaves the teacher, as good as it gets on these data, in the run folder."""
        job = self.job
        network = self.network
        if network is None:
            arch = self.arch
            assert arch is not None  # a teacher that is made here is ours
            torch.manual_seed(job.settings.seed)
            network = build(arch, drop_path=job.settings.teacher.train.drop_path)
        else:
            self._fit_classes(network)
        if not self.ready:
            given = job.settings.teacher
            settings = job.scaled(given.train if self.network is None else given.tune, offset=1)
            network = job.train(network, settings, stage="teacher", losses=plain(Teaching()), progress=progress)
        if job.main:
            self._save(network)
        name = job.settings.teacher.model
        return {"trained": not self.ready, "model": name, "licence": licence_of(name) if name else None}

    def load(self) -> nn.Module:
        """The teacher that the stage left, ready to teach."""
        if self.job.path(NETWORK).exists():
            return load_network(self.job.path(NETWORK)).eval()
        network = timm_teacher(self.job.settings.teacher.model, classes=len(self.job.parts.classes), pretrained=False)
        network.load_state_dict(load_checkpoint(self.job.path(FOREIGN), device=torch.device("cpu")))
        return network.eval()

    def _save(self, network: nn.Module) -> None:
        parts = self.job.parts
        if isinstance(network, Network):
            network.preprocess, network.class_names = parts.preprocess, parts.classes
            save_network(network, self.job.path(NETWORK))
            write_text(self.job.path(ARCH), to_json(network.arch) + "\n")
            return
        save_checkpoint(self.job.path(FOREIGN), network.state_dict())

    def _fit_classes(self, network: nn.Module) -> None:
        """Give the teacher a new classifier where it names other classes than the data have."""
        classes = self.job.parts.classes
        if isinstance(network, Network) and network.class_names == classes:
            self.ready = True
        elif not self.ready and getattr(network, "num_classes", None) != len(classes):
            torch.manual_seed(self.job.settings.seed)  # the new classifier is the same after a restart
            network.reset_classifier(len(classes))  # type: ignore[operator]


def teacher_named(name: str, *, say: Callable[[str], None]) -> nn.Module:
    """The network of that name: a run folder or file of ours, or a model of timm; VitesseError where there is none."""
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
        return timm_teacher(name)


def preprocess_of(network: nn.Module, *, size: int | None) -> Preprocess:
    """How pictures become what a teacher sees; size: of the picture's side, over what timm says of a network of its own."""
    if isinstance(network, Network) and network.preprocess is not None:
        return network.preprocess
    config = resolve_model_data_config(network)
    high, wide = config["input_size"][1:] if size is None else (size, size)
    return Preprocess(
        size=(high, wide),
        channels=config["input_size"][0],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        crop=config["crop_pct"],
    )
