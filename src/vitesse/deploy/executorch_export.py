"""A network as an ExecuTorch program, a .pte file, for phones: lowered to XNNPACK as far as it goes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from vitesse.deploy.executorch_runtime import DESCRIPTION
from vitesse.deploy.gate import BATCHES
from vitesse.deploy.metadata import Metadata
from vitesse.deploy.program_export import traced
from vitesse.deploy.quiet import quiet
from vitesse.deploy.runtime import require_runtime
from vitesse.deploy.served import Served, cause
from vitesse.errors import VitesseError


def draft_executorch(network: Served, path: Path, *, metadata: Metadata) -> float:
    """Write the program without any check; returns the share of its operations that XNNPACK computes.

    Its memory is planned when it is written, for batches up to 8. Its description is a method of its own.
    """
    require_runtime("executorch")
    with quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.devtools.backend_debug import get_delegation_info
        from executorch.exir import to_edge_transform_and_lower

    program = traced(network, metadata, largest=max(BATCHES))
    try:
        with quiet():
            # Of what a split gives ExecuTorch 1.5 fixes the batch; slices are the same, and free.
            program = program.run_decompositions(
                {torch.ops.aten.split_with_sizes.default: _slices, torch.ops.aten.split.Tensor: _even_slices}
            )
            lowered = to_edge_transform_and_lower(
                program,
                partitioner=[XnnpackPartitioner()],
                constant_methods={DESCRIPTION: json.dumps(metadata.to_props())},
            )
            about = get_delegation_info(lowered.exported_program().graph_module)
            path.write_bytes(lowered.to_executorch().buffer)
    except Exception as error:  # the exporter's errors share no class but this
        raise VitesseError(f"The network cannot be lowered for ExecuTorch: {cause(error)}") from error
    lent, kept = about.num_delegated_nodes, about.num_non_delegated_nodes
    return float(lent / max(1, lent + kept))


def _slices(x: Tensor, sizes: Sequence[int], dim: int = 0) -> list[Tensor]:
    ends = list(accumulate(sizes))
    return [x.narrow(dim, end - size, size) for end, size in zip(ends, sizes, strict=True)]


def _even_slices(x: Tensor, size: int, dim: int = 0) -> list[Tensor]:
    return [x.narrow(dim, at, min(size, x.shape[dim] - at)) for at in range(0, x.shape[dim], size)]
