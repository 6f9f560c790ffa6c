from __future__ import annotations

import pytest
import timm
import torch
from timm.layers import AttentionPoolLatent, PatchEmbed, RmsNorm, SwiGLUPacked
from timm.layers.attention import Attention
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import ParallelScalingBlock, ResPostBlock, VisionTransformer
from torch import nn

from vitesse.errors import VitesseError
from vitesse.zoo import from_timm, timm_models, to_timm_state

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 7}

VARIANTS = {
    "plain": {},
    "mean then norm": {"global_pool": "avg"},
    "norm then mean": {"global_pool": "avg", "fc_norm": False},
    "norm after the token": {"fc_norm": True},
    "no class token": {"global_pool": "avg", "class_token": False},
    "registers": {"reg_tokens": 3},
    "registers without positions": {"reg_tokens": 2, "no_embed_class": True},
    "registers alone": {"reg_tokens": 2, "class_token": False, "global_pool": "avg"},
    "DeiT III": {"no_embed_class": True, "init_values": 1e-6},
    "CLIP": {"pre_norm": True, "norm_layer": nn.LayerNorm, "act_layer": "quick_gelu"},
    "no positions": {"pos_embed": "none"},
    "layer scale": {"init_values": 0.1},
    "norms of q and k": {"qk_norm": True},
    "no q, k, v bias": {"qkv_bias": False},
    "tanh": {"act_layer": "gelu_tanh"},
    "silu": {"act_layer": "silu"},
    "relu": {"act_layer": nn.ReLU},
    "no final norm": {"final_norm": False},
    "no classifier": {"num_classes": 0},
    "one channel": {"in_chans": 1},
    "rectangles": {"img_size": (32, 48), "patch_size": (8, 4)},
    "odd ratio": {"mlp_ratio": 43 / 32},
    "any image": {"dynamic_img_size": True},
}


def randomised(model: nn.Module) -> nn.Module:
    """Nothing hides: norms, scales, tokens and positions too are far from what they start as."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            ones = parameter.ndim == 1 and "weight" in name
            parameter.copy_(1 + 0.5 * noise if ones else 0.3 * noise)
    return model.eval()


def assert_same(model: nn.Module, channels: int = 3, size: tuple[int, int] = (32, 32)) -> None:
    images = torch.randn(3, channels, *size, generator=torch.Generator().manual_seed(1))
    network = from_timm(model)
    with torch.no_grad():
        expected, found = model(images), network(images)
    assert expected.std() > 1e-3
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    theirs = to_timm_state(network)
    assert theirs.keys() == model.state_dict().keys()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_agree_and_weights_go_back(variant: str) -> None:
    arguments = {**SMALL, **VARIANTS[variant]}
    size = arguments["img_size"] if isinstance(arguments["img_size"], tuple) else (32, 32)
    assert_same(randomised(VisionTransformer(**arguments)), arguments.get("in_chans", 3), size)


@pytest.mark.parametrize("classes", [7, 0])
def test_distilled_agrees(classes: int) -> None:
    assert_same(randomised(VisionTransformerDistilled(**{**SMALL, "num_classes": classes})))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224"])
def test_names_agree(name: str) -> None:
    torch.manual_seed(0)
    network = from_timm(name, pretrained=False)
    assert network.pretrained_cfg["mean"] == timm.create_model(name).pretrained_cfg["mean"]
    assert network.arch.stages[0].depth == 12


def test_preprocessing_and_stochastic_depth_are_carried_over() -> None:
    overlay = {"crop_pct": 0.75, "interpolation": "bilinear"}
    model = timm.create_model(
        "deit3_small_patch16_224", img_size=64, drop_path_rate=0.2, depth=3, pretrained_cfg_overlay=overlay
    )
    network = from_timm(model)
    assert network.preprocess is not None
    assert (network.preprocess.size, network.preprocess.crop) == ((64, 64), 0.75)
    assert network.preprocess.mean == (0.485, 0.456, 0.406)
    assert network.preprocess.interpolation == "bilinear"
    assert network.default_cfg["input_size"] == (3, 64, 64)
    rates = [block[0].drop_path.drop_prob for block in network.stages[0].blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2])
    assert network.training


def test_one_channel_gets_one_mean() -> None:
    model = timm.create_model("deit_tiny_patch16_224", in_chans=1, img_size=32, depth=1)
    assert from_timm(model).preprocess.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))


def test_double_stays_double() -> None:
    assert next(from_timm(VisionTransformer(**SMALL).double()).parameters()).dtype == torch.float64


class Odd(PatchEmbed):
    """A patch embedding of another kind."""


class Other(Attention):
    """An attention of another kind."""


@pytest.mark.parametrize(
    ("arguments", "feature"),
    [
        ({"global_pool": "map"}, "attention pooling"),
        ({"global_pool": "avgmax"}, "global_pool='avgmax'"),
        ({"global_pool": ""}, "global_pool=''"),
        ({"global_pool": "avg", "pool_include_prefix": True}, "pool_include_prefix"),
        ({"mlp_layer": SwiGLUPacked}, "SwiGLU|GluMlp"),
        ({"block_fn": ParallelScalingBlock}, "ParallelScalingBlock"),
        ({"block_fn": ResPostBlock, "init_values": 0.1}, "ResPostBlock"),
        ({"scale_attn_norm": True}, "scale_attn_norm"),
        ({"scale_mlp_norm": True}, "scale_mlp_norm"),
        ({"proj_bias": False}, "proj_bias"),
        ({"norm_layer": RmsNorm}, "RmsNorm"),
        ({"embed_norm_layer": nn.LayerNorm}, "norm in its patch embedding"),
        ({"embed_layer": Odd}, "Odd"),
        ({"attn_layer": Other}, "Other"),
        ({"dynamic_img_size": True, "dynamic_img_pad": True}, "dynamic_img_pad"),
        ({"act_layer": nn.Tanh}, "activation Tanh"),
        ({"img_size": 36}, "multiple of the patch"),
    ],
    ids=str,
)
def test_what_has_no_value_is_refused_by_name(arguments: dict[str, object], feature: str) -> None:
    model = VisionTransformer(**{**SMALL, **arguments})
    with pytest.raises(VitesseError, match=f"VisionTransformer .*({feature})"):
        from_timm(model)


def test_registers_beside_a_distillation_token_are_refused() -> None:
    with pytest.raises(VitesseError, match="registers beside"):
        from_timm(VisionTransformerDistilled(**SMALL, reg_tokens=1))


def test_a_parameter_that_nobody_reads_is_refused() -> None:
    model = VisionTransformer(**SMALL)
    model.extra = nn.Parameter(torch.zeros(2))
    with pytest.raises(VitesseError, match="unknown: extra"):
        from_timm(model)


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(VitesseError, match="test_resnet is a ResNet"):
        from_timm("test_resnet", pretrained=False)
    with pytest.raises(VitesseError, match="AttentionPoolLatent is a"):
        from_timm(AttentionPoolLatent(8, 8, num_heads=2))


def test_an_unknown_name_gets_the_closest() -> None:
    with pytest.raises(VitesseError, match=r"no model named 'deit_tinny_patch16_224'.*deit_tiny_patch16_224"):
        from_timm("deit_tinny_patch16_224")
    with pytest.raises(VitesseError, match="vitesse_autoformer_tiny"):
        from_timm("vitesse_autoformer_tinny")
    with pytest.raises(VitesseError, match="list_models"):
        from_timm("§")


def test_weights_are_not_fetched_for_what_cannot_be_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    create = timm.create_model
    monkeypatch.setattr(
        timm_models.timm, "create_model", lambda name, pretrained: asked.append(pretrained) or create(name)
    )
    with pytest.raises(VitesseError, match="attention pooling"):
        from_timm("vit_base_patch16_siglip_224")
    assert asked == [False]


def test_weights_that_cannot_be_fetched_are_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def offline(name: str, pretrained: bool) -> nn.Module:
        if pretrained:
            raise OSError("no route to the Hub")
        return create(name)

    monkeypatch.setattr(timm_models.timm, "create_model", offline)
    with pytest.raises(VitesseError, match="weights of vit_tiny_patch16_224 could not be loaded: no route"):
        from_timm("vit_tiny_patch16_224")
