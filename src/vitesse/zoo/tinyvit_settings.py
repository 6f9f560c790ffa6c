"""The settings of the published TinyViT code, read and checked before anything is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

from vitesse.arch import Backbone
from vitesse.arch.operation import Act
from vitesse.errors import VitesseError
from vitesse.zoo.tinyvit import tiny_vit

# Settings of training that change no output of a trained network.
_TRAINING = frozenset({"drop_rate", "drop_path_rate", "use_checkpoint", "layer_lr_decay"})
_ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "silu": "silu"}


@dataclass(frozen=True, kw_only=True, slots=True)
class TinyViTSettings:
    """The arguments of the published constructor with its defaults, and the `activation` beside them."""

    img_size: int | tuple[int, int] = 224
    in_chans: int = 3
    num_classes: int = 1000
    embed_dims: tuple[int, ...] = (96, 192, 384, 768)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_sizes: tuple[int, ...] = (7, 7, 14, 7)
    mlp_ratio: float = 4.0
    mbconv_expand_ratio: float = 4.0
    local_conv_size: int = 3
    activation: Act = "gelu"

    def __post_init__(self) -> None:
        lists = (self.embed_dims, self.depths, self.num_heads, self.window_sizes)
        if len({len(one) for one in lists}) != 1 or not self.depths:
            raise VitesseError(
                "TinyViT has one width, depth, number of heads and window for each stage, but got "
                f"embed_dims={self.embed_dims}, depths={self.depths}, num_heads={self.num_heads}, "
                f"window_sizes={self.window_sizes}."
            )
        for dim, heads in list(zip(self.embed_dims, self.num_heads, strict=True))[1:]:
            if heads < 1 or dim % heads:
                raise VitesseError(f"TinyViT's heads must divide the width of their stage, but got {heads} and {dim}.")

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> TinyViTSettings:
        """The settings in `config`; VitesseError where one is unknown, impossible or not supported."""
        known = {item.name for item in fields(cls)}
        given = {name: value for name, value in config.items() if value is not None and name not in _TRAINING}
        unknown = sorted(set(given) - known)
        if unknown:
            raise VitesseError(f"TinyViT has no setting {', '.join(unknown)}. It has {', '.join(sorted(known))}.")
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        if "activation" in given:
            given["activation"] = _activation(str(given["activation"]))
        return cls(**given)

    def arch(self) -> Backbone:
        """The network as the published code builds it; VitesseError where there is none of these sizes."""
        try:
            return tiny_vit(
                dims=self.embed_dims,
                depths=self.depths,
                heads=self.num_heads,
                windows=self.window_sizes,
                classes=self.num_classes,
                image=self.img_size,  # type: ignore[arg-type]  # one side stands for a square
                channels=self.in_chans,
                mlp_ratio=self.mlp_ratio,
                conv_ratio=self.mbconv_expand_ratio,
                kernel=self.local_conv_size,
                act=self.activation,
            )
        except (TypeError, ValueError) as error:
            raise VitesseError(f"TinyViT cannot be made with these settings: {error}") from error


def _activation(text: str) -> Act:
    """The activation of a record ("nn.GELU (erf)"), by our name."""
    name = text.split()[0].removeprefix("torch.").removeprefix("nn.").lower() if text.strip() else ""
    if name == "gelu" and "tanh" in text:
        return "gelu_tanh"
    if name not in _ACTIVATIONS:
        raise VitesseError(f"The activation must be one of {', '.join(_ACTIVATIONS)}, but got {text!r}.")
    return cast(Act, _ACTIVATIONS[name])
