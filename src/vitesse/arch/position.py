"""Relative positions as values: what attention may add for where two tokens lie to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vitesse.arch.choice import Options, among, every, options, require
from vitesse.arch.operation import Grid

SIDES = {"q": "query", "k": "key", "v": "value"}


@dataclass(frozen=True, kw_only=True, slots=True)
class RelativePosition:
    """Relative position as a row table plus a column table (AutoFormer, section 3; Shaw et al. 2018 in two dimensions).

    Distances beyond `reach` count as `reach`. Pairs with an extra token (class) share one entry of their own.
    `on` says what the vectors join: the keys ("k"), the values ("v") or both ("kv").
    """

    reach: int = 14
    on: Literal["k", "v", "kv"] = "kv"

    def __post_init__(self) -> None:
        require(
            self,
            reach=(every(self.reach, int, 1), "must be an integer of at least 1"),
            on=(among(self.on, "k", "v", "kv"), 'must be "k", "v" or "kv"'),
        )

    @property
    def sides(self) -> tuple[str, ...]:
        """The names of what it joins: "key", "value" or both."""
        return tuple(SIDES[side] for side in self.on)

    def axes(self) -> dict[str, str]:
        # Pairs with an extra token use the sum of two vectors, one of each table's, as published.
        tables = {"rows": "reach, head_dim", "columns": "reach, head_dim", "extra": "table, head_dim"}
        return {f"{side}_{table}": axes for side in self.sides for table, axes in tables.items()}

    def sizes(self) -> dict[str, int]:
        return {"reach": 2 * self.reach + 1, "table": 2}

    def macs(self, width: int, grid: Grid) -> int:
        # By definition each query meets a relative vector for each key: as many products as the scores themselves.
        return len(self.sides) * grid.tokens**2 * width

    def working_set(self, heads: int, grid: Grid) -> int:
        return 0  # fused attention makes nothing that is as large as the scores, which are counted there


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRelativePosition:
    """Image relative position encoding (iRPE; Wu et al., ICCV 2021, arXiv 2107.14222).

    The offset of two patches, query minus key, falls into a bucket: distances up to `alpha` each into their own, farther
    ones ever coarser (logarithmic, `gamma` says how fast) up to the last one, int(beta). `method`: "product" has a bucket
    for each pair of row and column bucket, "cross" adds a row table and a column table, "euclidean" takes the rounded
    distance, "quantization" its square (as the published code, which does not quantize).

    `mode`: a bucket holds a vector, which meets the queries, keys or probabilities ("contextual"), or one number, which
    is added to the scores unscaled ("bias"). `on` names whose relative positions are learned: "k" meets the queries, "q"
    the keys, "v" the probabilities; any two or all three in the order q, k, v. `shared` tables serve all heads.
    `extra`: there is one more entry, for every pair that holds an extra token (class, distillation), however many.

    The lower half of the tables of "euclidean" and "quantization" is never used, as no distance is negative; it is kept
    so that parameters are those published.
    """

    method: Literal["product", "euclidean", "quantization", "cross"] = "product"
    mode: Literal["contextual", "bias"] = "contextual"
    shared: bool = True
    on: Literal["q", "k", "v", "qk", "qv", "kv", "qkv"] = "k"
    alpha: float = 1.9
    beta: float = 3.8
    gamma: float = 15.2
    extra: bool = True

    def __post_init__(self) -> None:
        known = ("product", "euclidean", "quantization", "cross")
        number = "must be a number between 0.001 and a million"
        require(
            self,
            method=(among(self.method, *known), f"must be {', '.join(known[:-1])} or {known[-1]}"),
            mode=(among(self.mode, "contextual", "bias"), 'must be "contextual" or "bias"'),
            shared=(among(self.shared, True, False), "must be True or False"),
            on=(
                among(self.on, "q", "k", "v", "qk", "qv", "kv", "qkv"),
                "must be q, k, v in this order, or some of them",
            ),
            alpha=(every(self.alpha, (int, float), 1e-3, 1e6), number),
            beta=(every(self.beta, (int, float), 1e-3, 1e6), number),
            gamma=(every(self.gamma, (int, float), 1e-3, 1e6), number),
            extra=(among(self.extra, True, False), "must be True or False"),
        )
        alphas, betas, gammas = options(self.alpha), options(self.beta), options(self.gamma)
        if max(alphas) > min(betas) or max(alphas) >= min(gammas):
            raise ValueError(
                f"ImageRelativePosition needs alpha <= beta and alpha < gamma, but got alpha={self.alpha!r}, "
                f"beta={self.beta!r}, gamma={self.gamma!r}. The published ones are 1 : 2 : 8."
            )
        if "bias" in options(self.mode) and any("v" in on for on in options(self.on)):
            raise ValueError(
                f'ImageRelativePosition(mode="bias") joins queries and keys only, but got on={self.on!r}. '
                'Take mode="contextual", or leave the v out.'
            )
        for name, value in (("alpha", alphas), ("beta", betas), ("gamma", gammas)):
            # One form for one value: 2 and 2.0 are equal, so they must be written alike too.
            open_ = isinstance(getattr(self, name), Options)
            plain = tuple(map(float, value))
            object.__setattr__(self, name, Options(plain) if open_ else plain[0])

    @property
    def sides(self) -> tuple[str, ...]:
        """The names of what it joins, of "query", "key", "value"."""
        return tuple(SIDES[side] for side in self.on)

    @property
    def reach(self) -> int:
        """The last bucket: its number, without a sign."""
        return int(self.beta)

    @property
    def buckets(self) -> int:
        """How many entries all tables of one side have together, those never used and the one of extra tokens included."""
        line = 2 * self.reach + 1
        if self.method == "cross":
            return 2 * (line + self.extra)
        return (line**2 if self.method == "product" else line) + self.extra

    def axes(self) -> dict[str, str]:
        tables = {"product": {"table": "reach, reach"}, "cross": {"rows": "reach", "columns": "reach"}}
        found = tables.get(self.method, {"table": "reach"}) | ({"extra": "table"} if self.extra else {})
        head = "" if self.shared else "heads, "
        tail = ", head_dim" if self.mode == "contextual" else ""
        return {f"{side}_{table}": f"{head}{axes}{tail}" for side in self.sides for table, axes in found.items()}

    def sizes(self) -> dict[str, int]:
        # The sum of two entries, one of each table's, stands for pairs with an extra token where there are two tables.
        return {"reach": 2 * self.reach + 1, "table": 2 if self.method == "cross" else 1}

    def macs(self, width: int, grid: Grid) -> int:
        """As the published code multiplies, so that figures compare: width is heads times head_dim.

        Queries and keys: each token with every bucket, N * width * buckets. Values: each pair of tokens with a vector,
        N^2 * width, once for each table. Ours needs less: half of the buckets of "euclidean" and "quantization", for values
        N * width * buckets, and for "cross" N * width * (rows + columns) on each side. A bias needs none.
        """
        if self.mode == "bias":
            return 0
        scores = sum(side != "value" for side in self.sides) * grid.tokens * width * self.buckets
        tables = 2 if self.method == "cross" else 1
        return scores + ("value" in self.sides) * grid.tokens**2 * width * tables

    def working_set(self, heads: int, grid: Grid) -> int:
        """What is added to the scores, and each token's products with the buckets: both alive beside the scores."""
        if self.mode == "bias":
            return grid.tokens**2 * (1 if self.shared else heads)
        if self.method == "cross":
            return heads * grid.tokens * len(self.sides) * (grid.rows + grid.columns + 1)
        return heads * grid.tokens * (grid.tokens + self.buckets)
