"""`vitesse convert`: timm's weights as a network of Vitesse."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Turn a vision transformer of timm with its weights into one of Vitesse.

    vit_*, deit_*, deit3_*, tiny_vit_*, efficientvit_m*, swin_*, swin_s3_* and swinv2_* can be taken over.
    It computes the same, and can then be a teacher, or be made smaller.

    Examples:
      vitesse convert deit_tiny_patch16_224 --out teachers/deit_tiny
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """A name of timm, also with a tag, as in deit3_small_patch16_224.fb_in22k_ft_in1k."""
    out: Path
    """The folder to write: model.safetensors and arch.json."""

    def run(self) -> None:
        """Do it."""
        from vitesse.arch import cost, to_json
        from vitesse.cli.console import result
        from vitesse.runs.files import write_text
        from vitesse.saved import FILE, save_network
        from vitesse.zoo import from_timm

        network = from_timm(self.model)
        save_network(network, self.out / FILE)
        write_text(self.out / "arch.json", to_json(network.arch) + "\n")
        price = cost(network.arch)
        result(
            f"Written: {self.out / FILE} ({price.params / 1e6:.2f} M parameters, {price.macs / 1e9:.2f} G multiply-adds)"
        )
        result(f"Next: vitesse shrink --teacher {self.out} --data ... --max-params ... --out ...")
