"""`vitesse export`: a network as files that serve it, each checked against the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vitesse.cli.options import PrecisionOptions
from vitesse.errors import UsageError, VitesseError

if TYPE_CHECKING:
    from vitesse.cli.console import Speaker
    from vitesse.data import Parts, Preprocess
    from vitesse.deploy import ExportedFile, Proof
    from vitesse.deploy.opening import Target
    from vitesse.nets import Network

PROOF_IMAGES = 256


@dataclass(frozen=True, kw_only=True)
class Export(PrecisionOptions):
    """Write a network as a file that serves it, and prove on real images that it computes the same.

    Normalisation is part of the file, and so are the names of the classes; the network is folded. A file gets its name
    only when it agrees with the network at several batch sizes and is as accurate. A detector becomes an .onnx file for
    pictures of one size, proved to find what the network finds.

    Examples:
      vitesse export runs/digits --data digits
      vitesse export runs/photos --data photos/ --to onnx openvino torch
      vitesse export runs/photos/model.safetensors --data photos/ --to openvino --out served/photos.xml
      vitesse export runs/photos --data photos/ --int8 --bf16
      vitesse export runs/detector --data boxes/ --size 480 640
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder of a run, or a .safetensors file of Vitesse."""
    data: str
    """Images to prove it on: a folder of images, .tar shards, a saved dataset, or digits; for a detector a folder of COCO's."""
    to: tuple[Literal["onnx", "openvino", "executorch", "torch"], ...] = ("onnx",)
    """For ONNX Runtime (.onnx), OpenVINO (.xml), ExecuTorch on phones (.pte), PyTorch (a torch.export program, .pt2)."""
    out: Path | None = None
    """The file to write, where one is; beside the network, named like it, where none is given."""
    opset: int | None = None
    """The version of ONNX's operators; the exporter's own where none is given."""
    dynamic_size: bool = False
    """Leave height and width open (onnx, openvino), where the network learned no positions on the map."""
    size: tuple[int, int] | None = None
    """Height and width of the pictures that a detector's file takes; its shorter and longer side where none are given."""
    runtime: tuple[Literal["all", "onnxruntime", "openvino", "compile", "eager"], ...] = ()
    """In which runtimes smaller numbers are tried; ONNX Runtime and, where it is installed, OpenVINO, if none is named."""

    def run(self) -> None:
        """Do it."""
        from vitesse.cli.console import Speaker
        from vitesse.tasks.detection.saved import is_detector

        self._require_out()
        if is_detector(self.model):
            self._write_detector(Speaker())
        else:
            self._write_network(Speaker())

    def _write_network(self, speaker: Speaker) -> None:
        from vitesse.cli.console import result
        from vitesse.data import DataSettings, load_parts
        from vitesse.saved import load_network

        if self.size is not None:
            raise UsageError("--size is of a detector's file; a network that names classes has a size of its own.")
        able, network = self._able(speaker), load_network(self.model)
        if network.preprocess is None or not network.class_names:
            raise VitesseError(
                f"An export needs the names of the classes and how images are prepared, but {self.model} does not say it. "
                "Train it on your images first: vitesse shrink or vitesse train, with it as the teacher."
            )
        with speaker.stage("data") as progress:
            parts = load_parts(DataSettings(source=self.data), preprocess=network.preprocess, progress=progress)
        proof = _proof(parts, labelled=parts.classes == network.class_names)
        for to in able:
            with speaker.stage(f"export to {to}"):
                file = self._write(network, network.preprocess, to, proof)
            result(f"Written: {file.path} ({_about(file)}). It computes what the network computes:")
            result(file.gate.table())
            if to == "onnx" and (self.precisions or self.runtime):
                self._try_ways(network, file.path, parts, speaker)
            result(f"Next: vitesse predict {file.path} IMAGE, or vitesse bench {file.path}")

    def _write_detector(self, speaker: Speaker) -> None:
        from vitesse.cli.console import result
        from vitesse.data.coco import CocoSettings, load_coco
        from vitesse.deploy.opening import DETECTOR_FILE
        from vitesse.shrink.detector_file import export_detector_file, proof_pictures
        from vitesse.tasks.detection import load
        from vitesse.tasks.detection.settings import ExportedSettings

        if self.to != ("onnx",) or self.precisions or self.runtime or self.opset or self.dynamic_size:
            raise UsageError(
                "A detector is exported to onnx, in float32 and for one size. Leave --opset, --dynamic-size, --runtime and "
                "smaller numbers out."
            )
        if self.size is not None and min(self.size) < 1:
            raise UsageError(f"--size must be a height and a width of at least 1, but got {self.size}.")
        beside = self.model / DETECTOR_FILE if self.model.is_dir() else self.model.with_suffix(".onnx")
        path, (_, exam) = self.out or beside, load_coco(CocoSettings(source=self.data))
        with speaker.stage("export to onnx"):
            checks = export_detector_file(
                load(self.model),
                path,
                size=self.size,
                pictures=proof_pictures(exam),
                tolerance=ExportedSettings().tolerance,
            )
        result(f"Written: {path} ({path.stat().st_size / 1e6:.2f} MB). It finds what the network finds:")
        for one in checks:
            result(
                f"  batch {one.batch}: {one.detections} detections, {one.unmatched} without a like; scores of candidates "
                f"differ by up to {one.scores:.2e}"
            )
        result(f"Next: vitesse predict {path} IMAGE, or vitesse bench {path}")

    def _try_ways(self, network: Network, file: Path, parts: Parts, speaker: Speaker) -> None:
        from vitesse.cli.ways import try_exported
        from vitesse.deploy.evidence import gather

        labelled = parts.classes == network.class_names
        evidence = gather(parts, labelled=labelled, tolerance=self.tolerance)
        try_exported(network, file, evidence, runtimes=self.runtime, precisions=self.precisions, speaker=speaker)

    def _require_out(self) -> None:
        from vitesse.deploy.opening import SUFFIXES

        if (self.precisions or self.runtime) and "onnx" not in self.to:
            raise UsageError("Smaller numbers and runtimes are tried from the ONNX file. Add onnx to --to.")
        if not self.to or (self.out is not None and len(self.to) > 1):
            raise UsageError(
                f"--to names one format or, without --out, several, but got {len(self.to)} with --out {self.out}."
            )
        if self.out is not None and self.out.suffix != SUFFIXES[self.to[0]]:
            raise UsageError(f"--out must name an {SUFFIXES[self.to[0]]} file for {self.to[0]}, but got {self.out}.")

    def _able(self, speaker: Speaker) -> list[Target]:
        """The formats that can be written here; what is left out is said."""
        from vitesse.deploy import missing

        extras = {to: missing(to) for to in self.to if to == "openvino" or to == "executorch"}
        lacking = {to: reason for to, reason in extras.items() if reason is not None}
        able: list[Target] = [to for to in self.to if to not in lacking]
        if not able:
            raise UsageError(" ".join(lacking.values()))
        for to, reason in lacking.items():
            speaker.say(f"Not written for {to}. {reason}")
        return able

    def _write(self, network: Network, preprocess: Preprocess, to: Target, proof: Proof) -> ExportedFile:
        from vitesse.arch import to_json
        from vitesse.deploy import export
        from vitesse.deploy.opening import SUFFIXES
        from vitesse.saved import FILE

        beside = self.model / FILE if self.model.is_dir() else self.model
        return export(
            network,
            self.out or beside.with_suffix(SUFFIXES[to]),
            to=to,
            preprocess=preprocess,
            classes=network.class_names,
            arch_json=to_json(network.arch),
            proof=proof,
            opset=self.opset,
            dynamic_size=self.dynamic_size,
        )


def _about(file: ExportedFile) -> str:
    parts = [f"{file.bytes / 1e6:.2f} MB"]
    parts += [f"opset {file.opset}"] if file.opset is not None else []
    parts += [f"{file.delegated:.0%} of its operations by XNNPACK"] if file.delegated is not None else []
    parts += [f"images of any sides that are multiples of {file.steps}"] if file.steps is not None else []
    return ", ".join(parts)


def _proof(parts: Parts, *, labelled: bool) -> Proof:
    """Images of the data in 0..1, with their labels where the network knows these classes."""
    from vitesse.data import unnormalise
    from vitesse.deploy import Proof

    batch = next(parts.search.batches(PROOF_IMAGES))
    images = unnormalise(batch.images, parts.preprocess)  # (B, C, H, W)
    return Proof(images=images, labels=batch.labels if labelled else None)
