"""A network as a saved program of `torch.export`, a .pt2 file: for PyTorch without the code that made the network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.export import ExportedProgram

from vitesse.deploy.metadata import Metadata
from vitesse.deploy.quiet import quiet
from vitesse.deploy.served import Served, cause, example
from vitesse.errors import VitesseError


def draft_program(network: Served, path: Path, *, metadata: Metadata) -> None:
    """Write the program without any check; its batch is free, its description in its extra files."""
    program = traced(network, metadata)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # source lines and paths of the machine that it ran on
    with quiet():
        torch.export.save(program, path, extra_files=metadata.to_props())


def traced(network: Served, metadata: Metadata, *, largest: int | None = None) -> ExportedProgram:
    """The network as a program of any batch up to `largest`. VitesseError where it cannot be one."""
    images, free = example(network, metadata)
    free = free if largest is None else {0: torch.export.Dim("batch", min=1, max=largest)}
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(network, (images,), dynamic_shapes=(free,))
    except Exception as error:  # the exporter wraps whatever the network raised
        raise VitesseError(f"The network cannot be exported as a program: {cause(error)}") from error
