"""`vitesse export`: a network as ONNX, checked against itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vitesse.cli.options import PrecisionOptions
from vitesse.errors import UsageError, VitesseError

if TYPE_CHECKING:
    from vitesse.cli.console import Speaker
    from vitesse.data import Preprocess
    from vitesse.deploy import Proof

PROOF_IMAGES = 256


@dataclass(frozen=True, kw_only=True)
class Export(PrecisionOptions):
    """Write a network as one ONNX file, and prove on real images that it computes the same.

    Normalisation is part of the file, and so are the names of the classes. It gets its name only when it agrees with the
    network at several batch sizes.

    Examples:
      vitesse export runs/digits --data digits --out digits.onnx
      vitesse export runs/photos/model.safetensors --data photos/ --out photos.onnx
      vitesse export runs/photos --data photos/ --out runs/photos/model.onnx --int8 --bf16
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder of a run, or a .safetensors file of Vitesse."""
    out: Path
    """The .onnx file to write."""
    data: str
    """Images to prove it on: a folder of images, .tar shards, a saved dataset, or digits."""
    opset: int | None = None
    """The version of ONNX's operators; the exporter's own where none is given."""
    runtime: tuple[Literal["all", "onnxruntime", "openvino", "compile", "eager"], ...] = ()
    """In which runtimes smaller numbers are tried; ONNX Runtime and, where it is installed, OpenVINO, if none is named."""

    def run(self) -> None:
        """Do it."""
        if self.out.suffix != ".onnx":
            raise UsageError(f"--out must name an .onnx file, but got {self.out}.")
        from vitesse.arch import to_json
        from vitesse.cli.console import Speaker, result
        from vitesse.cli.ways import try_exported
        from vitesse.deploy import export_onnx
        from vitesse.saved import load_network

        network, speaker = load_network(self.model), Speaker()
        if network.preprocess is None or not network.class_names:
            raise VitesseError(
                f"An export needs the names of the classes and how images are prepared, but {self.model} does not say it. "
                "Train it on your images first: vitesse shrink or vitesse train, with it as the teacher."
            )
        proof = _proof(self.data, network.preprocess, classes=network.class_names, speaker=speaker)
        with speaker.stage("export"):
            file = export_onnx(
                network,
                self.out,
                preprocess=network.preprocess,
                classes=network.class_names,
                arch_json=to_json(network.arch),
                proof=proof,
                opset=self.opset,
            )
        result(
            f"Written: {file.path} ({file.bytes / 1e6:.2f} MB, opset {file.opset}). It computes what the network computes:"
        )
        result(file.gate.table())
        if self.precisions or self.runtime:
            try_exported(
                network,
                file.path,
                data=self.data,
                runtimes=self.runtime,
                precisions=self.precisions,
                tolerance=self.tolerance,
                speaker=speaker,
            )
        result(f"Next: vitesse predict {self.out} IMAGE, or vitesse bench {self.out}")


def _proof(source: str, preprocess: Preprocess, *, classes: tuple[str, ...], speaker: Speaker) -> Proof:
    """Images of the data in 0..1, with labels where they are of the classes that the network knows."""
    from vitesse.data import DataSettings, load_parts, unnormalise
    from vitesse.deploy import Proof

    with speaker.stage("data") as progress:
        parts = load_parts(DataSettings(source=source), preprocess=preprocess, progress=progress)
    batch = next(parts.search.batches(PROOF_IMAGES))
    images = unnormalise(batch.images, preprocess)  # (B, C, H, W)
    return Proof(images=images, labels=batch.labels if classes == parts.classes else None)
