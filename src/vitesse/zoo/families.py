"""What the published code of a family would build and count, by the family's name. No torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from vitesse.arch import Backbone
from vitesse.errors import VitesseError
from vitesse.zoo import autoformer, cream_settings

# Of the families whose published code runs one of many networks, what makes the value of one.
SUBNETS = {"autoformer": autoformer.subnet, "cream_supernet": cream_settings.subnet}


def published_arch(family: str, config: Mapping[str, Any], sampled: Mapping[str, Any]) -> Backbone:
    """The network that the published code runs for `sampled`, to be asked of `from_published(family, ...)`'s supernet.

    `sampled` of "autoformer" is {"layer_num", "embed_dim": [...], "num_heads": [...], "mlp_ratio": [...]}, one value for
    each layer; the bias of q, k, v is "packed", as the published slice has it. Of "cream_supernet" it is {"path": [[0], ...]},
    an operation for each layer, -1 where it is left out. VitesseError where it does not fit `config`.
    """
    require_family(family, SUBNETS)
    return SUBNETS[family](config, sampled)


def published_cost(family: str, config: Mapping[str, Any], sampled: Mapping[str, Any]) -> dict[str, int | float]:
    """{"params", "complexity"}: parameters and multiply-adds of `sampled` as the published code counts them.

    Its slips are kept, so that figures can be compared; `vitesse.arch.cost` counts what is really there.
    """
    require_family(family, ("autoformer",))
    return autoformer.counts(config, sampled)


def require_family(family: str, known: Collection[str]) -> None:
    """Raise VitesseError for a family that is not one of the `known` ones."""
    if family not in known:
        names = " or ".join(f'"{name}"' for name in known)
        raise VitesseError(f"The published family must be {names}, but got {family!r}.")
