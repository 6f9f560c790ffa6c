"""The network of cells: what its value says, timm's interface, folding, drop path, the auxiliary head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from timm.optim._param_groups import param_groups_layer_decay
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vitesse.arch import (
    AuxiliaryHead,
    Cell,
    CellNetwork,
    CellStage,
    CellStem,
    Edge,
    Genotype,
    Head,
    buffers,
    cost,
    parameters,
)
from vitesse.nets import NetworkOfCells, build
from vitesse.nets.fold import fold
from vitesse.saved import load_network, save_network
from vitesse.weights.slice import lengths

# Every operation, at both strides.
NORMAL = Cell(
    (
        (Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)),
        (Edge("max_pool_3x3", 2), Edge("dil_conv_5x5", 0)),
        (Edge("avg_pool_3x3", 1), Edge("sep_conv_5x5", 3), Edge("dil_conv_3x3", 2)),
    )
)
REDUCE = Cell(
    (
        (Edge("max_pool_3x3", 0), Edge("skip_connect", 1)),
        (Edge("avg_pool_3x3", 1), Edge("dil_conv_3x3", 0)),
        (Edge("sep_conv_5x5", 1), Edge("skip_connect", 2)),
    )
)


def arch_of(*, stride: int = 1, image: tuple[int, int] = (12, 10), **changes: object) -> CellNetwork:
    genotype = Genotype(NORMAL, REDUCE)
    stages = tuple(
        CellStage(depth=depth, channels=4 * 2**s, genotype=genotype, halves=s < 2) for s, depth in enumerate((2, 1, 2))
    )
    head = Head(classes=4, pool="mean", norm=None, norm_first=False)
    stem = CellStem(dim=6, stride=stride, image=image, channels=2)  # type: ignore[arg-type]
    return replace(CellNetwork(stem=stem, stages=stages, head=head), **changes)  # type: ignore[arg-type]


ARCHS = {
    "small images": arch_of(),
    "odd maps": arch_of(image=(9, 7)),
    "large images": arch_of(stride=8, image=(48, 72)),
    "searching": arch_of(affine=False),
    "auxiliary": arch_of(auxiliary=AuxiliaryHead()),
    "auxiliary of ImageNet": arch_of(auxiliary=AuxiliaryHead(stage=0, stride=2, norm=False)),
}


def filled(arch: CellNetwork) -> NetworkOfCells:
    """In evaluation, with weights and running statistics that matter."""
    torch.manual_seed(0)
    network = build(arch).eval()
    assert isinstance(network, NetworkOfCells)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var") or name.endswith("norm.weight"):
            nn.init.uniform_(tensor, 0.5, 1.5)
        elif tensor.is_floating_point():
            nn.init.normal_(tensor, std=0.3)
    return network


@pytest.fixture(params=ARCHS)
def arch(request: pytest.FixtureRequest) -> CellNetwork:
    return ARCHS[request.param]


def images_of(arch: CellNetwork, count: int = 3) -> Tensor:
    return torch.randn(count, arch.stem.channels, *arch.stem.image, generator=torch.Generator().manual_seed(1))


def test_its_weights_are_those_of_the_formula(arch: CellNetwork) -> None:
    network = build(arch)
    found = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert found == {name: lengths(shape) for name, shape in parameters(arch).items()}
    held = {name: tuple(buffer.shape) for name, buffer in network.named_buffers()}
    assert held == {name: lengths(shape) for name, shape in buffers(arch).items()}
    assert sum(parameter.numel() for parameter in network.parameters()) == cost(arch).params


def test_multiply_adds_are_those_that_pytorch_counts(arch: CellNetwork) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        build(arch).eval()(images_of(arch, 1))
    assert counter.get_total_flops() == 2 * cost(arch).macs


def test_timms_interface(arch: CellNetwork) -> None:
    network, images = filled(arch), images_of(arch)
    last, maps = network.forward_intermediates(images)
    grids = [(stage.dim, grid.rows, grid.columns) for stage, grid in zip(arch.stages, arch.grids, strict=True)]
    assert [tuple(one.shape[1:]) for one in maps] == grids
    assert torch.equal(last, network.forward_features(images))
    assert torch.equal(network.forward_head(last), network(images))
    assert network.forward_head(last, pre_logits=True).shape == (3, network.num_features)
    (early,) = network.forward_intermediates(images, [0], stop_early=True, intermediates_only=True, output_fmt="NLC")
    assert torch.equal(early, maps[0].flatten(2).transpose(1, 2))
    assert [info["num_chs"] for info in network.feature_info] == [stage.dim for stage in arch.stages]
    assert all(isinstance(network.get_submodule(info["module"]), nn.Module) for info in network.feature_info)
    assert isinstance(network.get_classifier(), nn.Linear)


def test_every_parameter_but_the_auxiliary_learns(arch: CellNetwork) -> None:
    network = build(arch)
    network(images_of(arch)).square().sum().backward()
    idle = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert all(name.startswith("auxiliary.") for name in idle) and bool(idle) == (arch.auxiliary is not None)


def test_folded_it_computes_the_same(arch: CellNetwork) -> None:
    network, images = filled(arch).double(), images_of(arch).double()
    folded = fold(network)
    torch.testing.assert_close(folded(images), network(images), rtol=1e-9, atol=1e-9)
    assert not any(isinstance(module, _BatchNorm) for module in folded.modules())


def test_saves_and_loads_with_another_number_of_classes(arch: CellNetwork, tmp_path: Path) -> None:
    network, images = filled(arch), images_of(arch)
    network.reset_classifier(7)
    assert network.arch == replace(arch, head=replace(arch.head, classes=7))
    save_network(network, tmp_path / "model.safetensors")
    assert torch.equal(load_network(tmp_path)(images), network(images)) and network(images).shape == (3, 7)
    network.reset_classifier(0)
    assert network(images).shape == (3, network.num_features) and network.arch.auxiliary is None
    assert network.state_dict().keys() == build(network.arch).state_dict().keys()
    with pytest.raises(ValueError, match="global_pool"):
        network.reset_classifier(3, "token")


def test_layers_by_depth_hold_every_parameter() -> None:
    network = build(ARCHS["auxiliary"])
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = param_groups_layer_decay(network, layer_decay=0.5)
    scales = {names[id(parameter)]: group["lr_scale"] for group in groups for parameter in group["params"]}
    assert scales.keys() == set(names.values())
    assert scales["head.classifier.weight"] == scales["auxiliary.classifier.weight"] == 1.0
    assert scales["stages.2.cells.1.inputs.0.project.conv.weight"] == 0.5
    assert scales["stem.convs.0.conv.weight"] == 0.5**6  # five cells behind it, then the heads


def test_checkpointing_changes_no_gradient() -> None:
    network, images = filled(ARCHS["small images"]), images_of(ARCHS["small images"])
    network(images).sum().backward()
    before = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    network.zero_grad()
    network.set_grad_checkpointing()
    network(images).sum().backward()
    after = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    torch.testing.assert_close(after, before)


def test_drop_path_leaves_skips_alone() -> None:
    arch = arch_of()
    rates = [cell.drop_path.drop_prob for stage in build(arch, drop_path=0.4).stages for cell in stage["cells"]]  # type: ignore[union-attr, index]
    assert rates == [0.4] * 5
    skips = Cell(((Edge("skip_connect", 0), Edge("max_pool_3x3", 1)),))
    stage = CellStage(depth=1, channels=2, genotype=Genotype(skips, skips))
    network = filled(arch_of(stages=(stage,)))
    cell = network.stages[0]["cells"][0]  # type: ignore[index]
    first, second = network.stem(images_of(arch))
    kept = cell.inputs[0](first)
    cell.drop_path.drop_prob = 1.0
    cell.drop_path.train()
    torch.testing.assert_close(cell(first, second), kept)
    with pytest.raises(ValueError, match="each of the 5 cells"):
        build(arch, drop_path=[0.1])


def test_the_usual_auxiliary_head_is_the_published_one() -> None:
    assert ARCHS["small images"].usual_auxiliary == AuxiliaryHead(stage=1, pool=5, stride=3, norm=True)
    assert ARCHS["large images"].usual_auxiliary == AuxiliaryHead(stage=1, pool=5, stride=2, norm=False)


@pytest.mark.parametrize(("side", "pooled"), [(8, True), (7, False), (1, False)])
def test_a_head_on_a_small_map_averages_it_into_four_parts(side: int, pooled: bool) -> None:
    from vitesse.ops.cells import PooledHead

    torch.manual_seed(0)
    head = PooledHead(3, 5, pool=5, stride=3).eval()
    x = torch.rand(2, 3, side, side)
    small = nn.functional.avg_pool2d(x, 5, 3) if pooled else nn.functional.adaptive_avg_pool2d(x, 2)
    hidden = torch.relu(head.expand(torch.relu(head.reduce(small))))
    torch.testing.assert_close(head(x), head.classifier(hidden.flatten(1)))
