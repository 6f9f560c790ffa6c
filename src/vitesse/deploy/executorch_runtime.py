"""An ExecuTorch program, as phones run it, here on the CPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch

from vitesse.deploy.metadata import Metadata
from vitesse.deploy.quiet import quiet
from vitesse.deploy.runtime import Images, Logits, Shape, check_images, require_file, require_runtime
from vitesse.errors import VitesseError

DESCRIPTION = "vitesse"  # the method of the program that answers with its description


class ExecutorchRuntime:
    """A .pte file in ExecuTorch's interpreter, with the delegates that were chosen when it was written (XNNPACK).

    `threads` are the process's: runtimes of other numbers cannot be timed interleaved. The program has planned its memory
    for a number of images; a larger batch is computed in parts. UsageError where ExecuTorch is not installed,
    VitesseError where the file is missing, damaged or takes other images than (B, C, H, W).
    """

    name: ClassVar[str] = "ExecuTorch"

    def __init__(self, path: Path | str, *, threads: int | None = None) -> None:
        require_runtime("executorch")
        with quiet():
            from executorch.runtime import Runtime

        self.path, self._threads = Path(path), threads
        require_file(self.path)
        try:
            self._program = Runtime.get().load_program(self.path)
            self._method = self._program.load_method("forward")
        except Exception as error:  # the runtime's own errors share no class but this
            raise VitesseError(f"{self.path} cannot be read as an ExecuTorch program: {error}") from error
        described = DESCRIPTION in self._program.method_names
        props = json.loads(self._program.load_method(DESCRIPTION).execute([])[0]) if described else {}
        self.metadata = Metadata.of_file(self.path, props)
        about = self._method.metadata
        sizes = [tuple(about.input_tensor_meta(place).sizes()) for place in range(about.num_inputs())]
        if len(sizes) != 1 or len(sizes[0]) != 4:
            raise VitesseError(f"{self.path} must take one input (B, C, H, W), but it takes {sizes}.")
        self._planned = sizes[0][0]
        self.shape: Shape = (None, *sizes[0][1:])

    def run(self, images: Images) -> Logits:
        """images float32 (B, C, H, W) in 0..1 -> logits (B, classes). VitesseError for another shape, type or range."""
        logits: Logits = torch.cat(self._bound(images)()).numpy()
        return logits

    def bind(self, images: Images) -> Callable[[], object]:
        """A call for timing."""
        return self._bound(images)

    def _bound(self, images: Images) -> Callable[[], list[torch.Tensor]]:
        check_images(images, self.shape, ranged=self.metadata is not None)
        _use(self._threads)
        parts, execute = torch.from_numpy(images).split(self._planned), self._method.execute
        return lambda: [execute([part])[0] for part in parts]


def _use(threads: int | None) -> None:
    """Let the process's pool have so many threads."""
    from executorch.extension.pybindings.portable_lib import _threadpool_get_thread_count, _unsafe_reset_threadpool

    if threads is not None and _threadpool_get_thread_count() != threads:
        _unsafe_reset_threadpool(threads)  # "unsafe" where something runs meanwhile; nothing does between two calls
