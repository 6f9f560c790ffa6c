"""What is served: the runtime of a file, and everything that the file and its run folder say about it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitesse.deploy.answers import description
from vitesse.deploy.metadata import Metadata
from vitesse.deploy.onnx_runtime import OnnxRuntime
from vitesse.deploy.opening import opened
from vitesse.deploy.runtime import Runtime
from vitesse.deploy.serving import serve
from vitesse.deploy.torch_runtime import CompiledRuntime
from vitesse.errors import UsageError

CARD = "README.md"


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A network that can be served."""

    name: str
    runtime: Runtime
    about: Metadata
    readme: str | None  # the run's model card in Markdown, where it has one

    def card(self) -> dict[str, Any]:
        """The model card as plain JSON values."""
        return {
            "name": self.name,
            "classes": list(self.about.classes),
            "preprocess": self.about.preprocess.to_dict(),
            "architecture": None if self.about.arch_json is None else json.loads(self.about.arch_json),
            "vitesse": self.about.version,
            "readme": self.readme,
        }


def load_model(path: Path, *, threads: int | None) -> Model:
    """The network of a run folder, in the runtime that was found to be the fastest here, or an exported file.

    VitesseError where it is missing or damaged, UsageError where Vitesse did not write it, and for a detector.
    """
    file = opened(path, threads=threads)
    if isinstance(file, OnnxRuntime) and file.detects:
        raise UsageError(
            f"The service names classes, but {path} finds objects. Use `vitesse predict {path} IMAGE`, or in Python "
            "vitesse.deploy.detector_onnx.OnnxDetector."
        )
    about, runtime, card = description(file), serve(path, threads=threads) if path.is_dir() else file, path / CARD
    if isinstance(runtime, CompiledRuntime):
        runtime = file  # the other is compiled anew for each number of images that happen to come together
    return Model(
        name=path.resolve().name.removesuffix(path.suffix),
        runtime=runtime,
        about=about,
        readme=card.read_text(encoding="utf-8") if card.is_file() else None,
    )
