"""The runtimes that serve a network, behind one small interface: images in 0..1 in, logits out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn

from vitesse.deploy.metadata import Metadata
from vitesse.errors import VitesseError

Images = npt.NDArray[np.float32]  # (B, C, H, W), values in 0..1
Logits = npt.NDArray[np.float32]  # (B, classes)


class Runtime(Protocol):
    """Anything that computes logits from images."""

    def run(self, images: Images) -> Logits:
        """Compute the logits of a batch; the shapes and the range of the values are checked."""
        ...

    def bind(self, images: Images) -> Callable[[], object]:
        """A call that computes this one batch and returns when it is done: for timing, so nothing is checked in it."""
        ...


class OnnxRuntime:
    """An ONNX file in ONNX Runtime on the CPU.

    `metadata` is None for a file that Vitesse did not write; such a file can be run and timed, but nobody knows what
    its input means. `detects`: whether it is a detector, whose answers `OnnxDetector` reads. `threads` are those of one
    operation; None leaves it to the runtime. VitesseError where the file is missing or damaged.
    """

    def __init__(self, path: Path | str, *, threads: int | None = None) -> None:
        self.path = Path(path)
        self._session = session(self.path, threads)
        words = self._session.get_modelmeta().custom_metadata_map
        self.detects = "vitesse.detector" in words
        try:
            self.metadata = Metadata.from_props(words)
        except VitesseError as error:
            raise VitesseError(f"{self.path}: {error}") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
            found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
            raise VitesseError(f"{self.path} must take one float32 input (B, C, H, W), but it takes {found}.")
        self._input: str = inputs[0].name
        self._outputs: list[str] = [self._session.get_outputs()[0].name]
        self.shape: tuple[int | None, ...] = tuple(n if isinstance(n, int) else None for n in inputs[0].shape)

    def run(self, images: Images) -> Logits:
        """images float32 (B, C, H, W) in 0..1 -> logits (B, classes). VitesseError for another shape, type or range."""
        _check(images, self.shape, ranged=self.metadata is not None)
        logits: Logits = self._session.run(self._outputs, {self._input: images})[0]
        return logits

    def bind(self, images: Images) -> Callable[[], object]:
        """A call for timing."""
        _check(images, self.shape, ranged=self.metadata is not None)
        feed = {self._input: images}
        return lambda: self._session.run(self._outputs, feed)


class TorchRuntime:
    """A module in eager PyTorch, where its parameters are; it is given images as `run` gets them."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module if not module.training else copy.deepcopy(module).eval()
        tensors = [*module.parameters(), *module.buffers()]
        self._device = tensors[0].device if tensors else torch.device("cpu")

    def run(self, images: Images) -> Logits:
        """images float32 (B, C, H, W) in 0..1 -> logits (B, classes)."""
        _check(images, (None,) * 4, ranged=True)
        with torch.inference_mode():
            logits: Logits = self._module(self._tensor(images)).float().cpu().numpy()
        return logits

    def bind(self, images: Images) -> Callable[[], object]:
        """A call for timing: it waits for the accelerator, and leaves the transfer of the images out."""
        batch = self._tensor(images)

        def call() -> Tensor:
            with torch.inference_mode():
                logits: Tensor = self._module(batch)
            if batch.device.type != "cpu":
                torch.accelerator.synchronize(batch.device)
            return logits

        return call

    def _tensor(self, images: Images) -> Tensor:
        return torch.from_numpy(images).to(self._device)


def session(path: Path, threads: int | None) -> Any:
    if not path.is_file():
        raise VitesseError(f"{path} does not exist.")
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


def _check(images: Images, shape: tuple[int | None, ...], *, ranged: bool) -> None:
    fits = images.ndim == 4 and all(want in (None, have) for want, have in zip(shape, images.shape, strict=True))
    if not fits or images.dtype != np.float32 or not images.size:
        wanted = ", ".join(name if n is None else str(n) for name, n in zip("BCHW", shape, strict=True))
        raise VitesseError(f"Images must be float32 ({wanted}), but got {images.dtype} {images.shape}.")
    # Pixels of 0..255, or images that were normalised already, give wrong answers without any other sign.
    if ranged and not (images.min() >= -1e-3 and images.max() <= 1 + 1e-3):
        raise VitesseError(
            f"Images must hold values in 0..1, but got {images.min():.3g} to {images.max():.3g}. "
            "Divide pixels by 255, and do not normalise them: the network does."
        )
