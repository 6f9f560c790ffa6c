"""Features of networks of many kinds, by what the networks themselves compute."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from torch import Tensor, nn

from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, Stage
from vitesse.errors import VitesseError
from vitesse.nets import build
from vitesse.nets.taps import Layer, Site, as_map, as_tokens, layers_of, taps

ARCH = Backbone(
    stem=PatchEmbed(image=(16, 16), patch=(8, 8)),
    stages=(Stage(dim=12, depth=3, block=Block(Attention(heads=2, head_dim=4), MLP(ratio=2.0))),),
    head=Head(classes=5),
)


def hooks_of(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


def read(network: nn.Module, layers: tuple[Layer, ...], images: Tensor) -> list[tuple[dict[str, Tensor], Tensor]]:
    with torch.no_grad(), taps(network, [s for one in layers for s in (*one.projections, one.hidden)]) as found:
        network.eval()(images)
    return [(layer.qkv(found), layer.tokens(found)) for layer in layers]


def test_our_networks() -> None:
    torch.manual_seed(0)
    network, images = build(ARCH), torch.randn(2, 3, 16, 16)
    layers = layers_of(network, images[:1])
    assert [(layer.width, layer.extra, layer.patches) for layer in layers] == [(12, 1, 4)] * 3
    network.eval()
    with torch.no_grad():
        kept = network.forward_intermediates(images, output_fmt="NLC", intermediates_only=True)
        x = network.stem(images)
        first = network.stages[0].blocks[0][0]
        q, k, v = first.op.qkv(first.norm(x)).chunk(3, -1)
    found = read(network, layers, images)
    for (_, hidden), wanted in zip(found, kept, strict=True):
        torch.testing.assert_close(hidden[:, 1:], wanted)
    torch.testing.assert_close(found[0][0], {"q": q, "k": k, "v": v})


@pytest.mark.parametrize("name", ["test_vit", "test_vit3"])
def test_vision_transformers_of_timm(name: str) -> None:
    network, images = timm.create_model(name).eval(), torch.randn(2, 3, 160, 160)
    found = read(network, layers := layers_of(network, images[:1]), images)
    with torch.no_grad():
        kept = network.forward_intermediates(images, output_fmt="NLC", intermediates_only=True)
    assert len(layers) == len(network.blocks)
    for (parts, hidden), wanted in zip(found, kept, strict=True):
        torch.testing.assert_close(hidden[:, network.num_prefix_tokens :], wanted)
        assert parts["q"].shape == hidden.shape


def test_windows_and_maps() -> None:
    """Swin: windows count as images for q, k and v, and what a block leaves is a map."""
    network = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=56, window_size=7, embed_dim=8, depths=(2, 2), num_heads=(1, 2)
    )
    layers = layers_of(network, torch.randn(1, 3, 56, 56))
    assert [layer.patches for layer in layers] == [196, 196, 49, 49]
    found = read(network, layers, torch.randn(2, 3, 56, 56))
    assert [tuple(parts["v"].shape) for parts, _ in found] == [(8, 49, 8)] * 2 + [(2, 49, 16)] * 2
    assert [tuple(hidden.shape) for _, hidden in found] == [(2, 196, 8)] * 2 + [(2, 49, 16)] * 2


class Head3(nn.Module):
    """Attention whose joined projection lies head by head."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.key_dim = 2, 3
        self.qkv = nn.Linear(6, 18, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.qkv(x).mean()


def test_projections_that_lie_head_by_head() -> None:
    network = nn.Sequential(Head3())
    x = torch.randn(1, 4, 6)
    (layer,) = layers_of(network, x)
    ((parts, _),) = read(network, (layer,), x)
    rows = network[0].qkv.weight.unflatten(0, (2, 3, 3))  # heads, three, key
    for place, kind in enumerate("qkv"):
        torch.testing.assert_close(parts[kind], x @ rows[:, place].flatten(0, 1).T)


def test_blocks_that_borrow_weights_have_layers_of_their_own() -> None:
    shared = replace(ARCH, stages=(replace(ARCH.stages[0], share="all"),))
    torch.manual_seed(0)
    network, images = build(shared), torch.randn(2, 3, 16, 16)
    layers = layers_of(network, images[:1])
    assert [layer.projections for layer in layers] == [(Site("stages.0.blocks.0.0.op.qkv", b),) for b in range(3)]
    assert [layer.hidden for layer in layers] == [Site(f"stages.0.blocks.{b}.1") for b in range(3)]
    with torch.no_grad():
        kept = network.eval().forward_intermediates(images, output_fmt="NLC", intermediates_only=True)
    for (_, hidden), wanted in zip(read(network, layers, images), kept, strict=True):
        torch.testing.assert_close(hidden[:, 1:], wanted)


class Shared(nn.Module):
    """One block that runs three times."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Head3()])

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = self.blocks[0](x)
        return x


def test_a_shared_block_has_a_layer_for_each_run() -> None:
    network, x = Shared(), torch.randn(1, 4, 6)
    layers = layers_of(network, x)
    assert [layer.hidden for layer in layers] == [Site("blocks.0", call) for call in range(3)]
    wanted = x
    for _, hidden in read(network, layers, x):
        wanted = network.blocks[0](wanted)
        torch.testing.assert_close(hidden, wanted)


def test_the_network_is_as_before() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4).eval(), nn.Dropout(0.5))
    state = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    assert layers_of(network, torch.randn(1, 3, 4, 4, generator=torch.Generator())) == ()
    assert [module.training for module in network] == [True, False, True]
    assert torch.equal(torch.get_rng_state(), random) and hooks_of(network) == 0
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_hooks_go_however_it_ends() -> None:
    network = build(ARCH)
    with taps(network, [Site("stem"), Site("head")]):
        assert hooks_of(network) == 2
        with pytest.raises(RuntimeError):
            network(torch.randn(1, 4, 16, 16))
    with pytest.raises(VitesseError, match=r"no module 'stem.pro'. The closest are stem.proj"):
        taps(network, [Site("stem"), Site("stem.pro")]).__enter__()
    with pytest.raises(RuntimeError):
        layers_of(network, torch.randn(1, 4, 16, 16))
    assert hooks_of(network) == 0


def test_gradients_flow_from_taps_also_with_checkpointing() -> None:
    torch.manual_seed(0)
    network, images = build(ARCH), torch.randn(2, 3, 16, 16)
    layers, gradients = layers_of(network, images[:1]), []
    for checkpointing in (False, True):
        network.set_grad_checkpointing(checkpointing)
        network.zero_grad(set_to_none=True)
        with taps(network, [*layers[1].projections, layers[1].hidden]) as found:
            network(images)
        (layers[1].qkv(found)["k"].square().mean() + layers[1].tokens(found).square().mean()).backward()
        gradients.append({name: p.grad for name, p in network.named_parameters() if p.grad is not None})
    assert gradients[0] and gradients[0].keys() == gradients[1].keys()
    torch.testing.assert_close(gradients[0], gradients[1])


def test_maps_become_tokens() -> None:
    tokens = torch.randn(2, 6, 5)
    rows = tokens.unflatten(1, (2, 3))
    for x in (tokens, rows, rows.permute(0, 3, 1, 2)):
        assert torch.equal(as_tokens(x, 5), tokens)
        assert torch.equal(as_map(x, 5, extra=0, aspect=2 / 3), rows.permute(0, 3, 1, 2))
    with_class = torch.cat([tokens[:, :1], tokens], 1)
    assert torch.equal(as_map(with_class, 5, extra=1, aspect=2 / 3), rows.permute(0, 3, 1, 2))
    with pytest.raises(VitesseError, match="6 tokens do not"):
        as_map(with_class, 5, extra=1, aspect=16.0)
