from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from vitesse.errors import VitesseError
from vitesse.zoo import from_timm, to_timm_state

SMALL = {"embed_dims": (16, 16, 32, 32), "depths": (1, 2, 1, 1), "num_heads": (1, 1, 2, 4), "num_classes": 5}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "other windows": {"window_sizes": (7, 2, 3, 4)},
    "other ratios": {"mlp_ratio": 2.5, "mbconv_expand_ratio": 3.0, "local_conv_size": 5},
    "one channel": {"in_chans": 1},
    "no classifier": {"num_classes": 0},
    "relu": {"act_layer": nn.ReLU},
}


def randomised(**changes: Any) -> nn.Module:
    model = timm.create_model("tiny_vit_5m_224", pretrained=False, **{**SMALL, **changes})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            near_one = name.endswith("running_var") or (tensor.ndim == 1 and "weight" in name)
            tensor.copy_(1 + 0.3 * noise.clamp(-2, 2) if near_one else 0.2 * noise)
    return model.eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_agree_and_weights_go_back(variant: str) -> None:
    model = randomised(**VARIANTS[variant])
    network = from_timm(model)
    for size in (64, 90):  # windows that do not divide the map, too
        images = torch.randn(2, model.in_chans, size, size, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected, found = model(images).squeeze(), network(images)
        assert expected.std() > 1e-3
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    theirs = to_timm_state(network)
    assert theirs.keys() == model.state_dict().keys()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in model.state_dict().items())


def test_what_comes_with_a_model_comes_along() -> None:
    network = from_timm(randomised(drop_path_rate=0.4).train())
    assert network.training and network.preprocess is not None and network.preprocess.crop == 0.95
    assert network.stages[3].blocks[0][0].drop_path.drop_prob == pytest.approx(0.4)  # type: ignore[union-attr, index]
    assert network.stages[0].blocks[0][0].drop_path.drop_prob == 0.0  # type: ignore[union-attr, index]


def test_features_agree() -> None:
    model = randomised()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.forward_intermediates(images, intermediates_only=True)
        found = from_timm(model).forward_intermediates(images, intermediates_only=True)
    for theirs, ours in zip(expected, found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_what_has_no_value_is_refused() -> None:
    with pytest.raises(VitesseError, match="pooling 'max'"):
        from_timm(randomised(global_pool="max"))
    with pytest.raises(VitesseError, match="activation"):
        from_timm(randomised(act_layer=nn.Tanh))
