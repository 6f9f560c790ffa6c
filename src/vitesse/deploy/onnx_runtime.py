"""An ONNX file in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vitesse.deploy.metadata import Metadata
from vitesse.deploy.runtime import Images, Logits, Shape, check_images, require_file
from vitesse.errors import VitesseError

DETECTOR = "vitesse.detector"  # the entry of a file's description by which `OnnxDetector` reads it


class OnnxRuntime:
    """An ONNX file in ONNX Runtime on the CPU.

    `metadata` is None for a file that Vitesse did not write; such a file can be run and timed, but nobody knows what
    its input means. `detects`: whether it is a detector's, which is timed here and read by `OnnxDetector`. `threads` are
    those of one operation; None leaves it to the runtime. VitesseError where the file is missing or damaged.
    """

    name: ClassVar[str] = "ONNX Runtime"

    def __init__(self, path: Path | str, *, threads: int | None = None) -> None:
        self.path = Path(path)
        self._session = session(self.path, threads)
        words = self._session.get_modelmeta().custom_metadata_map
        self.metadata, self.detects = Metadata.of_file(self.path, words), DETECTOR in words
        inputs = self._session.get_inputs()
        if (len(inputs) != 1 and not self.detects) or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
            found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
            raise VitesseError(f"{self.path} must take one float32 input (B, C, H, W), but it takes {found}.")
        self._input: str = inputs[0].name
        self._sized = len(inputs) > 1
        outputs = self._session.get_outputs()
        self._outputs: list[str] = [one.name for one in (outputs if self.detects else outputs[:1])]
        self.shape: Shape = tuple(n if isinstance(n, int) else None for n in inputs[0].shape)

    def run(self, images: Images) -> Logits:
        """images float32 (B, C, H, W) in 0..1 -> logits (B, classes). VitesseError for another shape, type or range,
        and for a detector's file."""
        if self.detects:
            raise VitesseError(f"{self.path} finds objects and gives no logits. Read it with `vitesse predict`.")
        check_images(images, self.shape, ranged=self.metadata is not None)
        logits: Logits = self._session.run(self._outputs, {self._input: images})[0]
        return logits

    def bind(self, images: Images) -> Callable[[], object]:
        """A call for timing; pictures that a detector is given fill its images."""
        check_images(images, self.shape, ranged=self.metadata is not None)
        feed: dict[str, Any] = {self._input: images}
        if self._sized:
            feed["sizes"] = np.full((len(images), 2), images.shape[-2:], np.float32)
        return lambda: self._session.run(self._outputs, feed)


def session(path: Path, threads: int | None) -> Any:
    """A session of ONNX Runtime on the CPU; VitesseError where the file is missing or damaged."""
    import onnxruntime  # slow to import, and not needed to load a network

    require_file(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    if threads is not None:
        options.intra_op_num_threads = threads
    # Threads that spin after a run would take the cores from the next model of an interleaved timing.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own errors share no class but this
        raise VitesseError(f"{path} cannot be read as an ONNX model; it may be cut off or damaged. {error}") from error
