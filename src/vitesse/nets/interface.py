"""What every network of Vitesse offers, whatever it is made of: timm's model interface, and what it needs to be used."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from vitesse.arch import Arch
from vitesse.data.preprocess import Preprocess
from vitesse.errors import UsageError


class Network(nn.Module):
    """Images (B, C, H, W) to logits (B, classes). `arch` is the value it was built from."""

    arch: Any  # a Backbone or a CellNetwork; each kind of network says which
    head: Any
    feature_info: list[dict[str, Any]]
    num_prefix_tokens: int

    def __init__(self, arch: Arch) -> None:
        super().__init__()
        self.arch = arch
        self.num_classes = arch.head.classes
        self.num_features = self.head_hidden_size = self.embed_dim = arch.stages[-1].dim
        self.grad_checkpointing = False
        # What a network needs beside its weights to be used; set by whoever trains or loads it.
        self.preprocess: Preprocess | None = None
        self.class_names: tuple[str, ...] = ()
        self.serving: Callable[[], Any] | None = None  # opens what serves it; set by `vitesse.load`
        self.default_cfg = self.pretrained_cfg = pretrained_cfg(arch)

    @abstractmethod
    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to what the head pools: tokens (B, N, C) or a map (B, C, H, W)."""

    @abstractmethod
    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The same to logits (B, classes), or to the pooled features (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, classes)."""
        return self.forward_head(self.forward_features(x))

    @abstractmethod
    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Features at the places of `feature_info` asked for (timm's: None all, an integer the last n, or positions)."""

    @abstractmethod
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new, untrained classifier for another number of classes."""

    @abstractmethod
    def no_weight_decay(self) -> set[str]:
        """The names of parameters that no optimizer should decay, beside biases and normalizations."""

    @abstractmethod
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers by depth, for layer-wise learning rates (timm's convention)."""

    def runtime(self) -> Any:
        """What serves this network fastest on this device, a `vitesse.deploy.Runtime`: images in 0..1 to logits.

        UsageError where it was not loaded from the folder of a run.
        """
        if self.serving is None:
            raise UsageError("A network is served from the folder of its run: vitesse.load(RUN).runtime().")
        return self.serving()

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        classifier: nn.Module = self.head.classifier
        return classifier

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each branch or cell in the backward pass: less memory, more time."""
        self.grad_checkpointing = enable


def initialize(module: nn.Module) -> None:
    """Linear layers: normal, deviation 0.02, biases 0; all else as its module makes it (the ViT's usual start)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def pretrained_cfg(arch: Arch, preprocess: Preprocess | None = None) -> dict[str, Any]:
    """What timm's tools ask of a model: input, classes, how images are prepared, where the first and last layers are."""
    channels = arch.stem.channels
    cfg = {
        "num_classes": arch.head.classes,
        "input_size": (channels, *arch.stem.image),
        "pool_size": None,
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "fixed_input_size": False,
        "mean": (0.5,) * channels,
        "std": (0.5,) * channels,
        "first_conv": arch.stem.first_conv,
        "classifier": "head.classifier",
    }
    if preprocess is not None:
        cfg |= {"mean": preprocess.mean, "std": preprocess.std, "crop_pct": preprocess.crop}
        cfg |= {"interpolation": preprocess.interpolation}
    return cfg
