"""Which layer each parameter belongs to, for learning rates that fall from the head to the stem."""

from __future__ import annotations

from typing import Any

from vitesse.arch import Backbone


def layers_by_depth(arch: Backbone, *, within: str = "") -> dict[str, Any]:
    """timm's description of layers by depth: patterns of names, each with the place of its layer.

    A plain ViT: the stem, each block, the head. A hierarchical network as TinyViT was tuned: each block is a layer, the
    stem goes with the first one, what leads into a stage with the block before it, the head with the last one.
    `within` is the pattern of a prefix that all names have.
    """
    if len(arch.stages) == 1:
        return {
            "stem": rf"^{within}stem",
            "blocks": [(rf"^{within}stages\.(\d+)\.blocks\.(\d+)", None), (rf"^{within}head\.norm", (99999,))],
        }
    patterns: list[tuple[str, tuple[int, ...]]] = [(rf"^{within}stem\.", (0,))]
    layer = 0
    for s, stage in enumerate(arch.stages):
        patterns.append((rf"^{within}stages\.{s}\.down\.", (layer - 1,)))
        for b in range(stage.depth):
            patterns.append((rf"^{within}stages\.{s}\.blocks\.{b}\.", (layer,)))
            layer += 1
    return {"layers": [*patterns, (rf"^{within}head\.", (layer - 1,))]}
