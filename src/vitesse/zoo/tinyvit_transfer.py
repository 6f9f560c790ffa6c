"""From one set of classes to another, as TinyViT does it before it is tuned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vitesse.errors import VitesseError
from vitesse.nets import Network

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
