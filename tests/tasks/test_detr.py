"""A small random DETR of transformers takes relative positions in its encoder."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from vitesse.arch import ImageRelativePosition
from vitesse.errors import UsageError
from vitesse.tasks.detr import PositionedAttention, encode_positions

transformers = pytest.importorskip("transformers", reason="the extra vitesse-ml[detr] is not installed")

HOW: list[dict[str, Any]] = [
    {"on": "k"},
    {"on": "qkv", "shared": False},
    {"method": "cross", "on": "qkv"},
    {"mode": "bias"},
]


def detr(implementation: str = "sdpa") -> Any:
    torch.manual_seed(0)
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    sizes = {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "encoder_layers": 2, "decoder_layers": 1, "d_model": 16}
    config = transformers.DetrConfig(
        use_timm_backbone=False, backbone=None, use_pretrained_backbone=False, backbone_config=backbone,
        encoder_attention_heads=2, decoder_attention_heads=2, num_queries=5, **sizes,
    )  # fmt: skip
    model = transformers.DetrForObjectDetection(config).eval()
    model.config._attn_implementation = implementation  # the backbone knows one only
    for parameter in (*model.model.encoder.parameters(), *model.model.decoder.parameters()):
        torch.nn.init.normal_(parameter, std=0.3)  # as made, attention hardly tells tokens apart
    return model


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_zero_tables_change_nothing_and_others_do(
    images: torch.Tensor, how: dict[str, Any], implementation: str
) -> None:
    model = detr(implementation)
    mask = torch.ones(2, 32, 48)
    mask[1, 20:], mask[1, :, 30:] = 0, 0
    plain = model(images, mask)
    names = set(model.state_dict())
    added = encode_positions(model, ImageRelativePosition(**how), generator=torch.Generator().manual_seed(0))
    assert names < set(model.state_dict()) and all(
        ".encoder.layers." in name for name in set(model.state_dict()) - names
    )
    placed = model(images, mask).encoder_last_hidden_state
    assert not torch.allclose(placed, plain.encoder_last_hidden_state, rtol=0, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(model(images, mask).encoder_last_hidden_state, placed, rtol=0, atol=1e-5)
    for table in added:
        torch.nn.init.zeros_(table)
    again = model(images, mask)
    torch.testing.assert_close(again.encoder_last_hidden_state, plain.encoder_last_hidden_state, rtol=0, atol=1e-5)
    torch.testing.assert_close(again.logits, plain.logits, rtol=0, atol=1e-5)


def test_each_layer_learns_its_own_tables(images: torch.Tensor) -> None:
    model = detr().train()
    added = encode_positions(model, ImageRelativePosition(on="k"))
    assert len(added) == 2 and added[0].shape == (7, 7, 8) and not torch.equal(*added)
    model(images).logits.square().sum().backward()
    assert all(table.grad is not None and table.grad.abs().sum() > 0 for table in added)


def test_a_padded_image_is_seen_as_alone(images: torch.Tensor) -> None:
    """Offsets are those of the padded map, and nobody looks at the padding: the part that is there stays as it is."""
    model = detr()
    encode_positions(model, ImageRelativePosition(on="qkv"))
    attention = model.model.encoder.layers[0].self_attn
    x = torch.randn(1, 6, 16)
    attention.seen.look(attention, (), torch.zeros(1, 16, 2, 3))
    small, _ = attention(x)
    padded = torch.randn(1, 12, 16)
    places = [0, 1, 2, 4, 5, 6]  # 2 x 3 in the corner of 3 x 4
    padded[:, places] = x
    mask = torch.zeros(1, 1, 1, 12, dtype=torch.bool)
    mask[..., places] = True
    attention.seen.look(attention, (), torch.zeros(1, 16, 3, 4))
    big, _ = attention(padded, mask.expand(1, 1, 12, 12))
    torch.testing.assert_close(big[:, places], small, rtol=0, atol=1e-5)


def test_a_copy_sees_its_own_maps(images: torch.Tensor) -> None:
    model = detr()
    encode_positions(model, ImageRelativePosition())
    twin = copy.deepcopy(model)
    twin(images)
    grids = [m.model.encoder.layers[0].self_attn.seen.grid for m in (model, twin)]
    assert grids[0] is None and grids[1] is not None and grids[1].rows != grids[1].columns


@pytest.mark.parametrize(
    ("how", "bound"),
    [({"on": "k"}, 0.0609), ({"on": "k", "beta": 4.0, "alpha": 2.0, "gamma": 16.0}, 0.0474)],
    ids=str,
)
def test_tables_are_drawn_as_published(how: dict[str, Any], bound: float) -> None:
    from vitesse.ops.image_position import ImagePositionTables
    from vitesse.tasks.detr import _draw

    position = ImagePositionTables(ImageRelativePosition(extra=False, **how), 8, 32)
    _draw(position, torch.Generator().manual_seed(0))
    largest = max(float(table.detach().abs().max()) for table in position.parameters())
    assert 0.98 * bound < largest < 1.001 * bound


def test_what_is_no_detr_is_refused(images: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="need a DetrModel.*but got Linear"):
        encode_positions(torch.nn.Linear(2, 2), ImageRelativePosition())
    model = detr()
    encode_positions(model, ImageRelativePosition())
    with pytest.raises(UsageError, match="already"):
        encode_positions(model, ImageRelativePosition())
    attention = model.model.encoder.layers[0].self_attn
    assert isinstance(attention, PositionedAttention)
    with pytest.raises(UsageError, match="but got 6 tokens and no map"):
        attention(torch.zeros(1, 6, 16))
