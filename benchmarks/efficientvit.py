"""EfficientViT (MSRA) against timm's: forward, and a training step, ratios taken in the same rounds.

    python benchmarks/efficientvit.py [--quick] [--json FILE]

Both have the same weights and are made to compute the same before they are timed. `timm` is timm's module as it comes,
not folded; in evaluation it keeps gathered biases, ours gathers them anew. The clock is the process's own processor time
(one thread). Target: at most 1.0 of timm.
"""

from __future__ import annotations

from beside_timm import case
from showing import conditions, end, options, show


def main() -> None:
    """Run the cases and show them."""
    args = options(__doc__)
    before = conditions()
    names = ("efficientvit_m0",) if args.quick else ("efficientvit_m0", "efficientvit_m2", "efficientvit_m5")
    rounds, seconds = (6, 10.0) if args.quick else (20, 60.0)
    rows = []
    for name in names:
        for batch, train in ((1, False), (16, False), (16, True)):
            rows.append(case(name, batch=batch, train=train, rounds=rounds, seconds=seconds))
            print(rows[-1], flush=True)
    show("EfficientViT against timm's (fp32, one thread)", rows)
    end(args, before, {"rows": rows})


if __name__ == "__main__":
    main()
