"""What the published code of a family would build and count, by the family's name. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vitesse.arch import Backbone
from vitesse.errors import VitesseError
from vitesse.zoo import autoformer

SAMPLED = ("autoformer",)  # families whose published weights are a supernet's


def published_arch(family: str, config: Mapping[str, Any], sampled: Mapping[str, Any]) -> Backbone:
    """The network that the published code runs for `sampled`, to be asked of `from_published(family, ...)`'s supernet.

    `sampled` is {"layer_num", "embed_dim": [...], "num_heads": [...], "mlp_ratio": [...]}, one value for each layer.
    VitesseError where it does not fit `config`. The bias of q, k, v is "packed", as the published slice has it.
    """
    require_family(family, SAMPLED)
    return autoformer.subnet(config, sampled)


def published_cost(family: str, config: Mapping[str, Any], sampled: Mapping[str, Any]) -> dict[str, int | float]:
    """{"params", "complexity"}: parameters and multiply-adds of `sampled` as the published code counts them.

    Its slips are kept, so that figures can be compared; `vitesse.arch.cost` counts what is really there.
    """
    require_family(family, SAMPLED)
    return autoformer.counts(config, sampled)


def require_family(family: str, known: Iterable[str]) -> None:
    """Raise VitesseError for a family whose published form is not known here."""
    names = tuple(known)
    if family not in names:
        raise VitesseError(f"The published family must be one of {', '.join(names)}, but got {family!r}.")
