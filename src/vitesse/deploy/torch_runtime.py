"""A module in PyTorch: eager, compiled, or as a saved program."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vitesse.deploy.metadata import Metadata
from vitesse.deploy.runtime import Images, Logits, Shape, check_images, require_file, require_runtime
from vitesse.errors import VitesseError

Precision = Literal["fp32", "bf16"]
Forward = Callable[[Tensor], Tensor]


class TorchRuntime:
    """A module in eager PyTorch, where its parameters are; it is given images as `run` gets them.

    In "bf16" matrices and convolutions compute in bfloat16 and the rest as autocast has it. `threads` holds while this
    runtime computes; None leaves PyTorch's number as it is. The module itself stays as it is.
    """

    def __init__(self, module: nn.Module, *, precision: Precision = "fp32", threads: int | None = None) -> None:
        self._half, self._threads = precision == "bf16", threads
        self._module = copy.deepcopy(module).eval() if module.training or self._half else module
        for layer in self._module.modules() if self._half else ():
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                layer.to(torch.bfloat16)  # else autocast would do it anew in every call
        tensors = [*module.parameters(), *module.buffers()]
        self._device = tensors[0].device if tensors else torch.device("cpu")
        self._shape: Shape = (None,) * 4
        self._ranged = True

    def run(self, images: Images) -> Logits:
        """images float32 (B, C, H, W) in 0..1 -> logits (B, classes)."""
        logits: Logits = self._bound(images)().float().cpu().numpy()
        return logits

    def bind(self, images: Images) -> Callable[[], object]:
        """A call for timing: it waits for the accelerator, and leaves the transfer of the images out."""
        return self._bound(images)

    def _bound(self, images: Images) -> Callable[[], Tensor]:
        check_images(images, self._shape, ranged=self._ranged)
        batch = torch.from_numpy(images).to(self._device)
        forward, kind, half = self._forward(batch), batch.device.type, self._half

        def call() -> Tensor:
            with (
                _threads(self._threads),
                torch.inference_mode(),
                torch.autocast(kind, torch.bfloat16, enabled=half, cache_enabled=False),
            ):
                logits = forward(batch)
            if kind != "cpu":
                torch.accelerator.synchronize(batch.device)
            return logits

        return call

    def _forward(self, batch: Tensor) -> Forward:
        """What computes batches of this shape."""
        return self._module


class CompiledRuntime(TorchRuntime):
    """A module compiled by `torch.compile`, anew for each shape of images, in the first call of that shape.

    UsageError where there is no compiler, VitesseError where the module cannot be compiled as one graph.
    """

    def __init__(self, module: nn.Module, *, precision: Precision = "fp32", threads: int | None = None) -> None:
        require_runtime("compile")
        super().__init__(module, precision=precision, threads=threads)
        self._compiled: dict[tuple[int, ...], Forward] = {}

    def _forward(self, batch: Tensor) -> Forward:
        shape = tuple(batch.shape)
        if shape not in self._compiled:
            # Frozen weights are packed for the arithmetic of bfloat16; float32's is no faster with them on a CPU.
            options: dict[str, Any] | None = {"freezing": True} if self._half and batch.device.type == "cpu" else None
            own = _of_its_own(self._module)
            self._compiled[shape] = torch.compile(own, fullgraph=True, dynamic=False, options=options)
        return self._compiled[shape]

    def _bound(self, images: Images) -> Callable[[], Tensor]:
        call = super()._bound(images)
        try:
            call()  # compiles, so that no call that is timed does
        except Exception as error:  # the compiler wraps whatever stopped it
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise VitesseError(f"The network cannot be compiled: {reason}") from error
        return call


class ProgramRuntime(TorchRuntime):
    """A saved program of `torch.export`, a .pt2 file, in eager PyTorch.

    Only programs are loaded that hold data alone: VitesseError for one that would run code on being loaded, and for one
    that is missing or damaged. `metadata` and `shape` are as those of an ONNX file.
    """

    name: ClassVar[str] = "PyTorch"

    def __init__(self, path: Path | str, *, threads: int | None = None) -> None:
        self.path = Path(path)
        require_file(self.path)
        props = dict.fromkeys(Metadata.KEYS, "")
        try:
            _require_data(self.path)
            program = torch.export.load(self.path, extra_files=props)
        except (zipfile.BadZipFile, RuntimeError, KeyError, ValueError, AssertionError) as error:
            raise VitesseError(f"{self.path} cannot be read as a program of PyTorch: {error}") from error
        super().__init__(nn.Identity(), threads=threads)
        self._program = program.module()
        self.metadata = Metadata.of_file(self.path, {key: value for key, value in props.items() if value})
        self.shape: Shape = _shape(program, self.path)
        self._shape, self._ranged = self.shape, self.metadata is not None

    def _forward(self, batch: Tensor) -> Forward:
        return self._program


def computes_bf16() -> bool:
    """Whether the processor may compute in bfloat16; one that has AVX2 and nothing later does not."""
    return torch.backends.cpu.get_cpu_capability() != "AVX2"


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """PyTorch's number of threads while this is open; takes less than a microsecond."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _of_its_own(module: nn.Module) -> Forward:
    """The module as a function whose code is no other's: the compiler limits how often it compiles one code."""

    def forward(images: Tensor) -> Tensor:
        logits: Tensor = module(images)
        return logits

    forward.__code__ = forward.__code__.replace()
    return forward


def _require_data(path: Path) -> None:
    """VitesseError where loading the program would unpickle anything but tensors."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith("_config.json"):
                entries = json.loads(archive.read(name))["config"].values()
                pickled = any(entry["use_pickle"] for entry in entries)
            else:
                pickled = name.endswith(".pt") and not _is_data(archive.read(name))
            if pickled:
                raise VitesseError(f"{path} holds pickled objects ({name}), which may run any code; it is not loaded.")


def _is_data(content: bytes) -> bool:
    import pickle

    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except pickle.UnpicklingError:
        return False
    return True


def _shape(program: Any, path: Path) -> Shape:
    """What the one input of a program takes."""
    names = program.graph_signature.user_inputs
    found = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(found) != 1 or found[0].ndim != 4 or found[0].dtype != torch.float32:
        kinds = ", ".join(f"{one.dtype} {tuple(one.shape)}" for one in found)
        raise VitesseError(f"{path} must take one float32 input (B, C, H, W), but it takes {kinds}.")
    return tuple(n if isinstance(n, int) else None for n in found[0].shape)
