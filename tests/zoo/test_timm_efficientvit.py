from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from torch import nn

from vitesse.arch import Block, ConvMLP
from vitesse.errors import VitesseError
from vitesse.nets import build
from vitesse.zoo import efficientvit_m2, from_timm, to_timm_state

SMALL = {"embed_dim": (16, 24, 32), "num_heads": (2, 3, 2), "depth": (1, 1, 2), "key_dim": (4, 4, 4), "num_classes": 5}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "other windows": {"window_size": (7, 2, 3)},
    "other kernels": {"kernels": (3, 7, 1, 5)},
    "one channel": {"in_chans": 1},
    "no classifier": {"num_classes": 0},
    "small images": {"img_size": 96},
}


def randomised(**changes: Any) -> nn.Module:
    model = timm.create_model("efficientvit_m0", pretrained=False, **{**SMALL, **changes})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            near_one = name.endswith("running_var") or (tensor.ndim == 1 and "weight" in name)
            tensor.copy_(1 + 0.3 * noise.clamp(-2, 2) if near_one else 0.2 * noise)
    return model.double().eval()  # such weights saturate softmaxes, where rounding grows


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_agree_and_weights_go_back(variant: str) -> None:
    model = randomised(**VARIANTS[variant])
    network = from_timm(model)
    for size in (224, 290):  # windows that do not divide the map, too
        images = torch.randn(2, model.in_chans, size, size, generator=torch.Generator().manual_seed(1)).double()
        with torch.no_grad():
            expected, found = model(images).squeeze(), network(images)
        assert expected.std() > 1e-3
        assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()
    theirs = to_timm_state(network)
    assert theirs.keys() == model.state_dict().keys()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in model.state_dict().items())


def test_a_published_network_is_the_zoos() -> None:
    model = timm.create_model("efficientvit_m2", pretrained=False).train()
    network = from_timm(model)
    assert network.arch == efficientvit_m2() and network.training
    assert network.preprocess is not None and network.preprocess.mean == (0.485, 0.456, 0.406)


def test_features_agree() -> None:
    model = randomised()
    images = torch.randn(1, 3, 224, 224).double()
    with torch.no_grad():
        expected = model.forward_intermediates(images, intermediates_only=True)
        found = from_timm(model).forward_intermediates(images, intermediates_only=True)
    for theirs, ours in zip(expected, found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def test_what_has_no_value_is_refused() -> None:
    with pytest.raises(VitesseError, match="pooling 'max'"):
        from_timm(randomised(global_pool="max"))
    with pytest.raises(VitesseError, match=r"strides \[1, 3, 2\]"):
        from_timm(randomised(down_ops=(("", 1), ("subsample", 3), ("subsample", 2))))


def test_what_timm_cannot_hold_is_refused() -> None:
    arch = from_timm(randomised()).arch
    stage = arch.stages[0]
    wide = replace(stage, block=Block(*stage.blocks[0].branches[:4], ConvMLP(ratio=3)))
    with pytest.raises(VitesseError, match="ratios of 2"):
        to_timm_state(build(replace(arch, stages=(wide, *arch.stages[1:]))))
