"""The one door to Accelerate: device, precision and processes."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import Accelerator as Accelerator
from accelerate.utils import InitProcessGroupKwargs, gather_object
from torch import Tensor, nn

T = TypeVar("T")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # as malloc.h numbers them


def processes() -> Accelerator:
    """This process's device; under `torchrun` or `accelerate launch`, one of many.

    One process may work alone for hours (a search) while the others wait for it, so they wait for long.
    """
    # Told so, Accelerate joins processes without a GPU too (by gloo); else each would take itself for the only one.
    alone = not torch.accelerator.is_available()
    accelerator = Accelerator(cpu=alone, kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=7))])
    if accelerator.device.type == "cpu":
        keep_memory()
    return accelerator


def keep_memory() -> None:
    """Have the C library keep the memory of large tensors instead of handing it back and fetching it anew each step.

    On a CPU the page faults of big temporaries take a good part of a training step. Where the library is not glibc,
    nothing happens.
    """
    keep = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if keep is not None:
        keep(_M_MMAP_THRESHOLD, 32 * 2**20)  # the most that glibc takes
        keep(_M_TRIM_THRESHOLD, 2**31 - 1)


def autocast(precision: str, accelerator: Accelerator) -> torch.autocast:
    """The context in which a forward pass runs: float32, or bfloat16 where it is safe.

    Accelerate's own knows one precision for the whole program; here each training has its own.
    """
    return torch.autocast(accelerator.device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def average_gradients(module: nn.Module, accelerator: Accelerator) -> None:
    """Average the gradients over all processes, once a step, after every backward pass of that step.

    All processes train the same subnet, so that the same parameters have a gradient everywhere. Wrapping the network
    for automatic averaging instead would lose gradients of blocks that only the first of several passes used.
    """
    if accelerator.num_processes == 1:
        return
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= accelerator.num_processes
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def total(values: Iterable[float], accelerator: Accelerator) -> list[float]:
    """The sum of each value over all processes."""
    summed: Tensor = accelerator.reduce(
        torch.tensor(list(values), dtype=torch.float64, device=accelerator.device), reduction="sum"
    )
    return [float(value) for value in summed]


def gathered(values: list[T], accelerator: Accelerator) -> list[T]:
    """The values of all processes, in the order of the processes."""
    if accelerator.num_processes == 1:
        return values
    found: list[T] = gather_object(values)
    return found
