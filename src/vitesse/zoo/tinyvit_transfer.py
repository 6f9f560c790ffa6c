"""From one set of classes to another, and from one resolution to another, as TinyViT does it before it is tuned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from vitesse.arch import Backbone, WindowAttention, buffers, parameters
from vitesse.errors import VitesseError
from vitesse.nets import Network, build
from vitesse.weights.slice import lengths

UNMAPPED = -1


def class_map(known: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """For each wanted class its place among the known ones, -1 where it is not among them.

    Both are names (WordNet ids) in the order of the outputs; the published networks for ImageNet-22k have them sorted.
    """
    places = {name: place for place, name in enumerate(known)}
    return [places.get(name, UNMAPPED) for name in wanted]


def read_class_map(path: Path | str) -> list[int]:
    """A map in a file, one place a line; VitesseError where a line is no integer."""
    try:
        return [int(line) for line in Path(path).read_text(encoding="utf-8").split()]
    except (OSError, ValueError) as error:
        raise VitesseError(f"A class map holds one integer a line, but {path} cannot be read so: {error}") from error


def mapped_head(network: Network, places: Sequence[int]) -> Network:
    """`network` for the classes of `places`, in place: each gets the classifier's row of its old class.

    A class without one gets the mean of all rows that were taken, to begin with something. Published for tuning the
    networks of ImageNet-22k to ImageNet-1k. Gives the network back.
    """
    _check(places, network.num_classes)
    old = network.get_classifier()
    weight, bias = (getattr(old, part).detach() for part in ("weight", "bias"))
    network.reset_classifier(len(places))
    new = network.get_classifier()
    with torch.no_grad():
        for part, rows in (("weight", weight), ("bias", bias)):
            getattr(new, part).copy_(_gathered(rows, places, missing=rows[_taken(places)].mean(0)))
    return network


def mapped_logits(logits: Tensor, places: Sequence[int]) -> Tensor:
    """Logits (B, known) to logits (B, wanted), 0 for a class that is not known: how the published code examines a
    network of ImageNet-22k on ImageNet-1k without tuning it."""
    _check(places, logits.shape[-1])
    return _gathered(logits.T, places, missing=logits.new_zeros(len(logits))).T


def with_windows(network: Network, arch: Backbone) -> Network:
    """The network of `arch`, which differs from `network`'s in image and windows alone, in the same mode.

    Tables of biases are interpolated (bicubic), as the published code does for another resolution. VitesseError where
    anything else differs.
    """
    state = network.state_dict()
    shapes = {name: lengths(shape) for name, shape in (parameters(arch) | buffers(arch)).items()}
    resized = {
        name: _resized(tensor, shapes[name]) if name.endswith(".offset_bias") and name in shapes else tensor
        for name, tensor in state.items()
    }
    if shapes != {name: tuple(tensor.shape) for name, tensor in resized.items()} or not _alike(network.arch, arch):
        raise VitesseError("The other network may differ in its image and its windows alone, but it differs in more.")
    other = build(arch).to(next(network.parameters()))
    other.load_state_dict(resized)
    other.class_names = network.class_names
    if network.preprocess is not None:
        other.preprocess = replace(network.preprocess, size=arch.stem.image)
    return other.train(network.training)


def _resized(table: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A table (heads, window * window) for another window."""
    old, new = (round(length**0.5) for length in (table.shape[1], shape[1]))
    if old == new:
        return table
    grid = table.float().unflatten(1, (old, old))[None]  # (1, heads, window, window)
    resized = functional.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return resized[0].flatten(1).to(table.dtype)


def _alike(one: Backbone, other: Backbone) -> bool:
    """Whether two networks differ in image and windows alone."""

    def bare(arch: Backbone) -> Backbone:
        blocks = [
            tuple(
                type(block)(*(replace(b, window=1) if isinstance(b, WindowAttention) else b for b in block.branches))
                for block in stage.blocks
            )
            for stage in arch.stages
        ]
        stages = tuple(replace(stage, block=block) for stage, block in zip(arch.stages, blocks, strict=True))
        return replace(arch, stages=stages, stem=replace(arch.stem, image=one.stem.image))

    return bare(one) == bare(other)


def _check(places: Sequence[int], known: int) -> None:
    wrong = [place for place in places if not UNMAPPED <= place < known]
    if wrong or all(place == UNMAPPED for place in places):
        raise VitesseError(
            f"A class map names places from 0 to {known - 1}, or {UNMAPPED} for none, and at least one place, but got "
            f"{wrong[:5] or list(places)[:5]}."
        )


def _taken(places: Sequence[int]) -> Tensor:
    return torch.tensor([place for place in places if place != UNMAPPED])


def _gathered(rows: Tensor, places: Sequence[int], *, missing: Tensor) -> Tensor:
    """Rows (known, ...) at `places`, `missing` where there is none."""
    found = torch.tensor([place != UNMAPPED for place in places], device=rows.device)
    index = torch.tensor([max(place, 0) for place in places], device=rows.device)
    taken = rows[index]
    return torch.where(found.view(-1, *[1] * (rows.ndim - 1)), taken, missing)
