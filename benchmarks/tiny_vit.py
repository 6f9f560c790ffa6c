"""TinyViT against timm's: forward and a training step, ratios taken in the same rounds.

    python benchmarks/tiny_vit.py [--quick] [--json FILE]

Both have the same weights and are made to compute the same before they are timed. `timm` is timm's module as it comes;
in evaluation it keeps gathered biases, ours gathers them anew.
The clock is the process's own processor time (one thread). Target: at most 1.0 of timm.
"""

from __future__ import annotations

from beside_timm import case
from showing import conditions, end, options, show


def main() -> None:
    """Run the cases and show them."""
    args = options(__doc__)
    before = conditions()
    names = ("tiny_vit_5m_224",) if args.quick else ("tiny_vit_5m_224", "tiny_vit_21m_224")
    rounds, seconds = (6, 15.0) if args.quick else (20, 60.0)
    rows = []
    for name in names:
        for batch, train in ((1, False), (8, False), (8, True)):
            rows.append(case(name, batch=batch, train=train, rounds=rounds, seconds=seconds, drop_path_rate=0.0))
            print(rows[-1], flush=True)
    show("TinyViT against timm's (fp32, one thread)", rows)
    end(args, before, {"rows": rows})


if __name__ == "__main__":
    main()
