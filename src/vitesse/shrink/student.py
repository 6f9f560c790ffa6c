"""A student by name, and fitted to the data: a value to start from nothing, or a network to start from its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from vitesse.arch import Arch
from vitesse.distill.foreign import is_timm_name
from vitesse.errors import UsageError
from vitesse.nets import Network
from vitesse.saved import load_network
from vitesse.shrink.design import fitted
from vitesse.shrink.job import Job
from vitesse.zoo import arch_named, from_timm
from vitesse.zoo.published import MODELS
from vitesse.zoo.resolution import at_resolution

Student = str | Arch | Network


def student_named(name: str) -> Arch | Network:
    """A student by name: a run folder or a file of weights, a JSON file of an architecture, a published model (from
    nothing), or a plain ViT of timm with its weights.

    A name that both know is the published model; a tag asks for timm's weights (deit_tiny_patch16_224.fb_in1k).
    """
    path = Path(name)
    if path.is_dir() or (path.is_file() and path.suffix != ".json"):
        return load_network(path)
    if path.is_file() or name in {model.name for model in MODELS} or not is_timm_name(name):
        return arch_named(name)
    return from_timm(name)


class Starting:
    """The student of a run: `network` where it has weights to start from. To be made before the data are read.

    Where the settings ask for images of another size than the network's, what it learned by place is interpolated.
    """

    def __init__(self, job: Job, student: Student) -> None:
        self.job = job
        self.found = student_named(student) if isinstance(student, str) else student
        side = job.settings.data.size
        if isinstance(self.found, Network) and side is not None and self.found.arch.stem.image != (side, side):
            self.found = at_resolution(self.found, (side, side))
        self.network = self.found if isinstance(self.found, Network) else None
        if self.network is not None and self.network.preprocess is not None and job.store is None:
            job.preprocess = self.network.preprocess

    def arch(self) -> Arch:
        """Its value for these images and classes; a network gets a new classifier where it names other classes."""
        parts = self.job.parts
        if not isinstance(self.found, Network):
            return fitted(self.found, parts.preprocess, classes=len(parts.classes))
        if self.found.class_names != parts.classes or not parts.classes:
            torch.manual_seed(self.job.settings.seed)  # the new classifier is the same after a restart
            self.found.reset_classifier(len(parts.classes))
        stem = self.found.arch.stem
        if (stem.image, stem.channels) != (parts.preprocess.size, parts.preprocess.channels):
            raise UsageError(
                f"The student sees images of {stem.image} pixels and {stem.channels} channels, but the data have "
                f"{parts.preprocess.size} and {parts.preprocess.channels}. Set data.size and data.channels so."
            )
        arch: Arch = self.found.arch
        return replace(arch, head=replace(arch.head, classes=len(parts.classes)))
