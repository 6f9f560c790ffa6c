from __future__ import annotations

import subprocess
import sys

from vitesse.nets import build
from vitesse.zoo import deit, models

KEYS = ["name", "family", "params", "macs", "input_size", "published"]


def test_every_model_has_exactly_these_facts() -> None:
    for model in models():
        assert list(model) == KEYS
        assert list(model["published"]) == ["params", "macs", "top1", "source"]
        assert "arXiv" in model["published"]["source"]


def test_counts_are_those_of_the_published_code() -> None:
    counted = {model["name"]: (model["params"], model["macs"]) for model in models()}
    assert counted["autoformer_tiny"] == (5_867_944, 1_481_938_432)
    assert counted["autoformer_small"] == (22_891_432, 5_161_400_832)
    assert counted["autoformer_base"] == (53_691_688, 11_691_179_008)
    assert counted["deit_tiny_patch16_224"] == (5_717_416, 1_253_683_200)
    assert counted["deit_small_patch16_224"] == (22_050_664, 4_598_882_304)
    assert counted["deit_base_patch16_224"] == (86_567_656, 17_563_828_224)


def test_published_figures_stand_beside_the_counted_ones() -> None:
    for model in models():
        published = model["published"]
        assert published["params"] is None or abs(published["params"] - model["params"]) < 0.15 * model["params"]
        assert published["macs"] is None or abs(published["macs"] - model["macs"]) < 0.15 * model["macs"]


def test_counted_parameters_are_those_of_the_network() -> None:
    network = build(deit.deit_tiny_distilled_patch16_224())
    counted = {model["name"]: model["params"] for model in models()}["deit_tiny_distilled_patch16_224"]
    assert sum(p.numel() for p in network.parameters()) == counted


def test_the_list_needs_no_torch() -> None:
    code = "import sys; from vitesse.zoo import models; models(); print({'torch', 'timm', 'numpy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
