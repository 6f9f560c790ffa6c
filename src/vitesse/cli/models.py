"""`vitesse models`: the published models, with their figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Models:
    """List the published models that Vitesse knows.

    Parameters and multiply-adds are counted here; --json has the published figures and their sources beside them.

    Examples:
      vitesse models
      vitesse models --json
    """

    json: bool = False
    """Print the result as JSON, for another program."""

    def run(self) -> None:
        """Do it."""
        from vitesse.cli.console import result, result_json, result_table
        from vitesse.zoo.published import models as published

        known = published()
        if self.json:
            result_json(known)
            return
        headings = {"Model": "<", "Family": "<", "Params": ">", "MACs": ">", "Input": ">", "Top-1": ">"}
        rows = [
            [
                model["name"],
                model["family"],
                f"{model['params'] / 1e6:.2f} M",
                f"{model['macs'] / 1e9:.2f} G",
                "x".join(map(str, model["input_size"])),
                "–" if model["published"]["top1"] is None else f"{model['published']['top1']:.1f} %",
            ]
            for model in known
        ]
        result_table(headings, rows)
        result("\nTop-1 as published, on ImageNet-1k; of cdarts_cifar10 on CIFAR-10.")
        result("Train one: vitesse train --arch MODEL --data ... --out ...")
