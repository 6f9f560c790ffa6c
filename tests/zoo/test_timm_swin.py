from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from vitesse.arch import Grid, cost
from vitesse.errors import VitesseError
from vitesse.nets import build
from vitesse.zoo import (
    from_timm,
    mini_swin_tiny_patch4_window7_224,
    s3_base,
    s3_small,
    s3_tiny,
    swin_tiny_patch4_window7_224,
    swinv2_tiny_window8_256,
    to_timm_state,
)
from vitesse.zoo.timm_swin import swin_arch

SMALL = {
    "embed_dim": 32,
    "depths": (2, 3, 1),
    "num_heads": (1, 2, 4),
    "num_classes": 7,
    "img_size": 64,
    "window_size": 4,
}
SWIN, SWINV2 = "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "swin": (SWIN, {}),
    "windows that do not divide the map": (SWIN, {"img_size": 72}),
    "a rectangle": (SWIN, {"img_size": (64, 128), "in_chans": 1}),
    "windows of each stage": (SWIN, {"window_size": (8, 3, 7), "mlp_ratio": 1.5, "qkv_bias": False}),
    "wide heads": (SWIN, {"head_dim": 12, "num_classes": 0}),
    "v2": (SWINV2, {}),
    "v2, trained with other windows": (
        SWINV2,
        {"img_size": 72, "pretrained_window_sizes": (3, 3, 3), "qkv_bias": False},
    ),
}


def randomised(name: str, **changes: Any) -> nn.Module:
    model = timm.create_model(name, pretrained=False, **{**SMALL, **changes})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(1 + 0.3 * noise.clamp(-2, 2) if "norm" in key and "weight" in key else 0.2 * noise)
            if key.endswith("logit_scale"):
                tensor.add_(4.0)  # some of them beyond the largest
    return model.eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_agree_and_weights_go_back(variant: str) -> None:
    name, changes = VARIANTS[variant]
    model = randomised(name, **changes)
    network = from_timm(model)
    images = torch.randn(2, model.in_chans, *model.patch_embed.img_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = model(images), network(images)
    assert expected.std() > 1e-3
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    theirs = to_timm_state(network)
    assert theirs.keys() == model.state_dict().keys()
    assert all(torch.equal(theirs[key], tensor) for key, tensor in model.state_dict().items())


def test_gradients_agree() -> None:
    for name in (SWIN, SWINV2):
        model = randomised(name, drop_path_rate=0.0)
        network, images = from_timm(model), torch.randn(2, 3, 64, 64)
        found = []
        for one in (model, network):
            seen = images.clone().requires_grad_()
            one(seen).square().sum().backward()
            found.append(seen.grad)
        assert (found[0] - found[1]).abs().max() <= 1e-4 * found[0].abs().max()


def test_features_agree_at_every_stage() -> None:
    model, images = randomised(SWIN), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.forward_intermediates(images, intermediates_only=True)
        found = from_timm(model).forward_intermediates(images, intermediates_only=True)
    assert len(expected) == len(found) == 3
    for theirs, ours in zip(expected, found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_any_resolution() -> None:
    """timm's network for images of another size, which masks and clamps anew, is ours as it is."""
    model = randomised(SWIN)
    network = from_timm(model)
    larger = timm.create_model(SWIN, pretrained=False, **{**SMALL, "img_size": (72, 100)})
    larger.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 72, 100)
    with torch.no_grad():
        torch.testing.assert_close(network(images), larger.eval()(images), rtol=1e-4, atol=1e-5)
        assert network(torch.randn(1, 3, 20, 8)).shape == (1, 7)  # maps smaller than a window


def test_what_comes_with_a_model_comes_along() -> None:
    network = from_timm(randomised(SWIN, drop_path_rate=0.4).train())
    assert network.training and network.preprocess is not None and network.preprocess.crop == 0.9
    assert network.stages[2].blocks[0][0].drop_path.drop_prob == pytest.approx(0.4)  # type: ignore[union-attr, index]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (swin_tiny_patch4_window7_224, SWIN),
        (swinv2_tiny_window8_256, SWINV2),
        (s3_tiny, "swin_s3_tiny_224"),
        (s3_small, "swin_s3_small_224"),
        (s3_base, "swin_s3_base_224"),
    ],
)
def test_the_published_values_are_timms(ours: Any, theirs: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(theirs, pretrained=False)
    assert swin_arch(model, theirs, (1, 1)) == ours()
    assert cost(ours()).params == sum(weight.numel() for weight in model.parameters())


def test_windows_are_clamped_to_the_map() -> None:
    last = s3_small().stages[3].blocks[1].branches[0]
    assert last.window == 7  # type: ignore[attr-defined]
    assert last.steps(Grid(7, 7)) == (0, 0) and last.steps(Grid(7, 14)) == (0, 3)  # type: ignore[attr-defined]


def test_what_has_no_value_is_refused() -> None:
    with pytest.raises(VitesseError, match="pooling 'max'"):
        from_timm(randomised(SWIN, global_pool="max"))
    with pytest.raises(VitesseError, match=r"windows of \(4, 8\)"):
        from_timm(randomised(SWIN, window_size=(4, 8)))
    with pytest.raises(VitesseError, match="share nothing"):
        to_timm_state(build(mini_swin_tiny_patch4_window7_224()))
