"""A teacher that wants its images otherwise than its student: the same view, in its own colours and size."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from vitesse.data.preprocess import Preprocess
from vitesse.errors import VitesseError


class Viewing(nn.Module):
    """`inner` on images that were prepared as `seen` says: scaled to its own mean, deviation and size within the pass.

    The view is the student's: its crop and all its changes. Grey images become three equal channels.
    """

    def __init__(self, inner: nn.Module, *, seen: Preprocess, wanted: Preprocess) -> None:
        super().__init__()
        if seen.channels > wanted.channels:
            raise VitesseError(
                f"The teacher takes {wanted.channels} channel, but the images have {seen.channels}. "
                f"Set data.channels to {wanted.channels}."
            )
        self.inner, self.seen, self.wanted = inner, seen, wanted
        self.num_classes = getattr(inner, "num_classes", None)
        self.num_prefix_tokens = getattr(inner, "num_prefix_tokens", 0)
        self.num_features = getattr(inner, "num_features", None)
        # What the inner model offers for its features, and no more: callers ask whether it is there.
        offered: Any = inner
        if hasattr(inner, "forward_features"):
            self.forward_features = lambda images: offered.forward_features(self.view(images))
            self.forward_head = offered.forward_head
        if hasattr(inner, "feature_site"):
            self.feature_site = lambda of: f"inner.{offered.feature_site(of)}".removesuffix(".")

    def view(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) as the student sees them to what the teacher expects."""
        if images.shape[1] < self.wanted.channels:
            images = images.expand(-1, self.wanted.channels, -1, -1)
        mean, std, own_mean, own_std = (
            images.new_tensor(values).expand(self.wanted.channels).view(-1, 1, 1)
            for values in (self.seen.mean, self.seen.std, self.wanted.mean, self.wanted.std)
        )
        if (self.seen.mean, self.seen.std) != (self.wanted.mean, self.wanted.std):
            images = (images * std + mean - own_mean) / own_std
        if images.shape[-2:] != self.wanted.size:
            images = functional.interpolate(
                images, self.wanted.size, mode="bicubic", align_corners=False, antialias=True
            )
        return images

    def forward(self, images: Tensor) -> Any:
        """As `inner`."""
        return self.inner(self.view(images))


def fitting(teacher: nn.Module, *, seen: Preprocess, wanted: Preprocess) -> nn.Module:
    """The teacher for images prepared as `seen`: itself where they are as it wants them."""
    same = (seen.size, seen.channels, seen.mean, seen.std) == (wanted.size, wanted.channels, wanted.mean, wanted.std)
    return teacher if same else Viewing(teacher, seen=seen, wanted=wanted)
