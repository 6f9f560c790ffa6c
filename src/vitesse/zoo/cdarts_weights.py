"""Published weights of CDARTS' evaluation networks become a network: names, once, at the door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from vitesse.arch import Cell, CellNetwork, Edge, Genotype, tensors
from vitesse.arch.genotype import parse_genotype
from vitesse.errors import VitesseError
from vitesse.nets import Network, build
from vitesse.weights.slice import lengths
from vitesse.zoo.cdarts import Kind, cell_network
from vitesse.zoo.preprocessing import set_preprocessing
from vitesse.zoo.published import fed
from vitesse.zoo.strict import require_keys

_SIDES: dict[Kind, int] = {"cifar": 32, "imagenet": 224}
_AUXILIARY = "aux_head."
_IN_AUXILIARY = {"reduce.conv": "2", "reduce.norm": "3", "expand.conv": "5", "expand": "5", "expand.norm": "6"}
_IN_REDUCTION = {"even": "conv1", "odd": "conv2", "norm": "bn"}
_SEEN = "num_batches_tracked"


@dataclass(frozen=True, kw_only=True, slots=True)
class CDARTSSettings:
    """The arguments of the published constructor, `genotypes_dict` (or `genotypes`) among them: one genotype a stage, as text
    or as its fields.
    """

    genotypes: tuple[Genotype, ...]
    model_type: Kind = "imagenet"
    res_stem: bool = False
    init_channel: int = 96
    stem_multiplier: int = 3
    n_nodes: int = 4
    num_classes: int = 1000
    img_size: int | None = None

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> CDARTSSettings:
        """The settings in `config`; VitesseError where one is unknown, missing or not supported."""
        given = {name: value for name, value in config.items() if value is not None}
        told = given.pop("genotypes_dict", given.pop("genotypes", None))
        unknown = sorted(set(given) - {item.name for item in fields(cls)})
        if unknown:
            known = ", ".join(item.name for item in fields(cls))
            raise VitesseError(f"CDARTS has no setting {', '.join(unknown)}. It has {known}.")
        if not isinstance(told, Mapping) or not told:
            raise VitesseError(
                'CDARTS needs "genotypes_dict", one genotype for each stage: {0: "Genotype(...)", 1: ...}.'
            )
        if given.get("model_type", "imagenet") not in _SIDES or given.get("res_stem"):
            raise VitesseError(
                'CDARTS has networks with model_type "cifar" or "imagenet" and res_stem False here, but got '
                f"{given.get('model_type')!r} and {given.get('res_stem', False)}."
            )
        found = cls(genotypes=_genotypes(told), **given)
        nodes = {len(cell.nodes) for one in found.genotypes for cell in (one.normal, one.reduce)}
        if nodes != {found.n_nodes}:
            raise VitesseError(f"n_nodes is {found.n_nodes}, but the cells have {sorted(nodes)}. Set it so.")
        return found

    def arch(self, *, auxiliary: bool) -> CellNetwork:
        """The network as the published code builds it."""
        side = self.img_size or _SIDES[self.model_type]
        try:
            return cell_network(
                self.model_type,
                self.genotypes,
                channels=self.init_channel,
                classes=self.num_classes,
                image=(side, side),
                stem_multiplier=self.stem_multiplier,
                auxiliary=auxiliary,
            )
        except (TypeError, ValueError) as error:
            raise VitesseError(f"CDARTS' networks cannot be made with these settings: {error}") from error


def cdarts(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Network:
    """The network of a published state dict, in evaluation mode, as `from_published` gives it.

    Where the weights hold the auxiliary head of training, the network has it too.
    """
    auxiliary = any(name.startswith(_AUXILIARY) for name in state)
    arch = CDARTSSettings.read(config).arch(auxiliary=auxiliary)
    names = {name: published_name(name, arch) for name in tensors(arch)}
    shapes = {names[name]: lengths(shape) for name, shape in tensors(arch).items()}
    # How many batches the statistics saw changes nothing in what is computed, and some files leave it out.
    state = dict(state) | {name: torch.tensor(0) for name in shapes if name.endswith(_SEEN) and name not in state}
    require_keys(state, shapes, "CDARTS")
    network = build(arch).to(next(tensor.dtype for tensor in state.values() if tensor.is_floating_point()))
    network.load_state_dict({ours: state[theirs] for ours, theirs in names.items()})
    set_preprocessing(network, fed(arch))
    return network.eval()


def published_name(name: str, arch: CellNetwork) -> str:
    """The published name of a weight of ours."""
    first, rest = name.split(".", 1)
    if first == "stem":
        return _in_stem(rest, arch)
    if first == "head":
        return f"fc.{rest.removeprefix('classifier.')}"
    if first == "auxiliary":
        part, _, leaf = rest.rpartition(".")
        return f"{_AUXILIARY}{rest if part == 'classifier' else f'features.{_IN_AUXILIARY[part]}.{leaf}'}"
    stage, _, cell, place, number, rest = rest.split(".", 5)
    lead = f"nas_layers.{stage}.{cell}"
    if place == "inputs":
        return f"{lead}.preproc{number}.{in_input(rest)}"
    edge, rest = rest.split(".", 1)
    # Every operation but a plain skip is followed by drop path there, so it is the first of two.
    return f"{lead}.dag.{number}.{edge}.0.{in_operation(rest)}"


def _in_stem(name: str, arch: CellNetwork) -> str:
    _, number, part, leaf = name.split(".")
    if arch.stem.stride == 1:
        return f"feature_extractor.0.{0 if part == 'conv' else 1}.{leaf}"
    # An activation stands before the second and the third convolution; the third is a part of its own.
    half, start = {"0": (0, 0), "1": (0, 3), "2": (1, 1)}[number]
    return f"feature_extractor.{half}.{start + (part == 'norm')}.{leaf}"


def in_input(name: str) -> str:
    """The published name of a weight within what brings a map to the cell's width."""
    if name.startswith("project."):
        _, part, leaf = name.split(".")
        return f"net.{1 if part == 'conv' else 2}.{leaf}"
    return _in_reduction(name)


def _in_reduction(name: str) -> str:
    part, leaf = name.split(".")
    return f"{_IN_REDUCTION[part]}.{leaf}"


def in_operation(name: str) -> str:
    """The published name of a weight within an operation."""
    first, rest = name.split(".", 1)
    if first.isdigit():  # one of the two pairs of a separable convolution
        return f"net.{first}.{in_operation(rest)}"
    if first == "depthwise":
        return f"net.1.{rest}"
    if first == "pointwise":
        part, leaf = rest.split(".")
        return f"net.{2 if part == 'conv' else 3}.{leaf}"
    return _in_reduction(name)


def _genotypes(told: Mapping[Any, Any]) -> tuple[Genotype, ...]:
    """One genotype a stage, by the stages' numbers."""
    by_stage = {str(key): value for key, value in told.items()}
    try:
        return tuple(_genotype(by_stage[str(stage)]) for stage in range(len(by_stage)))
    except KeyError as error:
        raise VitesseError(
            f"The genotypes of CDARTS must have stages from 0 on and all fields, but there is no {error}."
        ) from None
    except (AttributeError, TypeError, ValueError) as error:
        raise VitesseError(f"A genotype of CDARTS cannot be read: {error}") from error


def _genotype(told: Any) -> Genotype:
    if isinstance(told, Genotype):
        return told
    if isinstance(told, str):
        return parse_genotype(told)
    # The published named tuple, or a mapping of its fields.
    values = told if isinstance(told, Mapping) else told._asdict()
    return Genotype(
        *(
            Cell(tuple(tuple(Edge(*edge) for edge in node) for node in values[name]), tuple(values[f"{name}_concat"]))
            for name in ("normal", "reduce")
        )
    )
