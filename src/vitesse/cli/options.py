"""The options that several verbs share: one spelling and one explanation each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from vitesse.deploy.ways import Precision

Recipe = Literal[
    "autoformer_tiny",
    "autoformer_small",
    "autoformer_base",
    "cdarts_cifar",
    "cdarts_cifar_search",
    "cdarts_imagenet",
    "cream_14",
    "cream_43",
    "cream_114",
    "cream_287",
    "cream_481",
    "cream_604",
    "cream_14_search",
    "cream_43_search",
    "cream_114_search",
    "cream_287_search",
    "cream_481_search",
    "cream_604_search",
    "efficientvit",
    "mini_deit_tiny",
    "mini_deit_small",
    "mini_deit_base",
    "mini_swin_tiny",
    "mini_swin_small",
    "mini_swin_base",
    "mini_swin_base_384",
    "tiny_vit_5m_22k",
    "tiny_vit_11m_22k",
    "tiny_vit_21m_22k",
    "tiny_vit_5m_22kto1k",
    "tiny_vit_11m_22kto1k",
    "tiny_vit_21m_22kto1k",
    "tiny_vit_21m_384",
    "tiny_vit_21m_512",
    "distill_digits",
]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of every verb that makes a run folder."""

    out: Path
    """The run's folder: a new one, or one to go on with."""
    data: str | None = None
    """digits, a folder of images by class (or with train/, val/, test/), .tar shards, or a saved dataset."""
    teacher: str | None = None
    """A timm name, hf:owner/name or clip:owner/name of the Hub, a run folder, or a file of weights."""
    recipe: Recipe | None = None
    """Start from the settings of a published method."""
    settings: Path | None = None
    """Settings as TOML; the run.toml of another run serves, too."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="KEY=VALUE")] = ()
    """One setting over the file, such as finish.steps=500; may be repeated."""
    effort: float | None = None
    """Multiplies the length of every training: 0.1 to try, 3 for the last tenths of a point."""
    seed: int | None = None
    """Of everything that is drawn."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the result as one JSON object, last."""


@dataclass(frozen=True, kw_only=True)
class BudgetOptions:
    """The most that a network may cost; any together."""

    max_params: str | None = None
    """The most parameters: 60k, 5.7M."""
    max_macs: str | None = None
    """The most multiply-adds for one image: 300M, 1.3G."""
    max_latency: str | None = None
    """The longest time for one image on this device, in the runtime that will serve it: 12ms, 800us."""
    max_memory: str | None = None
    """The most memory for the weights and activations of one image: 20MB, 1.5GiB."""


@dataclass(frozen=True, kw_only=True)
class PrecisionOptions:
    """Smaller numbers than float32: tried, and kept where they are faster here and lose no more accuracy than allowed."""

    int8: bool = False
    """Try whole numbers of eight bits, with their ranges measured on images; what they harm stays in float."""
    bf16: bool = False
    """Try bfloat16: fast where the processor computes in it."""
    fp16: bool = False
    """Try float16: half the size in ONNX Runtime, arithmetic in OpenVINO where the processor has it."""
    tolerance: float = 0.005
    """The share of the accuracy that they may lose."""

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those that are asked for."""
        from vitesse.deploy.ways import smaller

        return smaller(int8=self.int8, bf16=self.bf16, fp16=self.fp16)


def number_or_word(text: str | None) -> int | str | None:
    """What a flag that takes a number or a word was given, as the settings have it."""
    return int(text) if text is not None and text.isdecimal() else text
